"""Which components there are, and what settings they have."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from slotlab.framework.api.given import Paths, paths_of
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.merge import SHIPPED, shipped_ablations, shipped_specs
from slotlab.registry import Ref, Registry, SlotlabError
from slotlab.registry.component import suggest


@dataclass(frozen=True)
class SettingInfo:
    """A setting of a component."""

    name: str
    type: str
    default: Any
    """As JSON data; `required` if there is none."""
    description: str


@dataclass(frozen=True)
class ComponentInfo:
    """A component that specs may name."""

    kind: str
    name: str
    version: int
    summary: str
    """One line."""
    source: str
    """The package or file that it comes from."""
    settings: tuple[SettingInfo, ...]


def list_components(
    kind: str | None = None, *, plugins: Paths = (), strict_plugins: bool = False
) -> list[ComponentInfo]:
    """Return the components that specs may name, with their settings and defaults.

    >>> import slotlab
    >>> for position in slotlab.list_components("position"):
    ...     print(position.name, [setting.name for setting in position.settings])
    centered_grid ['relative', 'scales_factor']
    linear_grid ['points']
    none []

    Args:
        kind: `encoder`, `initializer`, ...; all kinds without it.
        plugins: single-file plugins to load.
        strict_plugins: fail if an installed plugin cannot be loaded.

    Raises:
        SlotlabError: if there is no such kind.
        PluginError: if a plugin cannot be loaded.
    """
    registry = load_registry(paths_of(plugins, "a plugin"), strict=strict_plugins)
    listed = listing(registry, kind)["components"]
    return [info_of(component(registry, item["kind"], item["name"])) for item in listed]


def info_of(found: Mapping[str, Any]) -> ComponentInfo:
    """Return the facts that `component` found, as data."""
    texts = [{**item, "description": item["description"] or ""} for item in found["settings"]]
    settings = tuple(SettingInfo(**item) for item in texts)
    return ComponentInfo(**{**found, "settings": settings})


def check_kind(registry: Registry, kind: str) -> str:
    """Return a kind's name for its singular or plural."""
    kinds = registry.kinds
    for known in kinds.values():
        if kind in (known.name, known.plural):
            return known.name
    raise SlotlabError(f"no kind is called '{kind}'{suggest(kind, kinds)} (kinds: {', '.join(kinds)})")


def listing(registry: Registry, kind: str | None) -> dict[str, Any]:
    """List components, shipped specs and plugins that could not be loaded."""
    wanted = None if kind is None else check_kind(registry, kind)
    components = [
        {
            "kind": item.kind,
            "name": item.component.name,
            "version": item.component.version,
            "summary": item.component.summary,
            "source": item.source,
        }
        for item in registry.all(wanted)
    ]
    return {
        "components": components,
        "specs": [f"{SHIPPED}{name}" for name in shipped_specs()] if kind is None else [],
        "ablations": [f"{SHIPPED}{name}" for name in shipped_ablations()] if kind is None else [],
        "not_loaded": [{"source": item.source, "reason": item.reason} for item in registry.broken],
    }


def component(registry: Registry, kind: str, name: str) -> dict[str, Any]:
    """Describe one component and its settings."""
    kind = check_kind(registry, kind)
    found = registry.find(kind, name)
    if found is None:
        raise SlotlabError(registry.explain_unknown(kind, name))
    settings = [
        {
            "name": key,
            "type": describe_type(field.annotation),
            "default": "required" if field.is_required() else plain(default_of(field, registry)),
            "description": field.description,
        }
        for key, field in found.component.config.model_fields.items()
    ]
    return {
        "kind": kind,
        "name": name,
        "version": found.component.version,
        "summary": found.component.summary,
        "source": found.source,
        "settings": settings,
    }


def default_of(field: FieldInfo, registry: Registry) -> Any:
    """Return a setting's default; of a section of settings, those in it."""
    value = field.get_default(call_default_factory=True)
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(value, Mapping):
        return kind.model_validate(value, context={"registry": registry}).model_dump(mode="json")
    return value


def describe_type(annotation: Any) -> str:
    """Write a type as a person would read it, without what checks its values."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is Ref:
        return "component"
    if annotation in (None, NoneType, Ellipsis):
        return "..." if annotation is Ellipsis else "None"
    if origin is Annotated:
        return describe_type(parts[0])
    if origin in (Union, UnionType):
        return " | ".join(map(describe_type, parts))
    if origin is Literal:
        return " | ".join(map(repr, parts))
    if parts and isinstance(origin, type):
        return f"{origin.__name__}[{', '.join(map(describe_type, parts))}]"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def plain(value: Any) -> Any:
    """Return a default as JSON-ready data."""
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)
