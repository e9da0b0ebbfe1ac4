"""Arithmetic on masks and images, without models or files: counts of pixels, matching, overlap."""
