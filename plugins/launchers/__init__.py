"""Launchers: they start the runs of a study."""
