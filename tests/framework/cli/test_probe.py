"""The command `probe` on a tiny trained run: files, table, JSON, comparisons, and what is refused."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SPEC = """
format: 1
name: tiny
data:
  dataset: {name: scenes, max_objects: 3, num_train: 30, num_val: 6, num_test: 6}
  protocol: {name: whole, image_size: 8}
model:
  slots: 4
  slot_dim: 8
  encoder: {name: cnn, channels: [4], kernel_size: 3}
  initializer: gaussian
  grouping: {name: slot_attention, iterations: 1}
  decoder: {name: spatial_broadcast, broadcast_size: 4, channels: [4], strides: [2]}
training:
  batch_size: 4
  phases: [{steps: 2, lr: 1e-3}]
evaluation: {metrics: [mse]}
"""
QUICK = ("--steps", 4, "--head", "linear")
Slotlab = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, command: Callable[..., int]) -> Path:
    folder = tmp_path_factory.mktemp("probed")
    (folder / "spec.yaml").write_text(SPEC)
    assert command("train", folder / "spec.yaml", "--run", folder / "run", "--no-evaluate") == 0
    return folder / "run"


def test_a_probe_is_printed_written_and_compared(run: Path, slotlab: Slotlab, tmp_path: Path) -> None:
    code, out, err = slotlab("probe", run, *QUICK, "--json", tmp_path / "probe.json")
    assert code == 0, err
    assert "heads fitted on 24 images of train, stopped by 6; weights of step 2, seed 0" in out
    assert "shuffled_slots" in out
    assert "ap_0.125" in out
    assert "rotation: left out, it is an angle" in out
    [folder] = (run / "probe").iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    told = json.loads((tmp_path / "probe.json").read_text())
    assert told == {**summary, "folder": str(folder)}
    assert {name: summary[name] for name in ("run", "seed", "protocol", "step", "images")} == {
        "run": "run",
        "seed": 0,
        "protocol": "whole (image_size 8)",
        "step": 2,
        "images": 6,
    }
    assert list(summary["methods"]) == ["model", "shuffled_slots", "mean_color"]
    rows = list(csv.DictReader((folder / "images.csv").read_text().splitlines()))
    assert len(rows) == 18
    mine = [row for row in rows if row["method"] == "model"]
    weights = [float(row["shape_linear_mask_weight"]) for row in mine]
    mean = sum(float(row["shape_linear_mask"]) * w for row, w in zip(mine, weights, strict=True)) / sum(
        weights
    )
    assert summary["methods"]["model"]["shape_linear_mask"]["mean"] == pytest.approx(mean)
    table = list(csv.DictReader((folder / "probe.csv").read_text().splitlines()))
    assert {row["measure"] for row in table} >= {"accuracy", "r2", "ap_inf"}
    again, _, _ = slotlab("probe", run, *QUICK)
    assert again == 0
    assert json.loads((folder / "summary.json").read_text()) == summary  # the same, in the same place
    code, out, err = slotlab(
        "compare", run, "--probes", "--metric", "shape_linear_mask", "--metric", "ap_inf"
    )
    assert code == 0, err
    assert "shape_linear_mask" in out
    code, out, err = slotlab("compare", run)  # a probe is no evaluation
    assert code == 1
    assert "not evaluated; run 'slotlab evaluate' on it" in out + err


def test_a_run_without_probes_says_how_to_make_one(run: Path, slotlab: Slotlab, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("spec.yaml", "provenance.json", "status.json"):
        (bare / name).write_bytes((run / name).read_bytes())
    code, out, err = slotlab("compare", bare, "--probes")
    assert code == 1
    assert "not probed; run 'slotlab probe' on it" in out + err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--fit-split", "val"), "heads would be fitted and tested on the split 'val'; choose another"),
        (("--masks", "both"), "a probe matches by masks of one source"),
        (("--head", "deep"), "probe: heads.0: "),
        (("--attribute", "weight"), "objects have no attribute 'weight'"),
        (
            ("--set", "data.dataset.num_train=4"),
            "at least 10 images to fit on and 2 to test on; the split 'train' has 4",
        ),
    ],
)
def test_what_cannot_be_probed_is_told(run: Path, slotlab: Slotlab, words: Any, text: str) -> None:
    code, _, err = slotlab("probe", run, "--steps", 2, *words)
    assert code == 1
    assert text in err


SLOTLESS = """
from torch import nn
from slotlab.framework.contracts import Losses, Model
from slotlab.registry import Component, ComponentConfig, hookimpl

SLOTLAB_API = 1


class Config(ComponentConfig):
    pass


class Slotless(Model):
    def __init__(self, config, context):
        super().__init__(context.names)
        self.layer = nn.Conv2d(3, 3, 1)

    def losses(self, batch, *, generator=None):
        return Losses((self.layer(batch.images_BCHW) - batch.images_BCHW).square().mean())


@hookimpl
def slotlab_models():
    yield Component(name="slotless", config=Config, build=Slotless, summary="no slots")
"""


def test_a_model_without_slots_is_refused(slotlab: Slotlab, tmp_path: Path) -> None:
    (tmp_path / "slotless.py").write_text(SLOTLESS)
    before, _, after = SPEC.partition("model:")
    training = after[after.index("training:") : after.index("evaluation:")]
    text = f"{before}plugins: [slotless.py]\nmodel: {{name: slotless}}\n{training}"
    (tmp_path / "spec.yaml").write_text(text)
    code, _, err = slotlab("train", tmp_path / "spec.yaml", "--run", tmp_path / "run", "--no-evaluate")
    assert code == 0, err
    code, _, err = slotlab("probe", tmp_path / "run")
    assert code == 1
    assert "the model 'slotless' has no slots" in err
