"""Import of single-file plugins, each as a module of its own that can be pickled to worker processes."""

import importlib
import sys
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from pathlib import Path
from types import ModuleType

from slotlab.registry.code import PluginCode, read_code
from slotlab.registry.errors import PluginError, describe
from slotlab.registry.from_files import FINDER
from slotlab.registry.local_imports import elsewhere


def file_source(path: Path) -> str:
    """Return a plugin file's name with its hash, helpers included: `my_encoder.py@29c634b1`."""
    return read_code(path).source


def import_code(code: PluginCode) -> ModuleType:
    """Import a plugin that was read; the same content at the same path is the same module.

    Raises:
        PluginError: if the import fails, or reaches a file that is neither copied nor hashed.
    """
    source, before = f"plugin file {code.path}", list(sys.path)
    name = FINDER.take(code)
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # SystemExit: a script that was taken for a plugin
        told = describe(error, code.path.resolve()).replace(name.removesuffix(code.path.stem), "")
        reason = f"cannot be imported: {told}{_hint(error, code)}"
        raise PluginError(reason, source=source) from error
    added = [one for one in sys.path if one not in before]
    for stray in sorted(code.foreign()) if added else ():
        found = PathFinder.find_spec(stray, added)
        if found is not None and found.origin is not None and elsewhere(stray, Path(added[0])) is None:
            del sys.modules[name]
            sys.path[:] = before
            raise PluginError(
                f"imports '{stray}' from {found.origin}, by a folder that it adds to sys.path: that file is "
                "neither copied nor hashed; put it beside the plugin, or install it as a package",
                source=source,
            )
    return module


def _hint(error: BaseException, code: PluginCode) -> str:
    """Say what to do about a module that lies beside the plugin but could not be imported."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    if not name:
        return ""
    files = code.beside(code.name).files(tuple(name.split(".")))
    if files:
        return f"; {files[-1]} lies beside it: name it in an import statement"
    compiled = [one for ending in EXTENSION_SUFFIXES for one in code.root.glob(f"{name}{ending}")]
    return f"; {compiled[0].name} is compiled, install it as a package" if compiled else ""
