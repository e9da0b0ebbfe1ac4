"""The user's cache: a folder for files that slotlab can make again."""

import os
from pathlib import Path


def user_cache() -> Path:
    """Return the folder for what slotlab can make again: in $XDG_CACHE_HOME, or in ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # Its specification: a relative path is to be ignored.
    return (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "slotlab"


def stores_folder(folder: Path | None = None) -> Path:
    """Return where packed stores lie: `folder`, else $SLOTLAB_STORES, else the user's cache."""
    if folder is not None:
        return folder
    if os.environ.get("SLOTLAB_STORES"):
        return Path(os.environ["SLOTLAB_STORES"]).expanduser().absolute()
    return user_cache() / "stores"
