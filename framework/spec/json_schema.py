"""The JSON Schema of specs, made from the registry, for completion in editors."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import Registry
from slotlab.registry.manager import Registered


class _Generator(GenerateJsonSchema):
    """Leaves the definitions that components' settings share to be added by `spec_schema`."""

    ignored_warning_kinds = frozenset({"skipped-choice", "non-serializable-default"})  # type: ignore[assignment]


def spec_schema(registry: Registry) -> dict[str, Any]:
    """Return the schema of specs with every component that the registry knows."""
    schema = ExperimentSpec.model_json_schema(schema_generator=_Generator)
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    for kind in registry.kinds.values():
        found = registry.all(kind.name)
        blocks = [component_schema(item, definitions) for item in found]
        definitions |= {f"{kind.name}.{i.component.name}": b for i, b in zip(found, blocks, strict=True)}
        names: dict[str, Any] = {"type": "string", "enum": [item.component.name for item in found]}
        definitions[kind.plural] = {
            "description": f"The {kind.name}: a name, or a block.",
            "anyOf": [names, *blocks],
        }
    schema["properties"]["extends"] = {
        "type": "string",
        "description": "One parent: a file relative to this one, or slotlab:NAME.",
    }
    for section in (schema, *(definitions[name] for name in ("DataSpec", "TrainingSpec"))):
        section.pop("required", None)  # a parent spec may give the keys; but lists do not merge
    linked: dict[str, Any] = link_components(schema, registry)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **linked,
        "title": "slotlab experiment",
    }


def link_components(schema: Any, registry: Registry) -> Any:
    """Replace each `{"component": kind}` by a reference to the definition of that kind."""
    if isinstance(schema, list):
        return [link_components(item, registry) for item in schema]
    if not isinstance(schema, dict):
        return schema
    component = schema.get("component")
    kind = registry.kinds.get(component) if isinstance(component, str) else None
    if kind is None:
        return {key: link_components(item, registry) for key, item in schema.items()}
    rest = {key: item for key, item in schema.items() if key not in ("component", "implied")}
    any_of_kind = {"$ref": f"#/$defs/{kind.plural}"}
    if "implied" not in schema:
        return {**rest, **any_of_kind}
    implied = {"$ref": f"#/$defs/{kind.name}.{schema['implied']}"}  # so that its mistakes are told one by one
    return {**rest, "if": {"required": ["name"]}, "then": any_of_kind, "else": implied}


def component_schema(item: Registered, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of one component's block. No key is required: a parent spec may give it."""
    own = f"{item.kind}.{item.component.name}."  # the inner models of two plugins may have one name
    template = f"#/$defs/{own}{{model}}"
    block: dict[str, Any] = item.component.config.model_json_schema(
        schema_generator=_Generator, ref_template=template
    )
    definitions.update({f"{own}{name}": inner for name, inner in block.pop("$defs", {}).items()})
    block["title"] = f"{item.kind} {item.component.name}"
    block["description"] = item.component.summary
    block["properties"] = {"name": {"const": item.component.name}, **block.get("properties", {})}
    block.pop("required", None)
    return block
