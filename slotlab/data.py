"""Datasets fetched, looked at, packed and rendered, and slots of runs packed (docs/reference/data.md)."""

from slotlab.framework.api.data import extract, fetch, inspect, pack, render, verify

__all__ = ["extract", "fetch", "inspect", "pack", "render", "verify"]
