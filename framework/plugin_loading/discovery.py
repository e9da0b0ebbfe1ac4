"""The registry with everything: slotlab's own components, then entry points, then files."""

import importlib
import pkgutil
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

from slotlab.registry import Registry

BUILTINS = "slotlab.plugins"
"""The one upward reference: a name, imported only when a registry is loaded."""


def slotlab_version() -> str:
    """The installed version of slotlab."""
    try:
        return version("slotlab")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


def builtin_modules() -> list[ModuleType]:
    """Import every module under `slotlab.plugins`: a new file there needs no list."""
    package = importlib.import_module(BUILTINS)
    raising = importlib.import_module  # walk_packages swallows the ImportError of a package; raise it again
    found = pkgutil.walk_packages(package.__path__, prefix=f"{BUILTINS}.", onerror=raising)
    return [importlib.import_module(item.name) for item in found if not item.ispkg]


def load_registry(plugins: Iterable[Path] = (), *, strict: bool = False) -> Registry:
    """Return a new registry of builtins, installed plugins and single-file `plugins`.

    Raises:
        PluginError: if a builtin or files break the rules, with all of these files; with `strict`, if an
            installed plugin cannot be loaded.
    """
    registry = Registry()
    source = f"slotlab {slotlab_version()}"
    for module in builtin_modules():
        registry.add(module, source=source)
    registry.add_installed(strict=strict)
    registry.add_files(plugins)
    return registry
