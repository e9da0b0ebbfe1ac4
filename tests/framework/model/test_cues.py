"""Cues: what is told of objects, and that a model of clips is told it in training and in evaluation alike."""

from typing import Any

import pytest
import torch

from slotlab.framework.contracts import Batch, Outcome
from slotlab.framework.evaluation.evaluate import outcomes_of, reconstruct
from slotlab.framework.model.build import build_model
from slotlab.framework.model.check import check_parts
from slotlab.framework.model.cues import cues_of
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError

REGISTRY = load_registry()


def spec_of(**model: Any) -> ExperimentSpec:
    data = {
        "format": 1,
        "name": "tiny",
        "data": {
            "dataset": "moving_scenes",
            "protocol": {"name": "whole", "image_size": 8},
            "clip": {"frames": 3},
        },
        "model": {
            "name": "video_slots",
            "slots": 3,
            "slot_dim": 8,
            "encoder": {"name": "cnn", "channels": [4], "kernel_size": 3},
            "initializer": "conditional",
            "grouping": {"name": "slot_attention", "iterations": 1},
            "predictor": "transformer",
            "decoder": {"name": "spatial_broadcast", "broadcast_size": 4, "channels": [4]},
            **model,
        },
        "training": {"batch_size": 2, "phases": [{"steps": 2, "lr": 0.01}]},
    }
    return ExperimentSpec.model_validate(data, context={"registry": REGISTRY})


def batch(seed: int = 0, masks: bool = True) -> Batch:
    stream = torch.Generator().manual_seed(seed)
    images = torch.rand(6, 3, 8, 8, generator=stream)
    labels = torch.zeros(6, 8, 8, dtype=torch.int64)
    labels[:, 1:3, 2:7] = 1
    labels[:, 5:8, 0:2] = 2
    return Batch(images_BCHW=images, masks_BHW=labels if masks else None, ids=("a", "b"), frames=3)


def test_boxes_and_centers_of_known_masks() -> None:
    masks = batch().masks_BHW
    assert masks is not None
    boxes = cues_of("boxes", masks[:1], 4)[0]
    rows = [[0, 0, 0, 0], [1 / 8, 2 / 8, 3 / 8, 7 / 8], [5 / 8, 0, 1, 2 / 8], [0, 0, 0, 0]]
    assert boxes.tolist() == rows
    centers = cues_of("centers", masks[:1], 3)[0]
    assert centers.tolist() == [[0, 0], [2 / 8, 4.5 / 8], [6.5 / 8, 1 / 8]]


def test_objects_without_a_slot_and_void_are_not_told() -> None:
    mask = torch.zeros(1, 4, 4, dtype=torch.int64)
    mask[0, 0, 0], mask[0, 1, 1], mask[0, 2, 2], mask[0, 3, 3] = 5, -1, 9, 12
    told = cues_of("boxes", mask, 3)[0]
    assert told.tolist() == [[0, 0, 0, 0], [0, 0, 0.25, 0.25], [0.5, 0.5, 0.75, 0.75]]


@pytest.mark.parametrize("cue", ["boxes", "centers"])
def test_a_conditional_model_is_told_of_the_first_frame_alone(cue: str) -> None:
    spec = spec_of(initializer={"name": "conditional", "cue": cue})
    assert check_parts(spec) == []
    model = build_model(spec)
    assert (model.told, model.supervised) == (cue, True)

    def found(given: Batch) -> Outcome:
        made = reconstruct(spec, model, given, [0, 1])
        return outcomes_of(spec, made, given, ("decoder",))["decoder"]

    first, whole = found(batch()), batch()
    assert whole.masks_BHW is not None
    whole.masks_BHW.reshape(2, 3, 8, 8)[:, 1:] = 0  # later frames
    assert torch.equal(first.masks_BKHW, found(whole).masks_BKHW)  # type: ignore[arg-type]
    whole.masks_BHW[0] = 0
    changed = found(whole).masks_BKHW
    assert changed is not None
    assert first.masks_BKHW is not None
    assert not torch.allclose(changed[:3], first.masks_BKHW[:3])
    assert torch.equal(changed[3:], first.masks_BKHW[3:])


def test_training_is_told_the_same() -> None:
    spec = spec_of()
    model = build_model(spec)
    other = batch()
    assert other.masks_BHW is not None
    other.masks_BHW[0] = 0
    losses = [float(model.losses(one).total.detach()) for one in (batch(), batch(), other)]
    assert losses[0] == losses[1] != losses[2]
    model.losses(batch()).total.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for weight in model.initializer.parameters())  # type: ignore[union-attr]


def test_without_masks_the_message_says_what_is_missing() -> None:
    text = "it makes slots of the boxes of objects in a clip's first frame, and is told none; take the model"
    with pytest.raises(SlotlabError, match=text):
        build_model(spec_of()).losses(batch(masks=False))
