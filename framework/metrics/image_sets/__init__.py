"""Two sets of images to one number: features of each image, distances, and the cache of real ones."""
