"""A position code of two coordinates, (y, x) in [-1, 1], projected and added; perhaps as each slot sees them.

Source: Kipf et al. 2022 (SAVi) and, relative to the pose of slots, Biza et al. 2023, section 3.3.
"""

from collections.abc import Iterable

from pydantic import PositiveFloat
from torch import Tensor, nn

from slotlab.framework.contracts import PositionContext, Slots
from slotlab.framework.model.pose import Pose, coordinates
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class CenteredGridConfig(ComponentConfig):
    """Settings of the centered grid."""

    relative: bool = False
    """Whether coordinates are those in each slot's own frame, for decoders of slots that have a pose."""
    scales_factor: PositiveFloat = 5.0
    """Divides relative coordinates of slots with a scale; that of `invariant_slot_attention`."""


class CenteredGrid(nn.Module):
    """Adds a learned linear function of the position to features of shape (B, dim, *grid)."""

    coordinates_N2: Tensor

    def __init__(self, config: CenteredGridConfig, context: PositionContext):
        super().__init__()
        self.relative = config.relative
        self.scales_factor = config.scales_factor
        self.register_buffer("coordinates_N2", coordinates(context.grid), persistent=False)
        self.project = nn.Linear(2, context.dim)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return features plus code, float of shape (B, dim, H, W).

        Raises:
            ComponentError: if the code is relative: there are no slots here.
        """
        if self.relative:
            text = "relative coordinates are those of slots, and here are none; only some decoders give them"
            raise ComponentError(text, field="relative")
        code_CN: Tensor = self.project(self.coordinates_N2).mT
        return features_BCHW + code_CN.reshape(features_BCHW.shape[1:])

    def follow(self, features_MCHW: Tensor, slots: Slots) -> Tensor:
        """Return features plus the code of each slot's own coordinates; M = B * K.

        Raises:
            ComponentError: if the slots have no pose.
        """
        pose = Pose.of(slots)
        if pose is None:
            text = "the slots have no pose; take the grouping 'invariant_slot_attention'"
            raise ComponentError(f"{text}, or 'relative: false'", field="relative")
        offsets_BKN2 = pose.relative(self.coordinates_N2, self.scales_factor)
        code_MCN: Tensor = self.project(offsets_BKN2).flatten(0, 1).mT
        return features_MCHW + code_MCN.reshape(features_MCHW.shape)


@hookimpl
def slotlab_positions() -> Iterable[Component[CenteredGridConfig]]:
    """Provide `centered_grid`."""
    yield Component(
        name="centered_grid",
        config=CenteredGridConfig,
        build=CenteredGrid,
        summary="(y, x) in [-1, 1], projected linearly and added; or as each slot sees them",
    )
