"""Scoring a trained model, or masks that another program wrote: one row per image, and statistics."""
