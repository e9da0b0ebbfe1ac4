"""What carries slots from one frame of a clip to the next: the contract of the kind `predictor`.

A predictor is an `nn.Module`. It treats all slots alike, and what it makes of a clip's slots depends on that
clip alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from slotlab.framework.contracts.model import Slots

SlotState = Mapping[str, Tensor] | None
"""What a predictor remembers of each slot, such as an LSTM's cells: tensors with leading axes (B, K), like
`Slots.extras`; None if it remembers nothing."""


@dataclass(frozen=True, kw_only=True)
class PredictorContext:
    """For predictors: the slots' number and width, and the tokens' width."""

    slot_dim: int
    num_slots: int
    """The number of slots in training; an evaluation may ask for another."""
    token_dim: int


class Predictor(Protocol):
    """What every predictor does; B clips, one frame of each."""

    def start(self, slots: Slots) -> SlotState:
        """Return what is remembered before the first prediction; `slots` are those of the first frame."""

    def __call__(self, slots: Slots, state: SlotState) -> tuple[Slots, SlotState]:
        """Return the slots that the next frame starts from, and what is remembered from now on.

        Args:
            slots: those found in the present frame, (B, K, D); what belongs to them (`extras`) goes along.
            state: what `start` or the call before returned.
        """
