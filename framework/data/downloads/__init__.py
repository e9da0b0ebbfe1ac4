"""Fetching published data: one file over HTTP, archives, and what of a dataset is there."""
