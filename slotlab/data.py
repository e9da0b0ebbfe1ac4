"""Datasets looked at, packed and rendered, as by the `slotlab data` commands (docs/reference/data.md)."""

from slotlab.framework.api.data import inspect, pack, render, verify

__all__ = ["inspect", "pack", "render", "verify"]
