"""Set metrics: two sets of images to one number."""
