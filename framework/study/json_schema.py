"""The JSON Schema of ablation files, for completion in editors."""

from typing import Any

from slotlab.framework.spec.json_schema import component_schema, link_components
from slotlab.framework.study.ablation import AblationSpec
from slotlab.registry import Registry


def ablation_schema(registry: Registry) -> dict[str, Any]:
    """Return the schema of ablations with every launcher that the registry knows.

    What `settings` and the axes' values hold is a part of a spec; it is checked by slotlab alone.
    """
    schema = AblationSpec.model_json_schema()
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    launchers = registry.all("launcher")
    names: dict[str, Any] = {"type": "string", "enum": [item.component.name for item in launchers]}
    definitions[registry.kinds["launcher"].plural] = {
        "description": "The launcher: a name, or a block.",
        "anyOf": [names, *(component_schema(item, definitions) for item in launchers)],
    }
    values = definitions["AxisSpec"]["properties"]["values"]
    kinds = {
        key: values.pop(key) for key in ("type", "additionalProperties", "minProperties") if key in values
    }
    values["anyOf"] = [kinds, {"type": "array", "minItems": 1}]
    linked: dict[str, Any] = link_components(schema, registry)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **linked,
        "title": "slotlab ablation",
    }
