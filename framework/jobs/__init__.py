"""What the main commands do, without printing: train a spec, evaluate a run, estimate the cost."""
