"""The training loop, its state, and when it saves, validates, resumes and stops."""
