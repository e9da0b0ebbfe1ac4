"""Importing a single-file plugin under its own name, so that it pickles to workers."""

import hashlib
import importlib
import sys
from pathlib import Path
from types import ModuleType

from slotlab.registry.errors import PluginError, describe


def file_source(path: Path) -> str:
    """Name a file by its content: `my_encoder.py@29c634b1`."""
    return f"{path.name}@{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"


def import_file(path: Path) -> ModuleType:
    """Import a plugin file as a top-level module called after the file.

    Its folder is appended to `sys.path`: spawned workers can then unpickle its classes.

    Raises:
        PluginError: if the file is missing, is hidden by another module, or fails.
    """
    path = path.resolve()
    source = f"plugin file {path}"
    if path.is_dir():
        raise PluginError("is a folder; name the plugin file in it", source=source)
    if not path.is_file():
        raise PluginError("does not exist", source=source)
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise PluginError("must be called NAME.py, NAME being a Python identifier", source=source)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(path.stem)
    except (Exception, SystemExit) as error:  # SystemExit: a script that was taken for a plugin
        raise PluginError(f"cannot be imported: {describe(error, path)}", source=source) from error
    found = getattr(module, "__file__", None)
    if found is None or Path(found).resolve() != path:
        hider = found or f"the module '{path.stem}'"
        raise PluginError(f"is hidden by {hider}, which Python finds first; rename the file", source=source)
    return module
