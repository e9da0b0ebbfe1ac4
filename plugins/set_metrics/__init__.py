"""Set metrics: one number for two sets of images."""
