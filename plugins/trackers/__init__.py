"""Trackers: who else is told what a training logs."""
