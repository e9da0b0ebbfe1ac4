"""A run's identity: a hash of all that can change its trained weights, and of nothing else.

Settings at their default are left out, so that a new setting does not rename old runs.
Versions of components are part of it; names, paths and how much is logged are not.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel

from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import ClosedModel, Ref

WITHOUT_EFFECT = {
    "name",
    "plugins",
    "evaluation",
    "data.workers",
    "training.log_every",
    "training.validate_every",
}
"""Settings that do not change the trained weights."""


def canonical(value: Any, path: str = "") -> Any:
    """Reduce a value to plain data without defaults, paths and settings without effect."""
    if isinstance(value, Ref):
        settings = canonical(value.config, path)
        return {"name": value.name, **settings} if settings else value.name
    if isinstance(value, BaseModel):
        found = {}
        for name, field in type(value).model_fields.items():
            inner = f"{path}.{name}" if path else name
            item = getattr(value, name)
            if inner in WITHOUT_EFFECT or isinstance(item, FilePath):
                continue
            reduced = canonical(item, inner)
            if field.is_required() or reduced != canonical(
                field.get_default(call_default_factory=True), inner
            ):
                found[name] = reduced
        return found
    if isinstance(value, tuple | list):
        return [canonical(item, f"{path}.{i}") for i, item in enumerate(value)]
    return value


def refs(value: Any) -> Iterator[Ref]:
    """Yield every component chosen in a spec, nested ones included."""
    if isinstance(value, Ref):
        yield value
        yield from refs(value.config)
    elif isinstance(value, ClosedModel):
        for name in type(value).model_fields:
            yield from refs(getattr(value, name))
    elif isinstance(value, tuple):
        for item in value:
            yield from refs(item)


def run_id(spec: ExperimentSpec) -> str:
    """Return the identity of a run, twelve hexadecimal digits."""
    used = {ref.registered.identity for ref in refs(spec.model_copy(update={"evaluation": None}))}
    facts = {"settings": canonical(spec), "components": sorted(used)}
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
