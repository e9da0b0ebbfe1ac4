"""The preheating loss: the initializer's look at the tokens comes near the slots that the grouping found.

Source: Zhao et al. 2025, "Smoothing Slot Attention Iterations and Recurrences" (SmoothSA), code: the mean
squared difference, times 100, without gradient to the slots.
"""

from collections.abc import Iterable

from pydantic import NonNegativeFloat
from torch.nn import functional as F

from slotlab.framework.contracts import AuxiliaryConfig, AuxiliaryContext, Losses, ModelOutput
from slotlab.registry import Component, ComponentError, hookimpl


class PreheatConfig(AuxiliaryConfig):
    """Settings of the preheating loss."""

    weight: NonNegativeFloat = 100.0
    """Factor on the loss; the paper's code has 100."""


class Preheat:
    """The mean over images, slots and widths of the squared difference from the final slots."""

    traced = False

    def __init__(self, config: PreheatConfig, context: AuxiliaryContext):
        pass

    def __call__(self, output: ModelOutput) -> Losses:
        """Return the loss, not yet weighted.

        Raises:
            ComponentError: if the initial slots have no extra `preheated`.
        """
        preheated_BKD = output.initial.extras.get("preheated")
        if preheated_BKD is None:
            raise ComponentError("the initial slots are not preheated; take the initializer 'preheated'")
        return Losses(F.mse_loss(preheated_BKD, output.grouped.slots.vectors_BKD.detach()))


@hookimpl
def slotlab_auxiliaries() -> Iterable[Component[PreheatConfig]]:
    """Provide `preheat`."""
    yield Component(
        name="preheat",
        config=PreheatConfig,
        build=Preheat,
        summary="brings preheated initial slots near the slots that are found",
    )
