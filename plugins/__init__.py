"""The components that slotlab ships: one component a file, one folder a kind."""

if __name__ != "slotlab.plugins":  # the same file loaded under two names makes two of every class
    raise ImportError(f"this folder is the package slotlab.plugins, but it was imported as {__name__!r}")
