"""The JSON Schema of specs, made from the registry, for completion in editors."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import KINDS, Registry
from slotlab.registry.manager import Registered


class _Generator(GenerateJsonSchema):
    """Leaves the definitions that components' settings share to be added by `spec_schema`."""

    ignored_warning_kinds = frozenset({"skipped-choice", "non-serializable-default"})  # type: ignore[assignment]


def spec_schema(registry: Registry) -> dict[str, Any]:
    """Return the schema of specs with every component that the registry knows."""
    schema = ExperimentSpec.model_json_schema(schema_generator=_Generator)
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    for kind in KINDS.values():
        found = registry.all(kind.name)
        blocks = [component_schema(item, definitions) for item in found]
        names: dict[str, Any] = {"type": "string", "enum": [item.component.name for item in found]}
        definitions[kind.plural] = {
            "description": f"The {kind.name}: a name, or a block.",
            "anyOf": [names, *blocks],
        }
    schema["properties"]["extends"] = {
        "type": "string",
        "description": "One parent: a file relative to this one, or slotlab:NAME.",
    }
    for name in ("ExperimentSpec", "ModelSpec", "DataSpec", "TrainingSpec", "PhaseSpec"):
        (schema if name == "ExperimentSpec" else definitions[name]).pop(
            "required", None
        )  # the parent may give it
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "slotlab experiment",
    }


def component_schema(item: Registered, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of one component's block."""
    block: dict[str, Any] = item.component.config.model_json_schema(schema_generator=_Generator)
    definitions.update(block.pop("$defs", {}))
    block["title"] = f"{item.kind} {item.component.name}"
    block["description"] = item.component.summary
    block["properties"] = {"name": {"const": item.component.name}, **block.get("properties", {})}
    block["required"] = ["name"]
    return block
