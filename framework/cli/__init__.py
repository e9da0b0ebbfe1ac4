"""The `slotlab` command."""
