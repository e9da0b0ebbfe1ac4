"""The target of flow and depth: an independent transcription, and which channels belong to what."""

import colorsys
import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Generator, Tensor

from slotlab.framework.contracts import Decoded, ObjectiveContext
from slotlab.plugins.objectives.fields_mse import FieldsMSE, FieldsMSEConfig, flow_colors

SIZE = (5, 7)
IMAGES = torch.rand(2, 3, *SIZE, generator=Generator().manual_seed(0), dtype=torch.float64)
FLOW = torch.randn(2, 2, *SIZE, generator=Generator().manual_seed(1), dtype=torch.float64)
DEPTH = 9 * torch.rand(2, 1, *SIZE, generator=Generator().manual_seed(2), dtype=torch.float64)
FEATURES = torch.zeros(2, 4, 1, 1)


def build(**settings: Any) -> FieldsMSE:
    config = FieldsMSEConfig.model_validate(settings)
    return FieldsMSE(config, ObjectiveContext(image_size=SIZE, feature_channels=4, grid=(1, 1)))


def color(down: float, right: float) -> list[float]:
    """SAVi's color of a vector, through Python's own conversion."""
    hue = (math.atan2(right, down) / math.pi + 1) / 2
    saturation = min(1.0, math.hypot(down, right) * 50 / math.hypot(*SIZE))
    return [math.floor(value * 255.5) / 255 for value in colorsys.hsv_to_rgb(hue, saturation, 1.0)]


@pytest.mark.parametrize("scale", [0.0, 0.01, 0.1, 1.0])
def test_colors_of_flow_are_those_of_another_transcription(scale: float) -> None:
    colors = flow_colors(scale * FLOW, 50.0)
    wanted = [[color(*vector.tolist()) for vector in one.flatten(1).T] for one in scale * FLOW]
    wanted_B3HW = torch.tensor(wanted, dtype=torch.float64).movedim(-1, 1).reshape(2, 3, *SIZE)
    torch.testing.assert_close(colors, wanted_B3HW, rtol=0, atol=1e-12)
    assert scale or (colors == 1).all(), "no motion is white"


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_loss_and_gradient_are_those_of_another_transcription(reduction: str) -> None:
    objective = build(targets={"image": 0.25, "depth": 2.0, "flow": 1.0}, reduction=reduction)
    assert list(objective.needs) == ["flow", "depth"]
    assert objective.target_shape.channels == 7
    target = objective.target(IMAGES, FEATURES, flow_B2HW=FLOW, depth_B1HW=DEPTH)
    found = torch.randn(
        2, 7, *SIZE, generator=Generator().manual_seed(3), dtype=torch.float64
    ).requires_grad_()
    losses = objective.loss(Decoded(found), target)
    parts = {"flow": (found[:, :3], flow_colors(FLOW, 50.0)), "depth": (found[:, 3:4], torch.log(1 + DEPTH))}
    parts["image"] = (found[:, 4:], IMAGES)
    errors = {name: ((one - other) ** 2).sum() / 2 for name, (one, other) in parts.items()}
    if reduction == "mean":
        errors = {name: error / parts[name][0][0].numel() for name, error in errors.items()}
    total = errors["flow"] + 2 * errors["depth"] + 0.25 * errors["image"]
    torch.testing.assert_close(losses.total, total, rtol=0, atol=1e-9)
    assert losses.terms.keys() == errors.keys()
    for name, error in errors.items():
        torch.testing.assert_close(losses.terms[name], error, rtol=0, atol=1e-9)
    gradient, wanted = (
        torch.autograd.grad(one, found, retain_graph=True)[0] for one in (losses.total, total)
    )
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-9)


def test_the_order_in_a_spec_changes_nothing() -> None:
    one, other = (
        build(targets=dict(names)) for names in ((("flow", 1), ("depth", 2)), (("depth", 2), ("flow", 1)))
    )
    targets = [each.target(IMAGES, FEATURES, flow_B2HW=FLOW, depth_B1HW=DEPTH) for each in (one, other)]
    assert torch.equal(*targets)


def test_only_a_predicted_picture_is_one() -> None:
    prediction: Tensor = torch.rand(2, 7, *SIZE)
    assert build().to_image(prediction[:, :3]) is None
    shown = build(targets={"flow": 1, "depth": 1, "image": 1}).to_image(prediction)
    assert shown is not None
    assert torch.equal(shown, prediction[:, 4:])
    assert not build(targets={"image": 1}).needs


@pytest.mark.parametrize("targets", [{}, {"flow": 0}, {"color": 1}])
def test_targets_that_are_none_are_refused(targets: Any) -> None:
    with pytest.raises(ValidationError):
        build(targets=targets)
