"""Masks as pictures: what the same segmentation is read as, however it is written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic_core import PydanticCustomError

from slotlab.framework.contracts import VOID, DataError
from slotlab.framework.data.formats.mask_pictures import (
    MaskCode,
    labels,
    names_of,
    number_colors,
    open_mask,
    read_setting,
    same,
)
from slotlab.framework.data.formats.pairing import paired_suffix

TRUTH = np.array([[VOID, 0, 0, 1], [0, 2, 2, 1], [0, 2, 3, 3]])
"""What every way of writing it must be read as, but for the names of objects."""


def write(path: Path, image: Image.Image, **options: Any) -> Image.Image:
    image.save(path, **options)
    return open_mask(path)


def partition(labels_HW: np.ndarray) -> list[list[bool]]:
    """Return which pixels are together: the segmentation without the names of objects."""
    flat = labels_HW.ravel()
    return (flat[:, None] == flat[None, :]).tolist()


def read(image: Image.Image, code: MaskCode) -> np.ndarray:
    found = labels(image, "m.png", code)
    np.testing.assert_array_equal(found == VOID, TRUTH == VOID)
    np.testing.assert_array_equal(found == 0, TRUTH == 0)
    assert partition(found) == partition(TRUTH)
    return found


def ways(folder: Path) -> dict[str, tuple[Image.Image, MaskCode]]:
    """The segmentation in many ways, each with the settings that say what is what."""
    folder.mkdir(exist_ok=True)
    gray = np.where(TRUTH == VOID, 255, TRUTH).astype(np.uint8)
    palette = Image.fromarray(gray, "L").convert("P")
    palette.putdata(gray.ravel().tolist())
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [1] * (251 * 3) + [224, 224, 192])
    on_white = np.array([[255, 255, 255], [200, 0, 0], [0, 0, 0], [9, 9, 200], [224, 224, 192]], np.uint8)
    colors = on_white[TRUTH]
    alpha = np.concatenate([colors, np.full((*TRUTH.shape, 1), 77, np.uint8)], -1)
    pictures = {
        "gray": (Image.fromarray(gray), MaskCode(void=255)),
        "gray, void by color": (Image.fromarray(gray), MaskCode(void="#ffffff")),
        "gray, other background": (Image.fromarray(gray + np.uint8(3)), MaskCode(background=3, void=2)),
        "16 bits": (
            Image.fromarray(np.where(TRUTH == VOID, 65535, TRUTH * 300).astype(np.uint16)),
            MaskCode(void=65535),
        ),
        "palette": (palette, MaskCode(void=255)),
        "palette, void by color": (palette, MaskCode(void="#e0e0c0")),
        "colors": (Image.fromarray(colors), MaskCode(background="#ffffff", void="#e0e0c0")),
        "colors, white by number": (Image.fromarray(colors), MaskCode(background=255, void="#e0e0c0")),
        "colors with alpha": (Image.fromarray(alpha), MaskCode(background="#ffffff", void="#e0e0c0")),
        "gray with alpha": (
            Image.fromarray(np.stack([gray, np.full_like(gray, 9)], -1), "LA"),
            MaskCode(void=255),
        ),
    }
    return {
        name: (write(folder / f"{number}.png", image), code)
        for number, (name, (image, code)) in enumerate(pictures.items())
    }


def test_however_it_is_written_it_is_the_same_segmentation(tmp_path: Path) -> None:
    found = ways(tmp_path / "masks")
    assert len(found) == 10
    for image, code in found.values():
        read(image, code)


def test_without_settings_nothing_is_read_otherwise_than_before(tmp_path: Path) -> None:
    gray = np.array([[0, 7, 255]], np.uint8)
    assert labels(write(tmp_path / "a.png", Image.fromarray(gray)), "a").tolist() == gray.tolist()
    colors = np.array([[[255, 255, 255], [0, 0, 0], [0, 0, 9]]], np.uint8)
    assert labels(write(tmp_path / "b.png", Image.fromarray(colors)), "b").tolist() == [[2, 0, 1]]


@given(st.lists(st.integers(0, 255), min_size=1, max_size=30), st.integers(0, 255), st.integers(0, 255))
def test_no_two_labels_become_one(values: list[int], ground: int, void: int) -> None:
    """Whatever is the background and void, the others stay apart, from each other and from these."""
    image = Image.fromarray(np.array([values], np.uint8))
    for code in (MaskCode(ground), MaskCode("none"), MaskCode(ground, "none" if void == ground else void)):
        found = labels(image, "x", code)[0].tolist()
        pairs = dict(zip(values, found, strict=True))
        assert len(set(pairs.values())) == len(pairs)
        for value, label in pairs.items():
            assert (label == VOID) == (value == code.void)
            assert (label == 0) == (value == code.background)


def test_no_background_makes_a_segment_of_every_value(tmp_path: Path) -> None:
    gray = np.array([[0, 7]], np.uint8)
    found = labels(write(tmp_path / "a.png", Image.fromarray(gray)), "a", MaskCode("none"))
    assert (found > 0).all()
    colors = np.array([[[0, 0, 0], [9, 9, 9]]], np.uint8)
    found = labels(write(tmp_path / "b.png", Image.fromarray(colors)), "b", MaskCode("none"))
    assert found.tolist() == [[1, 2]]


def test_a_color_that_a_palette_holds_twice_means_the_labels_that_are_there() -> None:
    image = Image.frombytes("P", (3, 1), bytes([0, 7, 2]))
    image.putpalette([1, 1, 1] * 3 + [9, 9, 9] + [1, 1, 1] * 3 + [9, 9, 9])
    found = labels(image, "x", MaskCode(background="#090909"))
    assert found.tolist() == [[7, 0, 2]], "the label of that color and 0 have changed places"


@pytest.mark.parametrize("white", [1, "#ffffff"])
def test_white_is_the_label_1_of_a_picture_of_one_bit(tmp_path: Path, white: int | str) -> None:
    bits = write(tmp_path / "a.png", Image.fromarray(np.array([[False, True, True]])))
    assert bits.mode == "1"
    assert labels(bits, "a").tolist() == [[0, 1, 1]]
    assert labels(bits, "a", MaskCode(void=white)).tolist() == [[0, VOID, VOID]]
    assert labels(bits, "a", MaskCode(background=white)).tolist() == [[1, 0, 0]]


def test_names_are_those_in_the_file(tmp_path: Path) -> None:
    for image, code in ways(tmp_path / "masks").values():
        found = labels(image, "x", code)
        names = names_of(image, found, "x")
        assert set(names) == set(np.unique(found).tolist())
        assert all(name.startswith("#") == (image.mode in ("RGB", "RGBA")) for name in names.values())
        assert len(set(names.values())) == len(names)


def refusal(image: Image.Image, code: MaskCode) -> str:
    with pytest.raises(DataError) as caught:
        labels(image, "m.png", code)
    return str(caught.value)


def test_labels_that_a_mask_cannot_hold() -> None:
    assert refusal(Image.new("RGB", (2, 2)), MaskCode(300)) == (
        "m.png: is a color mask, in which nothing has the label 300; write a color such as '#ffffff'"
    )
    assert refusal(Image.new("L", (2, 2)), MaskCode(0, "#e0e0c0")) == (
        "m.png: is gray and holds labels, not the color #e0e0c0; write a label"
    )


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (0, 0),
        (255, 255),
        ("#FFFFFF", "#ffffff"),
        ("white", "#ffffff"),
        ("Black", "#000000"),
        ("none", "none"),
    ],
)
def test_settings(value: Any, found: Any) -> None:
    assert read_setting(value) == found


@pytest.mark.parametrize("value", [-1, True, 1.5, "#fff", "red", "", [], {}])
def test_settings_that_are_none(value: Any) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        read_setting(value)
    assert caught.value.message() == "write a label, such as 255, a color, such as '#ffffff', or none"


def test_an_unquoted_color_is_a_comment_and_not_silently_nothing() -> None:
    with pytest.raises(
        PydanticCustomError, match="a color needs quotes: without them YAML takes # for a comment"
    ):
        read_setting(None)


def test_one_label_in_two_ways() -> None:
    assert same(255, "#ffffff")
    assert same(0, "#000000")
    assert not same("none", "none")
    assert not same(0, 255)


def test_a_lossy_picture_under_another_name_is_no_mask(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (8, 8)).save(path, "JPEG")
    with pytest.raises(DataError) as caught:
        open_mask(path)
    assert str(caught.value) == (
        f"{path}: is a JPEG picture, whatever its name says; a mask must be a PNG: other kinds may change its labels"
    )


def test_colors_of_16_bits_are_refused_as_they_would_run_together(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    row = b"\0" + struct.pack(">6H", 1, 0, 0, 2, 0, 0)
    path = tmp_path / "a.png"
    content = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )
    path.write_bytes(content)
    with pytest.raises(DataError, match="16 bits a channel, of which only 8 can be read"):
        open_mask(path)


@pytest.mark.parametrize(
    ("stems", "suffix"),
    [
        (["a", "a_x", "b", "b_x"], ("_x", 2)), (["a", "a_x", "b", "b_x", "c"], None), (["a", "a_x"], None),
        (["a", "a_mask"], ("_mask", 1)), (["a", "a_mask", "b", "c"], ("_mask", 1)), (["a1", "a10", "a2", "a20"], None),
    ],
)  # fmt: skip
def test_a_suffix_pairs_files_if_it_names_masks_or_if_every_file_has_its_pair(
    stems: list[str], suffix: tuple[str, int] | None
) -> None:
    assert paired_suffix(stems) == suffix


@pytest.mark.parametrize("void", [None, 0, 3, 9, 20, 77])
@pytest.mark.parametrize("ground", [None, 0, 3, 77])
def test_colors_are_numbered_from_1_without_gaps_beside_ground_and_void(
    ground: int | None, void: int | None
) -> None:
    codes = np.array([[0, 3, 9], [9, 20, 3]])
    found = number_colors(codes, ground, void)
    others = [code for code in (0, 3, 9, 20) if code not in (ground, void)]
    wanted = {code: number for number, code in enumerate(others, start=1)} | {ground: 0} | {void: -1}
    assert found.tolist() == [[wanted[code] for code in row] for row in codes.tolist()]
