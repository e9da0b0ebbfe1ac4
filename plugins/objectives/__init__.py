"""Objectives: what is predicted, and the loss."""
