"""Initializers: the slots before the first iteration."""
