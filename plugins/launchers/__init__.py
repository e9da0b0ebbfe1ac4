"""Launchers: where the runs of a study are started."""
