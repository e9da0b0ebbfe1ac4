"""The position code of four ramps, at the ends of the sides or at the centers of cells."""

import pytest
import torch
from torch import Tensor

from slotlab.framework.contracts import PositionContext
from slotlab.plugins.positions.linear_grid import LinearGrid, LinearGridConfig

ROWS = {"ends": [0.0, 0.5, 1.0], "centers": [1 / 6, 0.5, 5 / 6]}
COLUMNS = {"ends": [0.0, 1 / 3, 2 / 3, 1.0], "centers": [0.125, 0.375, 0.625, 0.875]}


@pytest.mark.parametrize("points", ["ends", "centers"])
def test_a_code_is_a_linear_map_of_its_position(points: str) -> None:
    code = LinearGrid(
        LinearGridConfig.model_validate({"points": points}), PositionContext(grid=(3, 4), dim=5)
    )
    made: Tensor = code(torch.zeros(2, 5, 3, 4))
    for i, y in enumerate(ROWS[points]):
        for j, x in enumerate(COLUMNS[points]):
            expected = code.project(torch.tensor([y, x, 1 - y, 1 - x])).expand(2, 5)
            torch.testing.assert_close(made[:, :, i, j], expected)


def test_ends_are_the_default() -> None:
    assert LinearGridConfig().points == "ends"
