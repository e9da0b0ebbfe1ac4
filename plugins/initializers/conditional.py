"""Slots that are told where objects are in a clip's first frame: boxes, or centers, through an MLP.

Source: Kipf et al. 2022 (SAVi), section 3.3, and code: Linear to 256, ReLU, Linear to the slots' width. Slot
0 is told zeros and stands for the ground; so are spare slots, which therefore start equal, and stay equal.
"""

from collections.abc import Iterable

from pydantic import PositiveInt
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Cue, InitializerContext, Slots
from slotlab.framework.model.cues import WIDTHS
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class ConditionalConfig(ComponentConfig):
    """Settings of slots that are told of objects."""

    cue: Cue = "boxes"
    """What is told of each object, in [0, 1]: its box (top, left, bottom, right), or center (row, column)."""
    hidden_dim: PositiveInt = 256
    """Width of the hidden layer."""


class ConditionalInitializer(nn.Module):
    """Cues (B, K, 4 or 2) to slots (B, K, D), each by itself; the tokens have no say."""

    fixed_num_slots = False

    def __init__(self, config: ConditionalConfig, context: InitializerContext):
        super().__init__()
        self.cue = config.cue
        self.mlp = nn.Sequential(
            nn.Linear(WIDTHS[config.cue], config.hidden_dim),
            nn.ReLU(),
            nn.Linear(config.hidden_dim, context.slot_dim),
        )

    def forward(
        self,
        tokens_BND: Tensor,
        num_slots: int | None = None,
        *,
        generator: Generator | None = None,
        cues_BKC: Tensor | None = None,
    ) -> Slots:
        """Return a slot for each cue.

        Raises:
            ComponentError: without cues.
        """
        if cues_BKC is None:
            text = f"it makes slots of the {self.cue} of objects in a clip's first frame, and is told none"
            raise ComponentError(f"{text}; take the model video_slots, on data with true masks")
        return Slots(self.mlp(cues_BKC.to(tokens_BND.dtype)))


@hookimpl
def slotlab_initializers() -> Iterable[Component[ConditionalConfig]]:
    """Provide `conditional`."""
    yield Component(
        name="conditional",
        config=ConditionalConfig,
        build=ConditionalInitializer,
        summary="slots that are told the boxes or centers of objects in the first frame (SAVi)",
    )
