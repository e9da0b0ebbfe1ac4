"""`slotlab estimate`, and the cost that `slotlab train` tells."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from slotlab.framework.api import arm_estimates, estimating
from slotlab.framework.cli.estimate import evaluation, left_out

Run = Callable[..., tuple[int, str, str]]


def test_estimate_in_words_and_as_json(slotlab: Run, base: str) -> None:
    few = ("--set=data.dataset.num_train=6", "--device=cpu")
    code, out, err = slotlab("estimate", "spec.yaml", *few)
    assert (code, err) == (0, "")
    labels = [line.split()[0] for line in out.splitlines()[1:-1]]
    assert labels == ["training", "speed", "time", "evaluation", "memory", "checkpoint", "operations"]
    assert "training    2 steps of 2, 4 images" in out
    assert out.splitlines()[-1] == (
        "not included: start, reading data, validation and writing checkpoints; metrics, baselines and figures"
    )
    code, out, _ = slotlab("estimate", "spec.yaml", *few, "--json", "-")
    found = json.loads(out)
    assert (code, found["training_images"], found["images"]) == (0, 6, 4)


def test_the_evaluation_is_counted_where_its_images_are(slotlab: Run, base: str) -> None:
    few = ("--set=data.dataset.num_train=6", "--set=data.dataset.num_val=3", "--device=cpu")
    _, out, _ = slotlab("estimate", "spec.yaml", *few)
    assert "evaluation  3 images, " in out
    missing = "--set=data.dataset={name: clevrtex, root: none}"
    _, out, _ = slotlab("estimate", "spec.yaml", missing, "--images=6", "--device=cpu")
    assert "evaluation  each 1000 images, " in out
    _, out, _ = slotlab("estimate", "spec.yaml", *few, "--set=evaluation.max_images=2", "--json", "-")
    assert json.loads(out)["evaluation_images"] == 2


def test_what_is_not_timed_is_named() -> None:
    why = "its decoder draws pictures in many steps, which can take long"
    assert left_out({"evaluation_missing": why}).endswith(f"and figures; evaluation: {why}")
    assert evaluation({"evaluation_images_per_second": None, "evaluation_images": 3}) == {}


def test_the_number_of_images_can_be_given(slotlab: Run, base: str) -> None:
    code, out, _ = slotlab("estimate", "spec.yaml", "--images", "3", "--json", "-", "--device=cpu")
    assert (code, json.loads(out)["images"]) == (0, 3)  # an epoch of two steps


def test_without_data_and_number(slotlab: Run, base: str) -> None:
    missing = "{name: clevrtex, root: none}"
    code, out, err = slotlab("estimate", "spec.yaml", f"--set=data.dataset={missing}", "--device=cpu")
    message = err.splitlines()[-1]  # after a warning of the spec
    start = "error: the number of training images is not known without the data; give --images N ("
    assert (code, out) == (1, "")
    assert message.startswith(start)
    assert "there is no folder" in message


def test_train_tells_the_cost(slotlab: Run, base: str) -> None:
    few = ["--set=data.dataset.num_train=6", "--set=data.dataset.num_val=2", "--device=cpu"]
    code, out, _ = slotlab("train", "spec.yaml", "--run", "run", "--json", "result.json", *few)
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("cost: ")]
    assert "FLOP per image" in line
    written = json.loads(Path("run/cost.json").read_text())
    assert json.loads(Path("result.json").read_text())["cost"] == written
    assert written["images"] == 4
    assert written["seconds"] > 0


def test_images_are_counted_in_one_way_and_held_on_no_device(
    slotlab: Run, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert arm_estimates.count_training is estimating.count_training
    options = []
    monkeypatch.setattr(estimating, "select", lambda *given, **named: options.append(named) or range(6))
    code, _, err = slotlab("estimate", "spec.yaml", "--device=cpu")
    assert (code, err) == (0, "")
    assert options == [{}, {}]
