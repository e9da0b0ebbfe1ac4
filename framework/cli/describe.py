"""What `list`, `show`, `validate` and `schema` find out and print."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.table import Table

from slotlab.framework.cli.output import console
from slotlab.framework.cli.units import counted
from slotlab.framework.jobs.train import prepare
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import OtherSort
from slotlab.framework.spec.merge import SHIPPED, shipped_ablations, shipped_specs
from slotlab.framework.spec.tree import dump
from slotlab.framework.study.load import load_ablation
from slotlab.framework.system.terminal import visible
from slotlab.registry import KINDS, Ref, Registry, SlotlabError
from slotlab.registry.component import suggest


def check_kind(kind: str) -> str:
    """Return a kind's name for its singular or plural."""
    for known in KINDS.values():
        if kind in (known.name, known.plural):
            return known.name
    raise SlotlabError(f"no kind is called '{kind}'{suggest(kind, KINDS)} (kinds: {', '.join(KINDS)})")


def listing(registry: Registry, kind: str | None) -> dict[str, Any]:
    """List components, shipped specs and plugins that could not be loaded."""
    wanted = None if kind is None else check_kind(kind)
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


def print_listing(result: dict[str, Any]) -> None:
    """Print the listing as a table."""
    out = console()
    table = Table("kind", "name", "what it is", "source", box=None, pad_edge=False, header_style="bold")
    before = None
    for item in result["components"]:
        table.add_row(
            item["kind"] if item["kind"] != before else "",
            item["name"],
            item["summary"],
            item["source"],
        )
        before = item["kind"]
    out.print(table)
    if result["specs"]:
        out.print(f"\nshipped specs: {', '.join(result['specs'])}", soft_wrap=True)
        out.print(f"shipped ablations: {', '.join(result['ablations'])}", soft_wrap=True)
    for item in result["not_loaded"]:
        out.print(f"not loaded: {item['source']} ({item['reason']})", soft_wrap=True)


def refuse_bare_kind(word: str) -> None:
    """Answer `slotlab show encoder`, which names no component."""
    if word in KINDS:
        raise SlotlabError(
            f"'{word}' is a kind; write 'slotlab show {word} NAME' (see 'slotlab list {word}')"
        )


def component(registry: Registry, kind: str, name: str) -> dict[str, Any]:
    """Describe one component and its settings."""
    kind = check_kind(kind)
    found = registry.find(kind, name)
    if found is None:
        raise SlotlabError(registry.explain_unknown(kind, name))
    settings = [
        {
            "name": key,
            "type": describe_type(field.annotation),
            "default": "required" if field.is_required() else plain(default_of(field)),
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


def default_of(field: FieldInfo) -> Any:
    """Return a setting's default; of a section of settings, those in it."""
    value = field.get_default(call_default_factory=True)
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(value, Mapping):
        return kind.model_validate(value).model_dump(mode="json")
    return value


def describe_type(annotation: Any) -> str:
    """Write a type as a person would read it."""
    text = (
        annotation.__name__
        if isinstance(annotation, type) and not hasattr(annotation, "__args__")
        else str(annotation)
    )
    if annotation is Ref:
        return "component"
    for noise in ("typing.", "pathlib.", "slotlab.registry.reference."):
        text = text.replace(noise, "")
    return text


def plain(value: Any) -> Any:
    """Return a default as JSON-ready data."""
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def print_component(result: dict[str, Any]) -> None:
    """Print a component's settings as a table."""
    out = console()
    out.print(f"{result['kind']} {result['name']} (version {result['version']}, {result['source']})")
    out.print(result["summary"])
    if not result["settings"]:
        out.print("no settings")
        return
    table = Table("setting", "default", "meaning", box=None, pad_edge=False, header_style="bold")
    for item in result["settings"]:
        default = item["default"] if isinstance(item["default"], str) else json.dumps(item["default"])
        meaning = " ".join((item["description"] or "").split())
        table.add_row(item["name"], default, meaning)
    out.print(table)


def resolved(name: str, **options: Any) -> dict[str, Any]:
    """Return a spec with every default filled in, its run id and its warnings."""
    prepared = prepare(name, **options)
    spec = prepared.loaded.spec
    return {
        "spec": spec.model_dump(mode="json"),
        "run_id": run_id(spec),
        "warnings": [str(item) for item in prepared.warnings],
    }


def print_spec(result: dict[str, Any]) -> None:
    """Print a resolved spec as YAML."""
    print(dump(result["spec"]), end="")
    print(f"# run id: {result['run_id']}")
    for warning in result["warnings"]:
        print(visible(f"# warning: {warning}"))


def validity(name: str, **options: Any) -> dict[str, Any]:
    """Validate one spec or ablation; mistakes are part of the result, not raised."""
    try:
        facts = checked(name, **options)
    except SlotlabError as error:
        return {"spec": name, "valid": False, "errors": error.lines(), "warnings": []}
    return {"spec": name, "valid": True, "errors": [], **facts}


def checked(name: str, **options: Any) -> dict[str, Any]:
    """Return the warnings and the size of what a file declares.

    Raises:
        SlotlabError: for every mistake.
    """
    try:
        prepared = prepare(name, **options)
    except OtherSort:
        ablation = load_ablation(name, **options)
        arms = len(ablation.arms)
        runs = arms * len(ablation.spec.seeds)
        return {"warnings": [str(item) for item in ablation.warnings], "arms": arms, "runs": runs}
    warnings = [str(item) for item in prepared.warnings]
    return {"warnings": warnings, "run_id": run_id(prepared.loaded.spec)}


def print_validity(results: Sequence[dict[str, Any]]) -> None:
    """Print mistakes and warnings, one a line, and a verdict for each spec."""
    for result in results:
        for text in result["errors"]:
            print(visible(f"error: {text}"))
        for text in result["warnings"]:
            print(visible(f"warning: {text}"))
        size = f" ({result['arms']} arms, {result['runs']} runs)" if "arms" in result else ""
        verdict = f"valid{size}" if result["valid"] else counted(len(result["errors"]), "error")
        print(visible(f"{result['spec']}: {verdict}"))
