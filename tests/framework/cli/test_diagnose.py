"""The command `diagnose` on tiny trained runs: what it prints, JSON, figures, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import slotlab
from slotlab.framework.diagnosis.findings import PAGE

SPEC = """
format: 1
name: tiny
data:
  dataset: {name: scenes, max_objects: 3, num_train: 4, num_val: 6, num_test: 6}
  protocol: {name: whole, image_size: 8}
model:
  slots: 3
  slot_dim: 8
  encoder: {name: cnn, channels: [4], kernel_size: 3}
  initializer: gaussian
  grouping: {name: slot_attention, iterations: 1}
  decoder: {name: spatial_broadcast, broadcast_size: 4, channels: [4], strides: [2]}
training:
  batch_size: 4
  phases: [{steps: 1, lr: 1e-3}]
evaluation: {metrics: [mse]}
"""
Slotlab = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, command: Callable[..., int]) -> Path:
    folder = tmp_path_factory.mktemp("diagnosed")
    (folder / "spec.yaml").write_text(SPEC)
    assert command("train", folder / "spec.yaml", "--run", folder / "run", "--no-evaluate") == 0
    return folder / "run"


def test_a_diagnosis_is_printed_drawn_and_written(run: Path, slotlab: Slotlab, tmp_path: Path) -> None:
    code, out, err = slotlab("diagnose", run, "--json", tmp_path / "found.json")
    assert code == 0, err
    [one] = json.loads((tmp_path / "found.json").read_text())["runs"]
    assert one["measures"]["images"] == 6
    assert (one["step"], one["masks"]) == (1, "decoder")
    assert f"{run}: step 1, masks from the decoder, 6 images" in out
    for finding in one["findings"]:
        assert f"* {finding['what']}" in out
        assert all(f"  - {text}" in out for text in finding["advice"])
        assert finding["evidence"] == f"{PAGE}#{finding['kind'].replace('_', '-')}"
    assert Path(one["figure"]).is_file()


def test_the_other_source_has_a_figure_of_its_own(run: Path, blank_figures: None) -> None:
    [found] = slotlab.diagnose(run, masks="attention", images=4).runs
    assert (found.masks, found.measures.images, found.measures.slots) == ("attention", 4, 3)
    assert found.figure.is_file()
    [other] = slotlab.diagnose([run], images=4).runs
    assert other.figure != found.figure


def test_what_is_looked_at_does_not_depend_on_the_batch(run: Path, blank_figures: None) -> None:
    one, several = (
        slotlab.open_run(run, settings={"evaluation.batch_size": size}).diagnose(images=5).runs[0].measures
        for size in (1, 3)
    )
    assert vars(one).keys() == vars(several).keys()
    for name, value in vars(one).items():
        assert vars(several)[name] == pytest.approx(value, abs=1e-5), name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--masks", "both"), "--masks both: a diagnosis is of one source; write decoder or attention"),
        (("--images", 1), "--images 1: a diagnosis compares images; it needs at least 2"),
        (("--split", "tset"), "tset"),
    ],
)
def test_what_cannot_be_diagnosed_is_said(
    run: Path, slotlab: Slotlab, options: tuple[object, ...], words: str
) -> None:
    code, _, err = slotlab("diagnose", run, *options)
    assert code == 1
    assert words in err
    assert "Traceback" not in err


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, slotlab: Slotlab) -> None:
    code, _, err = slotlab("diagnose", tmp_path)
    assert code == 1
    assert str(tmp_path) in err
