"""Figures of a run, each as PNG and PDF, in one style and with one color a slot."""
