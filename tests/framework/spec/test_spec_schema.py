"""The JSON Schema accepts what loads, and refuses keys that do not exist."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.json_schema import link_components, spec_schema
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.merge import find_spec, shipped_specs
from slotlab.framework.spec.tree import parse
from slotlab.registry import KINDS

jsonschema = pytest.importorskip("jsonschema")
Write = Callable[[str, str], Path]
Judge = Callable[[Any], list[str]]


def judge_with(schema: dict[str, Any]) -> Judge:
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    return lambda data: [error.json_path for error in validator.iter_errors(data)]


@pytest.fixture(scope="module")
def judge() -> Judge:
    return judge_with(spec_schema(load_registry()))


def data(path: Path) -> Any:
    return parse(path.read_text(encoding="utf-8"), origin=str(path), folder=path.parent).plain()


@pytest.mark.usefixtures("named_runs")
@pytest.mark.parametrize("name", shipped_specs())
def test_shipped_specs_are_accepted(judge: Judge, name: str) -> None:
    assert judge(data(find_spec(f"slotlab:{name}", Path()))) == []
    assert judge(load_spec(f"slotlab:{name}").spec.model_dump(mode="json")) == []


def test_part_of_a_spec_is_accepted(judge: Judge) -> None:
    assert judge({}) == []
    assert judge({"extends": "slotlab:demo", "model": {"encoder": {"kernel_size": 3}}}) == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"modle": {}}, "$"),
        ({"data": {"imagesize": 3}}, "$.data"),
        ({"model": {"encoder": {"name": "cnn", "stage": 1}}}, "$.model.encoder"),
        ({"model": {"encoder": "nosuch"}}, "$.model.encoder"),
        ({"model": {"decoder": {"position": "nosuch"}}}, "$.model.decoder"),
        ({"training": {"phases": [{"steps": 1}]}}, "$.training.phases[0]"),
        ({"extends": ["a", "b"]}, "$.extends"),
        ({"format": 2}, "$.format"),
    ],
)
def test_what_cannot_load_is_refused(judge: Judge, change: dict[str, Any], path: str) -> None:
    assert judge(change) == [path]


def test_every_component_is_described(judge: Judge) -> None:
    registry = load_registry()
    definitions = spec_schema(registry)["$defs"]
    for kind in KINDS.values():
        names, *blocks = definitions[kind.plural]["anyOf"]
        assert names["enum"] == registry.names(kind.name)
        assert [block["description"] for block in blocks] == [
            r.component.summary for r in registry.all(kind.name)
        ]


PLUGIN = """
from typing import Annotated, Literal
from pydantic import Field
from slotlab.registry import ClosedModel, Component, ComponentConfig, Ref, RefTo, hookimpl

SLOTLAB_API = 1

def make(word):
    class Layer(ClosedModel):
        kind: Literal[word]

    class Config(ComponentConfig):
        layers: tuple[Layer, ...]
        component: int = 1
        inner: Annotated[Ref, RefTo("encoder")] = Field(default="cnn", validate_default=True)

    return Component(name=word, config=Config, build=print, summary=word)

@hookimpl
def slotlab_encoders():
    yield make("one")
    yield make("two")
"""


def test_plugins_whose_inner_models_are_called_alike(base: str, write: Write) -> None:
    path = write("alike_layers.py", PLUGIN)
    registry = load_registry()
    registry.add_file(path)
    judge = judge_with(spec_schema(registry))
    for word, other in (("one", "two"), ("two", "one")):
        block = {"name": word, "layers": [{"kind": word}], "component": 3, "inner": other}
        spec = {**yaml.safe_load(base.replace("1e-3", "0.001")), "plugins": [str(path)]}
        spec["model"]["encoder"] = block
        assert judge(spec) == []
        spec["model"]["encoder"] = {**block, "layers": [{"kind": other}]}
        assert judge(spec) == ["$.model.encoder"]


def test_linking_touches_references_only() -> None:
    schema = {"a": [{"component": "encoder", "title": "x"}], "component": {"type": "integer"}}
    linked = {"a": [{"title": "x", "$ref": "#/$defs/encoders"}], "component": {"type": "integer"}}
    registry = load_registry()
    assert link_components(schema, registry) == linked
    assert link_components(linked, registry) == linked
