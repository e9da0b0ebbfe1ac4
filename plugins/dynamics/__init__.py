"""Dynamics: from the slots of the frames so far to those of the frames that follow."""
