"""The slot model: built from a spec, checked, placed on a device."""
