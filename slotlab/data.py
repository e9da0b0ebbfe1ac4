"""Datasets fetched, looked at, packed and rendered, as by `slotlab data` (docs/reference/data.md)."""

from slotlab.framework.api.data import fetch, inspect, pack, render, verify

__all__ = ["fetch", "inspect", "pack", "render", "verify"]
