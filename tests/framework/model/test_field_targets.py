"""Models whose targets are flow and depth: read for losses alone, told where they are missing, honest about pictures."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import yaml

import slotlab
from slotlab.framework.contracts import Batch
from slotlab.framework.cost.flops import count_flops
from slotlab.framework.evaluation.conditions import own_condition
from slotlab.framework.jobs.estimate import random_batch
from slotlab.framework.jobs.evaluate import run_evaluations
from slotlab.framework.jobs.train import run_training
from slotlab.framework.model.build import build_model
from slotlab.framework.model.check import check_parts
from slotlab.framework.model.engine import Engine
from slotlab.framework.spec.errors import SpecError
from slotlab.registry import SlotlabError

CPU = torch.device("cpu")
OBJECTIVE = {"name": "fields_mse", "targets": {"flow": 1, "depth": 0.5}}
SPEC: dict[str, Any] = {
    "format": 1,
    "name": "small",
    "data": {
        "dataset": {"name": "moving_scenes", "num_frames": 3, "num_train": 3, "num_val": 3, "min_objects": 2},
        "protocol": {"name": "whole", "image_size": 16},
        "clip": {"frames": 2, "start": "all"},
        "augmentation": {"flip": True, "crop": 0.75},
    },
    "model": {
        "name": "video_slots",
        "slots": 3,
        "slot_dim": 8,
        "encoder": {"name": "cnn", "channels": [4], "kernel_size": 3},
        "initializer": {"name": "conditional", "cue": "boxes"},
        "grouping": {"name": "slot_attention", "iterations": 1},
        "predictor": "transformer",
        "decoder": {"name": "spatial_broadcast", "broadcast_size": 8, "channels": [4]},
    },
    "objective": OBJECTIVE,
    "training": {
        "batch_size": 2,
        "log_every": 1,
        "phases": [{"steps": 4, "lr": 0.01}],
        "checkpoint": {"every_steps": 1, "keep": 9},
    },
    "evaluation": {"split": "val", "metrics": ["video_fg_ari", "mse"], "baselines": []},
}


def load(tmp_path: Any, **sets: Any) -> Any:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SPEC))
    return slotlab.load_spec(path, sets).loaded


def batch_of(clips: int, frames: int, **fields: torch.Tensor) -> Batch:
    stream = torch.Generator().manual_seed(0)
    images = torch.rand(clips * frames, 3, 16, 16, generator=stream)
    masks = torch.randint(0, 3, (clips * frames, 16, 16), generator=stream)
    named: Any = {
        "flow": torch.randn(clips * frames, 2, 16, 16, generator=stream),
        "depth": torch.rand(clips * frames, 1, 16, 16, generator=stream),
    }
    return Batch(
        images_BCHW=images, masks_BHW=masks, ids=tuple("ab"[:clips]), frames=frames, fields=named | fields
    )


def test_a_spec_is_valid_and_its_cost_can_be_told(tmp_path: Any) -> None:
    spec = load(tmp_path).spec
    assert check_parts(spec) == []
    assert count_flops(spec).training["decoder"] > 0
    model = build_model(spec)
    assert list(model.fields) == ["flow", "depth"]
    batch = random_batch(Engine.open(spec, CPU, warn=print), 2, model.fields)
    assert model.losses(batch).total.isfinite()


def refused(tmp_path: Any, **sets: Any) -> list[Any]:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, **sets)
    return list(caught.value.problems)


def test_data_without_flow_is_told_by_validate(tmp_path: Any) -> None:
    scenes = {"name": "scenes", "num_train": 2}
    problems = refused(tmp_path, **{"data.dataset": scenes, "data.clip": None})
    assert [problem.path for problem in problems] == [("objective",)] * 2
    for problem, name in zip(problems, ("flow", "depth"), strict=True):
        text = f"fields_mse: its target is made of {name}, and the dataset 'scenes' has none (no method '{name}')"
        hint = "take data that has it, such as moving_scenes or movi, or an objective that does not need it"
        assert problem.text == f"{text}; {hint}"


def test_a_batch_without_what_is_needed_is_told(tmp_path: Any) -> None:
    model = build_model(load(tmp_path).spec)
    bare = replace(batch_of(1, 2), fields={})
    with pytest.raises(SlotlabError) as caught:
        model.losses(bare)
    text = "objective 'fields_mse': its target is made of flow, which is not there"
    assert str(caught.value).startswith(text)


def test_masks_that_are_told_the_target_do_not_go_with_it(tmp_path: Any) -> None:
    decoder = {"name": "random_order", "layers": 1, "heads": 2}
    [problem, *_] = refused(tmp_path, **{"model.decoder": decoder})
    assert problem.path == ("model", "decoder")
    text = "its masks are told the target, which is made of flow, depth: an evaluation does not have that"
    assert problem.text.startswith(text)


def test_the_loss_of_a_batch_is_the_mean_over_its_clips(tmp_path: Any) -> None:
    model, batch = build_model(load(tmp_path).spec), batch_of(2, 3)
    whole, parts = model.losses(batch), [model.losses(one) for one in batch.chunk(2)]
    for name in ("flow", "depth"):
        mean = (parts[0].terms[name] + parts[1].terms[name]) / 2
        torch.testing.assert_close(whole.terms[name], mean, rtol=1e-5, atol=1e-6)
    moved = replace(batch, fields={**batch.fields, "flow": batch.fields["flow"] * 0})
    assert model.losses(moved).terms["depth"] == whole.terms["depth"]
    assert model.losses(moved).terms["flow"] != whole.terms["flow"]


class Killed(Exception):  # noqa: N818 - stands for a power cut
    """The training ends here."""


def test_killed_resumed_and_measured(tmp_path: Any) -> None:
    loaded = load(tmp_path)
    whole = run_training(loaded, tmp_path / "whole", device=CPU, report=lambda progress: None)

    def die(progress: Any) -> None:
        if progress.step == 2:
            raise Killed

    with pytest.raises(Killed):
        run_training(loaded, tmp_path / "run", device=CPU, report=die)
    run = run_training(loaded, tmp_path / "run", device=CPU, report=lambda progress: None)
    ours, theirs = (one.checkpoints.of_step(4).read()["model"] for one in (run, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    [line] = [one for one in run.read_log() if one["kind"] == "train" and one["step"] == 4]
    assert line["loss/flow"] > 0
    assert line["loss/depth"] > 0
    [summary] = run_evaluations(run, loaded, [own_condition(loaded)], device=CPU)
    assert "mse" not in summary["methods"]["model"], "flow and depth are no picture that could be compared"
    assert "video_fg_ari" in summary["methods"]["model"]
