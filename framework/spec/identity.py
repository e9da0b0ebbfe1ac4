"""A run's identity: a hash of all that can change its trained weights, and of nothing else.

Settings at their default are left out, so that a new setting does not rename old runs.
Versions of components are part of it; names, paths and how much is logged are not.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from slotlab.framework.spec.errors import Path, dotted
from slotlab.framework.spec.plain_settings import PATH, WITHOUT_EFFECT
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import Ref


def canonical(value: Any, path: str = "") -> Any:
    """Reduce a value to plain data without defaults, locations and settings without effect."""
    if isinstance(value, FilePath):
        return PATH
    if isinstance(value, Ref):
        settings = canonical(value.config, path)
        if value.implied:
            return settings
        return {"name": value.name, **settings} if settings else value.name
    if isinstance(value, BaseModel):
        return _settings(value, path)
    if isinstance(value, Mapping):
        return {str(key): canonical(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [canonical(item, f"{path}.{i}") for i, item in enumerate(value)]
    if isinstance(value, set | frozenset):  # sorted: the order of a set changes with each process
        return sorted((canonical(item, path) for item in value), key=json.dumps)
    return value if isinstance(value, str | int | float | None) else to_jsonable_python(value)


def _settings(model: BaseModel, path: str) -> dict[str, Any]:
    """Return the settings that differ from their defaults. A required path is always left out.

    Settings that a section names in `without_effect` are left out, too.
    """
    found = {}
    ignored = getattr(type(model), "without_effect", ())
    for name, field in type(model).model_fields.items():
        inner = f"{path}.{name}" if path else name
        if inner in WITHOUT_EFFECT or name in ignored:
            continue
        reduced = canonical(getattr(model, name), inner)
        default = (
            PATH if field.is_required() else canonical(field.get_default(call_default_factory=True), inner)
        )
        if reduced != default:
            found[name] = reduced
    return found


def nodes(value: Any, path: Path = (), *, effective: bool = False) -> Iterator[tuple[Path, Any]]:
    """Yield everything in a typed spec with its path: sections, components, and their settings.

    A component's settings lie at the component's own path, as in the spec's file. With `effective` those that
    a section names in `without_effect` are left out.
    """
    yield path, value
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Ref):
        value = value.config
    if isinstance(value, BaseModel):
        ignored = getattr(type(value), "without_effect", ()) if effective else ()
        items = ((name, getattr(value, name)) for name in type(value).model_fields if name not in ignored)
    elif isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, tuple | list):
        items = enumerate(value)
    for part, item in items:
        yield from nodes(item, (*path, part), effective=effective)


def located_refs(value: Any) -> Iterator[tuple[Path, Ref]]:
    """Yield every component chosen in a spec and its path, nested ones included."""
    return ((path, found) for path, found in nodes(value) if isinstance(found, Ref))


def file_settings(spec: ExperimentSpec) -> set[str]:
    """Return the dotted paths of all settings that name a file or a folder."""
    return {dotted(path) for path, found in nodes(spec) if isinstance(found, FilePath)}


def refs(value: Any) -> Iterator[Ref]:
    """Yield every component chosen in a spec, nested ones included."""
    return (ref for _, ref in located_refs(value))


def definition(ref: Ref) -> dict[str, Any]:
    """Return what determines a component's results: its version, and settings without defaults and paths."""
    settings = canonical(ref.config)
    return {
        "version": ref.registered.version,
        "settings": {name: value for name, value in settings.items() if value != PATH},
    }


def run_id(spec: ExperimentSpec) -> str:
    """Return the identity of a run, twelve hexadecimal digits."""
    training = spec.training.model_copy(update={"trackers": ()})
    trained = spec.model_copy(update={"training": training, "evaluation": None})
    # The first version of what a block stands for without a name leaves no trace: specs need not name it.
    chosen = (found for _, found in nodes(trained, effective=True) if isinstance(found, Ref))
    named = (ref for ref in chosen if not (ref.implied and ref.registered.version == "1"))
    used = {ref.registered.identity for ref in named}
    facts = {"settings": canonical(spec), "components": sorted(used)}
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
