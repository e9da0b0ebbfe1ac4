"""How weights are drawn: as Keras draws them, and nothing that a part brings with it."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from slotlab.framework.contracts import Model
from slotlab.framework.model.build import build_model
from slotlab.framework.model.weight_init import draw_as_keras
from slotlab.framework.spec.load import load_spec

Build = Callable[..., Model]


@pytest.fixture
def build(base: str) -> Build:
    return lambda *sets: build_model(load_spec("spec.yaml", sets=sets).spec)


def is_uniform(values: Tensor, bound: float) -> bool:
    """Whether some 10,000 values are uniform in ±bound: to the edges, with the deviation of a uniform one."""
    deviation = float(values.std()) * math.sqrt(3) / bound
    return 0.98 * bound < float(values.abs().max()) <= bound and 0.97 < deviation < 1.03


@pytest.mark.parametrize(
    ("layer", "fans"),
    [
        (nn.Conv2d(16, 32, 5), 25 * (16 + 32)),
        (nn.ConvTranspose2d(16, 32, 5, stride=2), 25 * (16 + 32)),
        (nn.Linear(100, 150), 100 + 150),
    ],
)
def test_layers_are_glorot_uniform_without_biases(layer: nn.Conv2d, fans: int) -> None:
    draw_as_keras(layer)
    assert is_uniform(layer.weight.detach(), math.sqrt(6 / fans))
    assert layer.bias is not None
    assert not layer.bias.any()


def test_a_gru_s_gates_are_drawn_as_one_matrix() -> None:
    cell = nn.GRUCell(80, 48, dtype=torch.float64)
    draw_as_keras(cell)
    assert is_uniform(cell.weight_ih.detach(), math.sqrt(6 / (80 + 3 * 48)))
    torch.testing.assert_close(cell.weight_hh.T @ cell.weight_hh, torch.eye(48, dtype=torch.float64))
    assert not cell.bias_ih.any()
    assert not cell.bias_hh.any()


def test_other_parameters_and_parts_with_weights_of_their_own_stay() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3))
    backbone.own_weights = True  # type: ignore[assignment]
    norm = nn.LayerNorm(4)
    kept = [*backbone.parameters(), *norm.parameters()]
    before = [parameter.detach().clone() for parameter in kept]
    draw_as_keras(nn.Sequential(backbone, norm, nn.Linear(4, 4)))
    assert all(torch.equal(*pair) for pair in zip(before, kept, strict=True))


def test_the_spec_chooses_and_the_seed_decides(build: Build) -> None:
    models = [build(), build("model.weight_init=keras"), build("model.weight_init=keras")]
    torchs, ours, again = (model.state_dict() for model in models)
    assert all(torch.equal(ours[name], again[name]) for name in ours)
    drawn = {name for name in ours if not torch.equal(ours[name], torchs[name])}
    assert drawn == {
        f"{name}.{kind}"
        for name, part in models[0].named_modules()
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
        for kind in ("weight", "bias")
        if getattr(part, kind) is not None
    } | {name for name in ours if name.startswith("grouping.gru.")}


def test_the_picture_is_not_drowned_by_the_position_code(build: Build) -> None:
    """The reason for the choice: torch's weights shrink what an encoder passes on at every layer."""
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    deep = "model.encoder.channels=[32, 32, 32, 32]"
    spreads = []
    for init in ("torch", "keras"):
        features = build(deep, f"model.weight_init={init}").encoder(images).detach()
        spreads.append(float(features.std(dim=(0, 2, 3)).mean()))
    assert spreads[1] > 3 * spreads[0]
