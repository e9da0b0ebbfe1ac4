"""From a dataset of a plugin to batches on a device."""
