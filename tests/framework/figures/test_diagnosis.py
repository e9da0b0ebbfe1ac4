"""The figure of a diagnosis: a row for each image and one of mean masks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slotlab.framework.figures.diagnosis import ShownImage, draw_diagnosis


@pytest.mark.parametrize("known", [True, False])
def test_the_figure_has_a_row_for_each_image_and_one_of_mean_masks(tmp_path: Path, known: bool) -> None:
    images = [
        ShownImage(
            np.full((8, 8, 3), 90, np.uint8),
            np.zeros((8, 8), np.int64) if known else None,
            np.ones((8, 8), np.int64),
            np.full((2, 8, 8), 0.5, np.float32),
        )
    ]
    sizes = []
    for count in (1, 3):
        draw_diagnosis(
            images * count, np.full((2, 8, 8), 0.5, np.float32), tmp_path / str(count), title="slots"
        )
        with Image.open(tmp_path / f"{count}.png") as image:
            sizes.append(image.size)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[1][1] > 1.6 * sizes[0][1]
