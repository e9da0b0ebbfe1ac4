"""Targets of VideoSAUR: an independent transcription, and frames that have none."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from slotlab.framework.contracts import Decoded, ObjectiveContext
from slotlab.plugins.objectives.temporal_similarity import TemporalSimilarity, TemporalSimilarityConfig
from slotlab.registry import ComponentError, Registry

CLIPS, FRAMES, GRID, WIDTH = 2, 3, (2, 3), 4
PATCHES = GRID[0] * GRID[1]


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def build(**settings: Any) -> TemporalSimilarity:
    told = ObjectiveContext(image_size=(8, 12), feature_channels=WIDTH, grid=GRID)
    return TemporalSimilarity(TemporalSimilarityConfig.model_validate(settings), told)


def shares(one: Tensor, other: Tensor, threshold: float | None) -> Tensor:
    """The shares (P, P) of the patches of another frame, patch by patch."""
    rows = []
    for patch in one.flatten(1).T:
        similar = [float(patch @ there / patch.norm() / there.norm()) for there in other.flatten(1).T]
        near = [threshold is None or value >= threshold for value in similar]
        raw = [2.718281828459045 ** (v / 0.075) if any(near) else 1.0 for v in similar]
        raw = [value if ok or not any(near) else 0.0 for value, ok in zip(raw, near, strict=True)]
        rows.append([value / sum(raw) for value in raw])
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("threshold", [0.0, None])
@pytest.mark.parametrize("shift", [1, 2])
def test_loss_and_gradient_are_the_published_ones_but_for_a_constant(
    threshold: float | None, shift: int
) -> None:
    features = drawn(CLIPS * FRAMES, WIDTH, *GRID, seed=0)
    features[1, :, 0, 1] = -features[0, :, 0, 0]
    objective = build(threshold=threshold, shift=shift, weight=0.5)
    target = objective.target(features, features, frames=FRAMES)
    logits = drawn(CLIPS * FRAMES, PATCHES, *GRID, seed=1).requires_grad_()
    crossed, least = [], []
    for clip in range(CLIPS):
        for frame in range(FRAMES - shift):
            here = clip * FRAMES + frame
            wanted = shares(features[here], features[here + shift], threshold)
            logs = torch.log(torch.softmax(logits[here].flatten(1).T, dim=1))
            crossed.append(-(wanted * logs).sum(dim=1))
            least.append(-(wanted * wanted.clamp(min=1e-300).log()).sum(dim=1))
    published = 0.5 * torch.stack(crossed).mean()
    found = objective.loss(Decoded(logits), target).total
    torch.testing.assert_close(found, published - 0.5 * torch.stack(least).mean(), rtol=0, atol=1e-9)
    ours, theirs = (torch.autograd.grad(one, logits, retain_graph=True)[0] for one in (found, published))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
    assert not ours.unflatten(0, (CLIPS, FRAMES))[:, -shift:].any(), "the last frames have no target"


def test_a_patch_without_any_like_it_has_equal_shares() -> None:
    features = torch.ones(2, WIDTH, *GRID, dtype=torch.float64)
    features[1] = -1.0
    target = build().target(features, features, frames=2)
    torch.testing.assert_close(target[0], torch.full_like(target[0], 2 / PATCHES))


def test_clips_that_are_too_short_are_refused() -> None:
    with pytest.raises(
        ComponentError, match=r"looks 2 frames ahead in clips of 2; write 'data.clip' with more"
    ):
        build(shift=2).target(torch.zeros(4, WIDTH, *GRID), torch.zeros(4, WIDTH, *GRID), frames=2)


KEYS = {"name": "timm", "model": "vit_tiny_patch16_224", "frozen": True, "features": "keys"}


def with_encoder(registry: Registry, **settings: Any) -> TemporalSimilarity:
    told = ObjectiveContext(image_size=(32, 48), feature_channels=WIDTH, grid=(8, 8))
    chosen = {"encoder": KEYS | settings}
    return TemporalSimilarity(
        TemporalSimilarityConfig.model_validate(chosen, context={"registry": registry}), told
    )


def test_an_encoder_of_the_targets_own_is_compared_and_never_trained(registry: Registry) -> None:
    objective = with_encoder(registry).train()
    assert objective.target_shape.size == (2, 3)
    assert objective.encoder is not None
    assert not any(module.training for module in objective.encoder.modules())
    assert not any(one.requires_grad for one in objective.parameters())
    images, read = torch.rand(4, 3, 32, 48), torch.rand(4, WIDTH, 8, 8)
    found = objective.target(images, read, frames=2)
    plain = build()
    assert torch.equal(found, plain.target(images, objective.encoder(images), frames=2))


def test_an_encoder_that_is_not_frozen_is_refused(registry: Registry) -> None:
    with pytest.raises(ComponentError, match="'timm' is not frozen, and the target's encoder is not trained"):
        with_encoder(registry, frozen=False)
    with pytest.raises(ComponentError, match=r"timm: .*has no model"):
        with_encoder(registry, model="vit_tiny_patch61_224")
