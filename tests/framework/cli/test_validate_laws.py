"""`slotlab validate` warns of components of one's own that break cheap laws."""

from pathlib import Path

import pytest

import slotlab as package
from slotlab.framework.api.spec_laws import broken_laws, own_components
from tests.conftest import Slotlab

PLUGIN = '''
"""A metric whose setting says nothing of itself."""

from slotlab import Component, ComponentConfig, hookimpl

SLOTLAB_API = 1


class DarkConfig(ComponentConfig):
    """Settings of the metric."""

    bare: float = 0.0


class Dark:
    """How dark pictures are."""

    higher_is_better, bounds, needs = True, (-1.0, 1.0), frozenset()

    def __init__(self, config, context):
        pass

    def __call__(self, outcome):
        return outcome.images_BCHW.double().mean(dim=(1, 2, 3))


@hookimpl
def slotlab_metrics():
    yield Component(name="dark", config=DarkConfig, build=Dark, summary="how dark pictures are")
'''
SPEC = "extends: slotlab:demo\nplugins: [dark.py]\nevaluation: {metrics: [mse, dark, {name: ari}]}\n"


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("dark.py").write_text(PLUGIN)
    Path("spec.yaml").write_text(SPEC)
    return "spec.yaml"


def test_a_broken_law_is_a_warning_with_its_place_and_its_repair(slotlab: Slotlab, spec: str) -> None:
    code, out, _ = slotlab("validate", spec)
    line = next(number for number, text in enumerate(PLUGIN.splitlines(), 1) if "class DarkConfig" in text)
    assert code == 0
    [warning, verdict] = out.splitlines()
    assert verdict == "spec.yaml: valid"
    assert warning.startswith("warning: dark.py:")
    assert abs(int(warning.split(":")[2]) - line) < 4
    assert "metric 'dark': not so: settings are documented (" in warning
    assert "; write a docstring under it" in warning
    assert slotlab("validate", spec, "--no-laws")[1] == "spec.yaml: valid\n"
    assert [f"warning: {text}" for text in package.load_spec(spec).broken_laws()] == [warning]


def test_only_ones_own_components_are_checked(spec: str) -> None:
    loaded = package.load_spec(spec).loaded
    assert list(own_components(loaded.spec)) == [("metric", "dark")]
    assert package.load_spec("slotlab:demo").broken_laws() == []


def test_what_there_is_no_time_for_is_told(spec: str) -> None:
    loaded = package.load_spec(spec).loaded
    text = "not checked in -1 s: metric 'dark'; 'slotlab check' checks them"
    assert broken_laws(loaded, seconds=-1) == [text]
