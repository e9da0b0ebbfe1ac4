"""Random streams, derived from the seed of a spec."""
