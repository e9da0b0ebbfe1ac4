"""A run's identity: what changes it, what does not, and that a resolved spec keeps it."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from slotlab.framework.spec.identity import canonical, definition, file_settings, located_refs, refs, run_id
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.merge import shipped_specs
from slotlab.framework.spec.tree import dump
from slotlab.registry import ComponentConfig

Plugin = Callable[..., Path]
Write = Callable[[str, str], Path]


def identity(*sets: str, name: str = "spec.yaml") -> str:
    return run_id(load_spec(name, sets=sets).spec)


@pytest.mark.parametrize(
    "assignment",
    [
        "name=other",
        "evaluation={split: test, metrics: [mse], slots: 3, mask_source: attention, baselines: [one_segment]}",
        "data.workers=3",
        "data.protocol.mask_size=32",
        "data.protocol.mask_resize=nearest_exact",
        "training.log_every=7",
        "training.validate_every=9",
        "training.watch={every_steps: 5, images: 2}",
        # defaults, written out
        "data.protocol.image_size=[16, 16]",
        "data.augmentation.window=center",
        "seed=0",
        "objective=pixel_mse",
        "objective={name: pixel_mse}",
        "training.optimizer={name: adam, betas: [0.9, 0.999]}",
        "training.clip_norm=null",
        "training.clip_norm_type=2",
        "model.projection={position: linear_grid, layer_norm_eps: 0.00001}",
        "model.encoder.kernel_size=5",
        "model.initializer={name: gaussian}",
        "model.decoder.position=linear_grid",
        "training.phases=[{steps: 2, lr: 0.001, schedule: {name: constant}, interval: step}]",
    ],
)
def test_what_cannot_change_the_weights_does_not_count(base: str, assignment: str) -> None:
    assert identity(assignment) == identity()


@pytest.mark.parametrize(
    "assignment",
    [
        "seed=1",
        "data.dataset.max_objects=5",
        "data.protocol.image_size=32",
        "data.protocol.image_size=[16, 24]",
        "data.protocol.fit=cover",
        "data.protocol.interpolation=bicubic",
        "data.protocol.value_range=unit",
        "data.train_split=val",
        "model.slots=8",
        "model.slot_dim=16",
        "model.encoder.channels=[4, 5]",
        "model.encoder=resnet18_style",
        "model.projection.hidden_dim=3",
        "model.projection.position=none",
        "model.initializer=learnable",
        "model.grouping.iterations=2",
        "model.decoder.position=none",
        "training.batch_size=3",
        "training.phases.0.lr=2e-3",
        "training.phases.0.steps=3",
        "training.optimizer={name: adam, betas: [0.8, 0.999]}",
        "training.clip_norm=1",
        "training.clip_norm_type=inf",
        "training.groups=[{weights: [encoder], layer_decay: 0.9}]",
        "training.precision=bfloat16",
    ],
)
def test_all_else_counts(base: str, assignment: str) -> None:
    assert identity(assignment) != identity()


def test_order_of_keys_does_not_count(base: str) -> None:
    before = identity()
    Path("spec.yaml").write_text("".join(reversed(_sections(base))))
    assert identity() == before


def _sections(text: str) -> list[str]:
    """Split a spec at its top-level keys."""
    sections: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.startswith(" "):
            sections[-1] += line
        else:
            sections.append(line)
    return sections


@pytest.mark.usefixtures("named_runs")
@pytest.mark.parametrize("name", ["spec.yaml", *(f"slotlab:{name}" for name in shipped_specs())])
def test_a_resolved_spec_has_the_same_identity(base: str, write: Write, name: str) -> None:
    spec = load_spec(name).spec
    write("elsewhere/resolved.yaml", yaml.safe_dump(spec.model_dump(mode="json")))
    again = load_spec("elsewhere/resolved.yaml").spec
    assert again == spec
    write("elsewhere/resolved.yaml", dump(spec.model_dump(mode="json")))
    assert load_spec("elsewhere/resolved.yaml").spec == spec
    assert run_id(again) == run_id(spec)


def test_the_identity_is_twelve_hexadecimal_digits(base: str) -> None:
    assert len(identity()) == 12
    assert int(identity(), 16) >= 0


# --- plugins -----------------------------------------------------------------------------


@pytest.fixture
def with_plugin(base: str) -> Callable[[Path], str]:
    def identity_with(path: Path) -> str:
        text = base.replace("{name: cnn, channels: [4, 4]}", "pixelwise")
        Path("plugged.yaml").write_text(f"{text}plugins: [{path}]\n")
        return identity(name="plugged.yaml")

    return identity_with


def test_content_and_version_of_a_file_count_and_its_place_does_not(
    with_plugin: Callable[[Path], str], plugin: Plugin
) -> None:
    one = with_plugin(plugin("place_one.py"))
    assert with_plugin(plugin("sub/place_two.py")) == one
    assert with_plugin(plugin("edited.py", **{"width: int = 4": "width: int = 4  # edited"})) != one


@pytest.mark.parametrize("kind", ["encoder", "model"])
def test_the_version_of_an_installed_component_counts(base: str, kind: str) -> None:
    """Also that of one which stands in the spec without its name, as the kind of model does."""
    loaded = load_spec("spec.yaml")
    before = run_id(loaded.spec)
    model = loaded.spec.model
    assert model.implied
    component = (model if kind == "model" else model.config.encoder).registered.component
    object.__setattr__(component, "version", component.version + 1)
    try:
        assert run_id(loaded.spec) != before
    finally:
        object.__setattr__(component, "version", component.version - 1)
    assert run_id(loaded.spec) == before


RICH_PLUGIN = """
from typing import Annotated
from pydantic import BaseModel, Field
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, Ref, RefTo, hookimpl

