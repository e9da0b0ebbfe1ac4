"""The core engine: typed specs, model composition, training, evaluation, runs."""

if __name__ != "slotlab.framework":  # the same file loaded under two names makes two of every class
    raise ImportError(f"this folder is the package slotlab.framework, but it was imported as {__name__!r}")
