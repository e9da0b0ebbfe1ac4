"""Tensors that components are tried on: drawn from seeds, so that every check sees the same."""

from typing import Any

import torch
from torch import Generator, Tensor

from slotlab.framework.contracts import Field, Slots, TakesCues
from slotlab.framework.model.cues import WIDTHS
from slotlab.framework.model.needs import given_to


def noise(*shape: int, seed: int = 5) -> Tensor:
    """Return normal noise, float32."""
    return torch.randn(*shape, generator=Generator().manual_seed(seed))


def pictures(batch: int, rows: int, columns: int, seed: int = 5) -> Tensor:
    """Return images (B, 3, H, W) in (-1, 1)."""
    return noise(batch, 3, rows, columns, seed=seed).clamp(-1, 1)


def stream(seed: int = 1) -> Generator:
    """Return a new random stream."""
    return Generator().manual_seed(seed)


def some_slots(batch: int = 2, num: int = 4, dim: int = 8) -> Slots:
    """Return slots that something belongs to."""
    return Slots(noise(batch, num, dim), {"weight": noise(batch, num, seed=6)})


def told_to(initializer: Any, tokens_BND: Tensor, slots: int) -> dict[str, Tensor]:
    """Return what an initializer is told besides the tokens, as its argument; made of the image's tokens."""
    if not isinstance(initializer, TakesCues) or initializer.cue is None:
        return {}
    return {"cues_BKC": tokens_BND[:, :slots, : WIDTHS[initializer.cue]].sigmoid()}


def given_for(objective: Any, images_BCHW: Tensor) -> dict[str, Any]:
    """Return what an objective's target is made of besides, as its arguments; the images are one clip.

    Flow and depth are made of the image's own colors.
    """
    fields: dict[Field, Tensor] = {"flow": images_BCHW[:, :2], "depth": images_BCHW[:, 2:].abs()}
    return given_to(objective, len(images_BCHW), fields)
