"""What foretells the slots of frames that nobody has seen: the contract of the kind `dynamics`.

Dynamics are an `nn.Module`. They treat all slots alike, and what they foretell of a clip depends on that clip
alone.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DynamicsContext:
    """For dynamics: the slots' number and width, and how many frames they are shown."""

    slot_dim: int
    num_slots: int
    """The number of slots in training; an evaluation may ask for another."""
    history: int
    """How many frames are seen before the first one that is foretold."""


class Dynamics(Protocol):
    """What all dynamics do; B clips, T frames seen."""

    def __call__(self, slots_BTKD: Tensor, steps: int) -> Tensor:
        """Return the slots of the frames that follow, (B, steps, K, D).

        Args:
            slots_BTKD: those that were found, oldest first; T is `history`, and slot k is the same object,
                as far as the model that found it can tell, in all frames.
            steps: how many frames to foretell, 1 or more. The first ones of many are those of few.
        """
