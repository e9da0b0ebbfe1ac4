"""Importing a single-file plugin under its own name, so that it pickles to workers."""

import hashlib
import importlib
import sys
from pathlib import Path
from types import ModuleType

from slotlab.registry.errors import PluginError


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
    if not path.is_file():
        raise PluginError(f"plugin file {path} does not exist")
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise PluginError(f"plugin file {path} must be called NAME.py, NAME being a Python identifier")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(path.stem)
    except Exception as error:
        raise PluginError(f"plugin file {path} cannot be imported: {_describe(error, path)}") from error
    found = getattr(module, "__file__", None)
    if found is None or Path(found).resolve() != path:
        raise PluginError(f"plugin file {path} is hidden by {found or path.stem}; rename the file")
    return module


def _describe(error: Exception, path: Path) -> str:
    """Add the line of the plugin file at which the import failed."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f" (line {line})" if line else ""
    return f"{type(error).__name__}: {error}{where}"
