"""All slots of the last frames look at one another, and foretell those of the next one: SlotFormer.

Source: Wu et al. 2023, "SlotFormer: Unsupervised Visual Dynamics Simulation with Object-Centric Models", by
the released code: the slots of a window of frames are the tokens of a transformer of pre-norm blocks (torch's
`TransformerEncoderLayer`: ReLU, dropout, no final norm) without a causal mask. They know their frame, by a
sinusoid counted back from the newest one, and not their place among the slots. What becomes of the newest
frame's tokens are the next frame's slots; the window then takes them in. Defaults are those for OBJ3D.
All blocks draw their own weights, as torch does for linear maps; in the code they start as copies of one.
"""

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Ge, Le, Lt
from pydantic import PositiveInt
from torch import Tensor, nn

from slotlab.framework.contracts import DynamicsContext
from slotlab.framework.model.predictor_blocks import slots_blocks
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class SlotFormerConfig(ComponentConfig):
    """Settings of SlotFormer's rollouter; CLEVRER's has `width: 256`, that of PHYRE also `layers: 8`."""

    width: PositiveInt = 128
    """Width of the tokens; even."""
    layers: Annotated[PositiveInt, Le(100)] = 4
    """Blocks of attention and MLP."""
    heads: PositiveInt = 8
    """Attention heads; they divide the width."""
    mlp_dim: PositiveInt | None = None
    """Hidden width of the MLPs; None for four times the width."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    """In training, of attention weights, of the MLPs' hidden layers and of what is added to the tokens."""
    window: Annotated[PositiveInt, Le(1000)] | None = None
    """How many of the last frames, seen or foretold, it looks at; None for as many as it is shown at first.
    If these are fewer the window grows (PHYRE: a history of 1, a window of 6)."""
    residual: bool = False
    """Whether the transformer foretells what is added to the newest frame's slots, as the paper says, or the
    slots themselves, as the paper's code does."""


class SlotFormer(nn.Module):
    """Slots (B, T, K, D) to slots (B, steps, K, D), one frame after the other."""

    time_WC: Tensor

    def __init__(self, config: SlotFormerConfig, context: DynamicsContext):
        super().__init__()
        width, dim = config.width, context.slot_dim
        if width % 2:
            raise ComponentError(f"the sinusoid of time takes an even width, not {width}", field="width")
        self.window = config.window or context.history
        self.residual = config.residual
        self.embed = nn.Linear(dim, width)
        self.blocks = nn.Sequential(
            *slots_blocks(
                width,
                config.layers,
                config.heads,
                config.mlp_dim or 4 * width,
                norm="pre",
                dropout=config.dropout,
            )
        )
        self.readout = nn.Linear(width, dim)
        self.register_buffer("time_WC", time_code(self.window, width), persistent=False)

    def forward(self, slots_BTKD: Tensor, steps: int) -> Tensor:
        """Return the slots of so many frames that follow."""
        seen_BTKD, foretold = slots_BTKD, []
        for _ in range(steps):
            seen_BTKD = seen_BTKD[:, -self.window :]
            next_BKD = self.next(seen_BTKD)
            foretold.append(next_BKD)
            seen_BTKD = torch.cat([seen_BTKD, next_BKD[:, None]], dim=1)
        return torch.stack(foretold, dim=1)

    def next(self, seen_BTKD: Tensor) -> Tensor:
        """Return the slots (B, K, D) of the frame after these."""
        frames, slots = seen_BTKD.shape[1:3]
        tokens_BTKC = self.embed(seen_BTKD) + self.time_WC[-frames:, None]
        newest_BKC = self.blocks(tokens_BTKC.flatten(1, 2))[:, -slots:]
        next_BKD: Tensor = self.readout(newest_BKC)
        return seen_BTKD[:, -1] + next_BKD if self.residual else next_BKD


def time_code(frames: int, width: int) -> Tensor:
    """Return [sin | cos] of each frame's age at frequencies 10000^(-2i / width), (frames, width).

    The last, newest frame has the age 0: what a frame's code is does not depend on how many there are.
    """
    frequencies = 10000 ** -(torch.arange(0.0, width, 2.0) / width)
    angles = torch.outer(torch.arange(frames - 1.0, -1.0, -1.0), frequencies)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


@hookimpl
def slotlab_dynamics() -> Iterable[Component[SlotFormerConfig]]:
    """Provide `slotformer`."""
    yield Component(
        name="slotformer",
        config=SlotFormerConfig,
        build=SlotFormer,
        summary="a transformer over all slots of the last frames foretells the next one's (SlotFormer)",
    )
