"""A run's folder: the names and shapes of its files, checkpoints, logs, provenance."""
