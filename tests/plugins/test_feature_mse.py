"""The features' squared error: its target, without gradient, and the frozen copy of the encoder."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Decoded, EncoderContext, ObjectiveContext
from slotlab.plugins.encoders.cnn import CNNConfig, CNNEncoder
from slotlab.plugins.objectives.feature_mse import FeatureMSE, FeatureMSEConfig
from slotlab.registry import ComponentError

GRID, CHANNELS = (4, 6), 5


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


class Encoder(nn.Module):
    """Learned features with dropout, so that training mode is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, CHANNELS, 2, stride=2), nn.BatchNorm2d(CHANNELS))
        self.own_weights = True

    def forward(self, images_BCHW: Tensor) -> Tensor:
        features: Tensor = self.layers(images_BCHW)
        return features


def build(encoder: nn.Module | None = None, **settings: Any) -> FeatureMSE:
    context = ObjectiveContext(image_size=(8, 12), feature_channels=CHANNELS, grid=GRID, encoder=encoder)
    return FeatureMSE(FeatureMSEConfig(**settings), context).double()


IMAGES, FEATURES = noise(2, 3, 8, 12), noise(2, CHANNELS, *GRID, seed=1)


def test_the_target_is_the_encoders_features_without_gradient() -> None:
    objective, features = build(), FEATURES.clone().requires_grad_()
    target = objective.target(IMAGES, features)
    assert torch.equal(target, FEATURES)
    assert not target.requires_grad
    assert (objective.target_shape.channels, objective.target_shape.size) == (CHANNELS, GRID)
    assert objective.to_image(target) is None


def test_the_loss_is_the_mean_over_everything() -> None:
    prediction = noise(2, CHANNELS, *GRID, seed=2).requires_grad_()
    loss = build().loss(Decoded(prediction), FEATURES)
    expected = (
        sum((a - b) ** 2 for a, b in zip(prediction.flatten(), FEATURES.flatten(), strict=True))
        / FEATURES.numel()
    )
    torch.testing.assert_close(loss.total, expected, rtol=0, atol=1e-9)
    (found,) = torch.autograd.grad(loss.total, prediction)
    expected = 2 * (prediction - FEATURES) / FEATURES.numel()
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-9)


def test_a_normalized_target_has_mean_0_and_variance_1_over_channels_at_each_position() -> None:
    features = FEATURES.clone().requires_grad_()
    target = build(normalize_target=True).target(IMAGES, features)
    assert not target.requires_grad
    for b, row, column in [(0, 0, 0), (1, 3, 5), (1, 2, 0)]:
        values = FEATURES[b, :, row, column].tolist()
        mean = sum(values) / CHANNELS
        variance = sum((value - mean) ** 2 for value in values) / CHANNELS
        expected = [(value - mean) / (variance + 1e-5) ** 0.5 for value in values]
        assert target[b, :, row, column].tolist() == pytest.approx(expected, rel=0, abs=1e-9)


def test_a_position_without_variance_stays_finite() -> None:
    target = build(normalize_target=True).target(IMAGES, torch.full_like(FEATURES, 3.0))
    assert torch.equal(target, torch.zeros_like(FEATURES))


def test_the_frozen_copy_keeps_its_weights_while_the_encoder_learns() -> None:
    encoder = Encoder().double()
    objective = build(encoder, target="frozen_copy")
    before = encoder.eval()(IMAGES).detach()
    encoder.train()
    optimizer = torch.optim.SGD([*encoder.parameters(), *objective.parameters()], lr=0.1)
    for _ in range(2):
        objective.train()
        target = objective.target(IMAGES, encoder(IMAGES))
        torch.testing.assert_close(target, before)
        assert not target.requires_grad
        objective.loss(Decoded(encoder(IMAGES)), target).total.backward()
        optimizer.step()
    assert (encoder.eval()(IMAGES) - before).abs().max() > 1e-3
    assert not any(parameter.requires_grad for parameter in objective.parameters())
    assert not objective.copy.training  # type: ignore[union-attr]
    assert encoder.layers[0].weight.requires_grad


def test_the_copy_is_in_the_state_and_in_pickles() -> None:
    objective, other = (build(Encoder(), target="frozen_copy") for _ in range(2))
    assert not torch.equal(objective.target(IMAGES, FEATURES), other.target(IMAGES, FEATURES))
    other.load_state_dict(objective.state_dict())
    expected = objective.target(IMAGES, FEATURES)
    assert torch.equal(other.target(IMAGES, FEATURES), expected)
    for again in (pickle.loads(pickle.dumps(objective)), copy.deepcopy(objective)):
        assert torch.equal(again.train().target(IMAGES, FEATURES), expected)


def test_the_copy_moves_with_the_model() -> None:
    with torch.device("meta"):
        encoder = CNNEncoder(
            CNNConfig(channels=(CHANNELS,), strides=(2,)), EncoderContext(image_size=(8, 12))
        )
        objective = build(encoder, target="frozen_copy")
    assert all(tensor.is_meta for tensor in objective.state_dict().values())
    assert objective.target(torch.empty(2, 3, 8, 12, device="meta", dtype=torch.float64), FEATURES).shape == (
        2,
        CHANNELS,
        *GRID,
    )


def test_without_a_copy_there_are_no_weights() -> None:
    assert build(Encoder()).state_dict() == {}


def test_no_encoder_to_copy() -> None:
    with pytest.raises(ComponentError) as error:
        build(target="frozen_copy")
    text = "a frozen copy needs the model's encoder, which this model does not offer; write 'encoder'"
    assert (str(error.value), error.value.field) == (text, "target")
