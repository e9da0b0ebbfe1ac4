"""The soft position code of slot attention: a grid of four ramps, projected and added.

Source: Locatello et al. 2020, section E.2: (y, x, 1-y, 1-x) in [0, 1], a learned linear
map to the width of the features, added. LSD (Jiang et al. 2023, code) has the centers of cells.
"""

from collections.abc import Iterable

from torch import Tensor, nn

from slotlab.framework.contracts import PositionContext
from slotlab.framework.model.ramps import Points, ramps
from slotlab.registry import Component, ComponentConfig, hookimpl


class LinearGridConfig(ComponentConfig):
    """Settings of the grid."""

    points: Points = "ends"
    """Which points of [0, 1] a side's positions are: equidistant ones with both ends, as in the paper, or the
    centers of equal cells, as in STEVE and LSD."""


class LinearGrid(nn.Module):
    """Adds a learned linear function of the position to features of shape (B, dim, *grid)."""

    grid_HW4: Tensor

    def __init__(self, config: LinearGridConfig, context: PositionContext):
        super().__init__()
        self.register_buffer("grid_HW4", ramps(context.grid, config.points), persistent=False)
        self.project = nn.Linear(4, context.dim)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return features plus code, float of shape (B, dim, H, W)."""
        code_CHW: Tensor = self.project(self.grid_HW4).permute(2, 0, 1)
        return features_BCHW + code_CHW


@hookimpl
def slotlab_positions() -> Iterable[Component[LinearGridConfig]]:
    """Provide `linear_grid`."""
    yield Component(
        name="linear_grid",
        config=LinearGridConfig,
        build=LinearGrid,
        summary="four ramps (y, x, 1-y, 1-x), projected linearly and added",
    )
