"""The user's cache: a folder for files that slotlab can make again."""

import os
from pathlib import Path


def user_cache() -> Path:
    """Return the folder for what slotlab can make again: in $XDG_CACHE_HOME, or in ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # Its specification: a relative path is to be ignored.
    return (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "slotlab"
