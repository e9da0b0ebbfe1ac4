"""Code of another user's run is not run when that run is an input: neither to validate nor to train."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slotlab.framework.model.build import build_model
from slotlab.framework.spec.load import load_spec

Slotlab = Callable[..., tuple[int, str, str]]
SPEC = """
format: 1
name: user
data:
  dataset: {name: scenes, max_objects: 3, num_train: 2, num_val: 2, textures: [plain]}
  protocol: {name: whole, image_size: 8}
model:
  slots: 4
  slot_dim: 8
  encoder: {name: trained, source: {run: run}}
  initializer: learnable
  grouping: {name: slot_attention, iterations: 1}
  decoder: {name: spatial_broadcast, broadcast_size: 4, channels: [4], strides: [2]}
training:
  batch_size: 2
  phases: [{steps: 1, lr: 1e-2}]
"""
TEACHER = "auxiliary: [{name: attention_distill, teacher: {run: run}}]\ntraining:"


@pytest.fixture(params=["encoder", "teacher"])
def user(request: pytest.FixtureRequest, stranger: object, tmp_path: Path) -> Path:
    """A spec of the other user, with the run as an input."""
    text = SPEC
    if request.param == "teacher":
        text = text.replace("{name: trained, source: {run: run}}", "{name: cnn, channels: [4]}")
        text = text.replace("training:", TEACHER)
    path = tmp_path / "user.yaml"
    path.write_text(text)
    return path


def test_code_of_anothers_run_is_refused_as_an_input(user: Path, stranger: Any, slotlab: Slotlab) -> None:
    for command in (("validate", user), ("train", user, "--run", "mine", "--device", "cpu")):
        code, out, err = slotlab(*command)
        said = out + err
        assert code != 0
        assert f"the run {stranger.run} cannot be used: " in said
        assert f"{stranger.source} came with a run that is not known to be yours" in said
        assert f"`slotlab show {stranger.run}/spec.yaml --trust` remembers it" in said
        assert not stranger.trace.exists()
    assert not Path("mine").exists()


def test_code_that_was_allowed_once_is_run(user: Path, stranger: Any, slotlab: Slotlab) -> None:
    code, _, err = slotlab("show", "run/spec.yaml", "--trust")
    assert code == 0, err
    code, _, err = slotlab("validate", user)
    assert code == 0, err
    assert stranger.trace.exists()
    build_model(load_spec(user).spec)
