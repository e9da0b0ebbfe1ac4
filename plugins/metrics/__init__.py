"""Metrics: one number an image."""