SLOTLAB_API = 1

class Inner(BaseModel):
    position: Annotated[Ref, RefTo("position")] = Field(default="none", validate_default=True)
    depth: int = 1

class Config(ComponentConfig):
    weights: SpecPath | None = None
    roots: tuple[SpecPath, ...] = ()
    rates: dict[str, float] = {}
    kinds: frozenset[str] = frozenset()
    parts: dict[str, Annotated[Ref, RefTo("metric")]] = {}
    inner: Inner = Field(default={}, validate_default=True)

    def cautions(self):
        return ["take care"] if self.weights else []

@hookimpl
def slotlab_encoders():
    yield Component(name="rich", config=Config, build=print, summary="every kind of setting")
"""


def test_every_kind_of_setting_has_an_identity(base: str, write: Write) -> None:
    write("rich_settings.py", RICH_PLUGIN)
    Path("spec.yaml").write_text(
        base.replace("{name: cnn, channels: [4, 4]}", "rich") + "plugins: [rich_settings.py]\n"
    )
    plain = identity()
    for part in ("rates={a: 1}", "kinds=[a]", "parts={a: mse}", "inner={depth: 2}", "inner={position: linear_grid}",
                 "weights=x", "roots=[a]"):  # fmt: skip
        assert identity(f"model.encoder.{part}") != plain, part
    assert identity("model.encoder.weights=x") == identity("model.encoder.weights=y/z")
    assert identity("model.encoder.kinds=[a, b]") == identity("model.encoder.kinds=[b, a]")
    spec = load_spec("spec.yaml", sets=["model.encoder.parts={a: mse}"]).spec
    found = {path: ref.name for path, ref in located_refs(spec.model)}
    assert found[("encoder", "parts", "a")] == "mse"
    assert found[("encoder", "inner", "position")] == "none"
    assert list(refs(spec.model)) == [ref for _, ref in located_refs(spec.model)]
    named = load_spec("spec.yaml", sets=["model.encoder.weights=x", "model.encoder.roots=[a]"]).spec
    assert {"plugins.0", "model.encoder.weights", "model.encoder.roots.0"} <= file_settings(named)
    assert not file_settings(named) & {"name", "model.encoder.name", "training.phases.0.lr"}


def test_canonical_settings_are_those_that_differ(base: str) -> None:
    model = load_spec("spec.yaml").spec.model
    assert canonical(model, "model") == {
        "slots": 7,
        "slot_dim": 8,
        "encoder": {"name": "cnn", "channels": [4, 4]},
        "initializer": "gaussian",
        "grouping": "slot_attention",
        "decoder": {"name": "spatial_broadcast", "channels": [4], "strides": [2]},
    }


def test_what_a_metric_computes_is_its_version_and_settings_but_not_where_files_lie(base: str) -> None:
    def settings(block: str) -> object:
        found = load_spec("spec.yaml", sets=[f"evaluation.metrics=[{block}]"]).spec.evaluation.metrics[0]
        return definition(found)

    assert settings("corloc") == {"version": "1", "settings": {}}
    assert settings("{name: corloc, threshold: 0.7}") == {"version": "1", "settings": {"threshold": 0.7}}
    assert settings("{name: lpips, backbone: some.pth}") == settings("lpips")


def test_the_order_of_a_set_is_no_part_of_an_identity() -> None:
    one, other = frozenset([0, 8]), frozenset([8, 0])  # Python keeps them in the order they were given in
    assert (list(one) != list(other), canonical(one)) == (True, canonical(other))


def test_settings_that_a_component_says_are_without_effect_are_no_part_of_its_identity() -> None:
    class Reading(ComponentConfig):
        without_effect: ClassVar = frozenset({"threads"})
        threads: int = 1
        size: int = 1

    assert canonical(Reading(threads=4)) == canonical(Reading()) == {}
    assert canonical(Reading(threads=4, size=2)) == {"size": 2}
