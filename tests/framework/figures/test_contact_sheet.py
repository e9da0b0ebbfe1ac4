"""Laws of the contact sheet: even picks, steady colors, pictures over their masks."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from slotlab.framework.data.inspection.findings import InspectedSplit, inspect_target
from slotlab.framework.data.inspection.target import find_target
from slotlab.framework.figures.contact_sheet import COLUMNS, draw_sheet, paint, spread


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine pictures of noise, 64 pixels wide and high, with masks."""
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for number in range(9):
        rng = np.random.default_rng(number)
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
            tmp_path / f"data/images/{number}.png"
        )
        Image.fromarray(rng.integers(0, 9, (64, 64), dtype=np.uint8)).save(
            tmp_path / f"data/masks/{number}.png"
        )
    return tmp_path / "data"


def parts(what: Path, side: int = 64) -> list[InspectedSplit]:
    target = find_target(str(what), sets=[f"data.protocol.image_size={side}"])
    return list(inspect_target(target, None, workers=0, report=lambda done, total: None).parts)


@given(st.integers(0, 200), st.integers(2, 40))
def test_picks_are_evenly_spread(total: int, number: int) -> None:
    positions = range(1000, 1000 + total)
    picks = spread(positions, number)
    assert len(picks) == min(total, number) == len(set(picks))
    if total:
        assert (picks[0], picks[-1]) == (positions[0], positions[-1])
    steps = np.diff(picks)
    assert not len(steps) or steps.max() - steps.min() <= 1


@given(st.lists(st.integers(0, 23), min_size=1, max_size=9))
def test_a_label_has_its_own_color_whatever_else_is_there(labels: list[int]) -> None:
    alone = [tuple(paint(np.array([[label]]))[0, 0].tolist()) for label in labels]
    together = [tuple(color) for color in paint(np.array([labels]))[0].tolist()]
    assert alone == together
    assert len(set(alone)) == len(set(labels))
    assert all((color == (0, 0, 0)) == (label == 0) for color, label in zip(alone, labels, strict=True))


def test_a_sheet_shows_pictures_over_masks(folder: Path, tmp_path: Path) -> None:
    found = parts(folder)
    draw_sheet(found, tmp_path / "new" / "sheet.png", rows=1)
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape[1] == COLUMNS * (128 + 6)
    for column, position in enumerate(spread(range(9), COLUMNS)):
        [look] = found[0].items.read([position])
        assert look.sample.mask_HW is not None
        picture = look.sample.image_CHW.permute(1, 2, 0).numpy().repeat(2, 0).repeat(2, 1)
        mask = paint(look.sample.mask_HW.numpy()).repeat(2, 0).repeat(2, 1)
        left = 3 + 134 * column
        top = next(row for row in range(200) if (pixels[row : row + 128, left : left + 128] == picture).all())
        np.testing.assert_array_equal(pixels[top + 128 : top + 256, left : left + 128], mask)


def test_a_sheet_of_nothing_and_one_of_large_pictures_without_masks(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "masks").iterdir():
        path.write_bytes(b"no")
    draw_sheet(parts(folder), tmp_path / "none.png")
    draw_sheet([], tmp_path / "empty.png")
    (tmp_path / "wide").mkdir()
    Image.new("RGB", (500, 20)).save(tmp_path / "wide" / "a.png")
    draw_sheet(parts(tmp_path / "wide", side=300), tmp_path / "one.png")
    heights = []
    for name in ("empty", "none", "one"):
        with Image.open(tmp_path / f"{name}.png") as sheet:
            heights.append(sheet.height)
    assert heights[0] == 1 < heights[1] < 300 < heights[2] < 400
