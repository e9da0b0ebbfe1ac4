"""What a training takes: operations, memory, time and energy."""
