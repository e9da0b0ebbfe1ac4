"""Tables of settings, read off the typed models that check them."""

from collections.abc import Iterator
from typing import Any, get_args

from page import code, escaped, table
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from slotlab.framework.api.components import default_of, describe_type, plain
from slotlab.registry import Registry
from slotlab.registry.reference import RefTo

HEADER = ("setting", "type", "default", "says")
BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "min_length": "at least", "max_length": "at most"}


def settings_table(model: type[BaseModel], registry: Registry, up: str) -> str:
    """Return the table of a model's settings; `up` leads from the page to the folder of kinds."""
    rows = [
        (code(name), type_of(field, up), default(field, registry), escaped(field.description or ""))
        for name, field in model.model_fields.items()
    ]
    return table(HEADER, rows)


def default(field: FieldInfo, registry: Registry) -> str:
    """Return a setting's default as a spec would have it."""
    return "required" if field.is_required() else code(in_words(plain(default_of(field, registry))))


def in_words(value: Any) -> str:
    """Return a value as YAML has it on one line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {in_words(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(in_words(item) for item in value) + "]"
    return str(value)


def type_of(field: FieldInfo, up: str) -> str:
    """Return a setting's type, with its bounds; a component's kind with a link to it."""
    kinds = [found.kind for found in (*field.metadata, *inside(field.annotation)) if isinstance(found, RefTo)]
    if kinds:
        many = "list of " if "tuple" in str(field.annotation) else ""
        return many + f"[{kinds[0]}]({up}{kinds[0]}.md)"
    bounds = [bound for item in field.metadata for bound in words_of(item)]
    return code(describe_type(field.annotation)) + "".join(f", {bound}" for bound in bounds)


def words_of(metadata: Any) -> Iterator[str]:
    """Yield the bounds that a field's metadata sets."""
    for name, word in BOUNDS.items():
        value = getattr(metadata, name, None)
        if value is not None and not (name == "min_length" and value == 0):
            yield f"{word} {value}" if "length" not in name else f"{word} {value} characters or items"


def inside(annotation: Any) -> Iterator[Any]:
    """Yield all that a type's arguments hold, and theirs."""
    for part in get_args(annotation):
        yield part
        yield from inside(part)


def sections(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield (key, model) of the settings of a model that are sections themselves."""
    for name, field in model.model_fields.items():
        for part in (field.annotation, *inside(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                many = "[]" if "tuple" in str(field.annotation) or "list" in str(field.annotation) else ""
                yield f"{name}{many}", part
