"""Metrics: one number per image."""
