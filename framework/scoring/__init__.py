"""The arithmetic of metrics: pure functions on tensors, batched, float64, on any device."""
