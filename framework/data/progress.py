"""The shape of callbacks that receive the progress of long work on data."""

from collections.abc import Callable

ReportItems = Callable[[int, int], None]
"""Receives how many items are done, and how many there are in all."""
