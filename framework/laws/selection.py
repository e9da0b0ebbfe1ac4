"""Which components are checked, and with which settings."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.merge import apply_set
from slotlab.framework.spec.tree import parse
from slotlab.registry import Registered, Registry, SlotlabError
from slotlab.registry.component import suggest
from slotlab.registry.manager import GROUP

Settings = dict[tuple[str, str], Mapping[str, Any]]
"""Settings by kind and name of a component."""


def select(what: Sequence[str], plugins: Iterable[Path] = ()) -> tuple[Registry, list[Registered]]:
    """Return the components of a plugin file or an installed package, or the one of a kind and a name.

    Raises:
        SlotlabError: if there are none, or if a file cannot be loaded.
    """
    files = list(plugins)
    if len(what) == 2:
        registry = load_registry(files)
        kinds = {one.plural: one.name for one in registry.kinds.values()}
        kind, name = kinds.get(what[0], what[0]), what[1]
        if kind not in registry.kinds:
            known = f"{suggest(kind, registry.kinds)} (kinds: {', '.join(registry.kinds)})"
            raise SlotlabError(f"no kind is called '{kind}'{known}")
        found = registry.find(kind, name)
        if found is None:
            raise SlotlabError(registry.explain_unknown(kind, name))
        return registry, [found]
    if len(what) != 1:
        raise SlotlabError("write 'slotlab check FILE', 'slotlab check PACKAGE' or 'slotlab check KIND NAME'")
    word = what[0].rstrip("/") or "/"
    return of_file(Path(word), files) if is_file(word) else of_package(word, files)


def is_file(word: str) -> bool:
    """Return whether a word means a plugin file."""
    return word.endswith(".py") or ("/" in word and not Path(word).is_dir()) or Path(word).is_file()


def of_file(path: Path, files: list[Path]) -> tuple[Registry, list[Registered]]:
    """Return the components of a plugin file."""
    registry = load_registry([*files, path])
    found = [item for item in registry.all() if item.path == path.resolve()]
    if not found:
        raise SlotlabError(f"{path}: provides kinds and no components: there is nothing to check")
    return registry, found


def of_package(word: str, files: list[Path]) -> tuple[Registry, list[Registered]]:
    """Return the components of an installed package, or of slotlab itself."""
    registry = load_registry(files)
    if word in registry.kinds:
        raise SlotlabError(
            f"'{word}' is a kind; write 'slotlab check {word} NAME' (see 'slotlab list {word}')"
        )
    name = name_of(word)
    found = [item for item in registry.all() if item.path is None and item.source.rpartition(" ")[0] == name]
    if not found:
        failed = [f"{one.source}: {one.reason}" for one in registry.broken if one.source.startswith(name)]
        hint = f"; it could not be loaded: {failed[0]}" if failed else ""
        packages = sorted({item.source.rpartition(" ")[0] for item in registry.all() if item.path is None})
        text = f"'{word}' is no file, and no package of this name has components"
        raise SlotlabError(text + (hint or importable(word) or f" (packages: {', '.join(packages)})"))
    return registry, found


def name_of(word: str) -> str:
    """Return the name of the installed package that a word means: its own, or that of one of its modules."""
    with suppress(PackageNotFoundError, ValueError):
        return distribution(word).name
    for entry in entry_points(group=GROUP):
        if f"{entry.module}.".startswith(f"{word}.") and entry.dist is not None:
            return entry.dist.name
    return word


def importable(word: str) -> str:
    """Say what to write in place of a folder, or of a module that is no installed plugin."""
    place = Path(word) if Path(word).is_dir() else Path(*word.split("."))
    if place.is_dir():
        return f"; {place} is a folder: write 'slotlab check {place}/NAME.py' for each plugin file in it"
    if place.with_suffix(".py").is_file():
        return f"; write 'slotlab check {place.with_suffix('.py')}' for the file"
    try:
        found = None if "." in word else find_spec(word)  # of an inner one, the outer ones are imported
    except (ImportError, ValueError):
        return ""
    if found is None or found.origin is None:
        return ""
    file = f"write 'slotlab check {found.origin}', or " if found.origin.endswith(".py") else ""
    return (
        f"; the module {word} can be imported and is no plugin of an installed package: {file}declare it "
        f"under the entry points '{GROUP}' of its package"
    )


def settings_of(sets: Sequence[str], items: Sequence[Registered]) -> Settings:
    """Return the settings of each component; `NAME.setting=value` is for the component of this name.

    Raises:
        SlotlabError: for a setting that no component has.
    """
    found: Settings = {}
    for assignment in sets:
        key = assignment.partition("=")[0].strip()
        first, _, rest = key.partition(".")
        named = [item for item in items if item.component.name == first and rest]
        takers = named or [item for item in items if first in item.component.config.model_fields]
        if not takers:
            known = sorted({name for item in items for name in item.component.config.model_fields})
            text = f"--set {assignment}: no component that is checked has a setting '{first}'"
            raise SlotlabError(f"{text}{suggest(first, known)} (settings: {', '.join(known) or 'none'})")
        assigned = assignment.strip().removeprefix(f"{first}.") if named else assignment
        for item in takers:
            place = (item.kind, item.component.name)
            tree = parse(json.dumps(found.get(place, {})), origin="--set", folder=Path.cwd())
            found[place] = apply_set(tree, assigned).plain()
    return found
