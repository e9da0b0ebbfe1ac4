"""What the hooks of a plugin yield, and every rule that it breaks, in words."""

import ast
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from slotlab.registry.component import Component
from slotlab.registry.errors import PluginError, describe
from slotlab.registry.hookspecs import API_VERSION, Kind

ItemT = TypeVar("ItemT", Component[Any], Kind)


def yielded(
    function: Any, hook: str, wanted: type[ItemT], path: Path | None, mistakes: list[str]
) -> list[ItemT]:
    """Run a hook function, which is the plugin's own code; return what it yields that keeps the rules.

    Args:
        function: the hook function.
        hook: its name, for messages.
        wanted: the class of what it should yield.
        path: the plugin's file, of which messages name the lines; None for a package.
        mistakes: what is wrong is added here.
    """
    what = "kinds" if wanted is Kind else "components"
    try:
        result = function()
        if isinstance(result, wanted) or not isinstance(result, Iterable):
            mistakes.append(f"{hook} must yield {what}; write 'yield', not 'return'")
            return []
        items = list(result)
    except PluginError as error:
        mistakes += error.reasons
        return []
    except Exception as error:
        mistakes.append(f"{hook} fails: {describe(error, path)}")
        return []
    found = []
    for item in items:
        complaints = item.complaints() if isinstance(item, wanted) else []
        if not isinstance(item, wanted):
            mistakes.append(f"{hook} yielded {item!r}, which is not a {wanted.__name__}")
        elif complaints:
            mistakes.append(f"{named(item, hook, path)}: {'; '.join(complaints)}")
        else:
            found.append(item)
    return found


def named(item: Component[Any] | Kind, hook: str, path: Path | None) -> str:
    """Return what an item is called in messages, with its class and the line of it in the plugin's file."""
    name = f" '{item.name}'" if item.name is not None else f" of {hook}"
    parts = (item.build, item.config) if isinstance(item, Component) else ()
    lines = defined(path) if path is not None else {}
    for part in parts:
        known = getattr(part, "__name__", "")
        if known in lines:
            return f"{type(item).__name__.lower()}{name} ({known}, line {lines[known]})"
    return f"{type(item).__name__.lower()}{name}"


def defined(path: Path) -> dict[str, int]:
    """Return the lines of a file's classes and functions, by their names."""
    nodes = ast.walk(ast.parse(path.read_bytes()))
    return {node.name: node.lineno for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def check_api(module: ModuleType, source: str) -> list[str]:
    """Return what is wrong if a plugin module does not say for which version of the hooks it is.

    Raises:
        PluginError: if it is for another version: then nothing else that is said of it would be sure.
    """
    found = getattr(module, "SLOTLAB_API", None)
    line = f"SLOTLAB_API = {API_VERSION}"
    if found is None:
        return [f"it does not say which hooks it was written for; add the line '{line}'"]
    if found != API_VERSION:
        raise PluginError(
            f"it was written for hooks of version {found!r}, and this is version {API_VERSION}; "
            f"change it as CHANGELOG.md says, then write '{line}'",
            source=source,
        )
    return []
