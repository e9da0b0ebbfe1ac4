"""Packed stores: datasets read and prepared once, to be read fast."""
