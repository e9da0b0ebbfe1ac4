"""Laws of reading files: fingerprints, natural order, and pictures of every kind."""

import io
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from slotlab.framework.contracts import DataError
from slotlab.framework.data.formats.mask_pictures import color_codes, labels, number_colors
from slotlab.framework.data.formats.pictures import (
    Blob,
    decode,
    fingerprint,
    fingerprint_paths,
    natural_key,
    rgb,
)

ENTRIES = st.lists(st.tuples(st.text(), st.integers(0), st.integers(0)), unique_by=lambda entry: entry[0])
NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def message(error: pytest.ExceptionInfo[DataError]) -> str:
    return str(error.value)


def png(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@given(ENTRIES, st.randoms())
def test_fingerprint_knows_no_order(entries: list[tuple[str, int, int]], random: object) -> None:
    shuffled = list(entries)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fingerprint(shuffled) == fingerprint(entries)


@given(ENTRIES.filter(bool))
def test_fingerprint_changes_with_every_fact(entries: list[tuple[str, int, int]]) -> None:
    (name, size, time), *rest = entries
    others = [(name + "x", size, time), (name, size + 1, time), (name, size, time + 1)]
    found = {fingerprint([one, *rest]) for one in [(name, size, time), *others]} | {fingerprint(rest)}
    assert len(found) == 5


def test_fingerprint_of_paths_moves_with_the_folder(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").write_bytes(b"12")
        os.utime(tmp_path / folder / "x", (1, 1))
    one, other = (fingerprint_paths([tmp_path / name / "x"], tmp_path / name) for name in ("a", "b"))
    assert one == other
    (tmp_path / "a" / "x").unlink()
    assert fingerprint_paths([tmp_path / "a" / "x"], tmp_path / "a") != one


def test_natural_order() -> None:
    names = ["img10", "img2", "IMG1", "img02b", "img2a", "7", "07", ""]
    expected = ["", "07", "7", "IMG1", "img2", "img2a", "img02b", "img10"]
    assert sorted(names, key=natural_key) == expected


@given(
    st.lists(st.text("ab12_", max_size=5)).flatmap(
        lambda names: st.tuples(st.just(names), st.permutations(names))
    )
)
def test_natural_order_is_total(names: tuple[list[str], list[str]]) -> None:
    one, other = (sorted(order, key=natural_key) for order in names)
    assert one == other


def test_a_blob_is_a_file_or_a_part_of_one(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    assert Blob("x", str(path)).read() == b"0123456789"
    assert Blob("x", str(path), 3, 4).read() == b"3456"
    with pytest.raises(DataError) as caught:
        Blob("a.tar/x", str(path), 8, 4).read()
    assert message(caught) == f"a.tar/x: cannot be read: {path} ends 2 bytes too early"
    with pytest.raises(DataError) as caught:
        Blob("y", str(tmp_path / "y")).read()
    assert message(caught) == "y: cannot be read: No such file or directory"


@given(st.data())
def test_damaged_pictures_raise_nothing_but_data_errors(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"]))
    content = bytearray(png(Image.fromarray(NOISE), kind))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with suppress(DataError):
        rgb(decode(bytes(content), "x", upright=True), "x")


def test_what_is_no_picture_is_said_plainly() -> None:
    with pytest.raises(DataError) as caught:
        decode(b"text", "a.png")
    assert message(caught) == "a.png: cannot be read: it is no picture of a known kind"
    with pytest.raises(DataError) as caught:
        decode(png(Image.fromarray(NOISE))[:500], "a.png")
    assert message(caught) == "a.png: cannot be read: image file is truncated"


def test_alpha_is_dropped_not_blended() -> None:
    alpha = np.random.default_rng(1).integers(0, 256, (20, 30, 1), dtype=np.uint8)
    image = decode(png(Image.fromarray(np.concatenate([NOISE, alpha], -1))), "x")
    np.testing.assert_array_equal(rgb(image), NOISE.transpose(2, 0, 1))


def test_gray_palette_and_cmyk_become_rgb() -> None:
    gray = Image.fromarray(NOISE[..., 0])
    np.testing.assert_array_equal(rgb(gray), np.stack([NOISE[..., 0]] * 3))
    clear = Image.fromarray(NOISE[..., 0] % 4)
    clear.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 2, 3])
    content = png(clear, transparency=bytes([0, 99, 255, 255]))
    colors = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [1, 2, 3]])
    np.testing.assert_array_equal(rgb(decode(content, "x")), colors[NOISE[..., 0] % 4].transpose(2, 0, 1))
    cmyk = Image.new("CMYK", (2, 2), (255, 0, 0, 0))
    assert rgb(cmyk)[:, 0, 0].tolist() == [0, 255, 255]


def test_gray_of_16_bits_is_scaled() -> None:
    values = np.array([[0, 128, 129, 257 * 100, 65535]], np.uint16)
    image = decode(png(Image.fromarray(values)), "x")
    assert rgb(image)[1].tolist() == [[0, 0, 1, 100, 255]]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            np.array([[70000]], np.int32),
            "x: is gray of 32 bits, whose range is not known; save it as gray of 8 or 16 bits or as RGB",
        ),
        (
            np.array([[0.5]], np.float32),
            "x: holds floating-point values, whose range is not known; save it as gray or RGB of 8 bits",
        ),
    ],
)
def test_unknown_ranges_are_refused(values: np.ndarray, text: str) -> None:
    with pytest.raises(DataError) as caught:
        rgb(Image.fromarray(values), "x")
    assert message(caught) == text


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_undoes_the_orientation(orientation: int) -> None:
    turns = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}  # how a camera stores it: the inverse
    stored = Image.fromarray(NOISE)
    for turn in turns.get(orientation, []):
        stored = stored.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = png(stored, exif=exif)
    np.testing.assert_array_equal(rgb(decode(content, "x", upright=True)), NOISE.transpose(2, 0, 1))
    np.testing.assert_array_equal(rgb(decode(content, "x")), rgb(stored))


def test_masks_hold_labels_or_colors() -> None:
    small = NOISE[..., 0] % 5
    palette = Image.fromarray(small)
    palette.putpalette([9, 9, 9] * 5)
    for image in (palette, Image.fromarray(small)):
        np.testing.assert_array_equal(labels(decode(png(image), "x"), "x"), small)
    large = small.astype(np.uint16) * 9999
    np.testing.assert_array_equal(labels(decode(png(Image.fromarray(large)), "x"), "x"), large)
    np.testing.assert_array_equal(labels(Image.fromarray(small > 2), "x"), (small > 2).astype(np.uint8))
    with pytest.raises(DataError) as caught:
        labels(Image.new("CMYK", (2, 2)), "x")
    assert message(caught) == "x: a mask is a palette, gray or RGB picture, this one is CMYK"


@given(st.integers(1, 400), st.integers(0, 1), st.integers(0, 9))
def test_colors_are_numbered_as_unique_rows(count: int, black: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    colors = rng.integers(1, 256, (count, 3), dtype=np.uint8)
    colors[0] *= 1 - black
    mask = colors[rng.integers(0, count, (12, 40))]
    rows, expected = np.unique(mask.reshape(-1, 3), axis=0, return_inverse=True)
    shift = 0 if (rows[0] == 0).all() else 1
    found = number_colors(color_codes(mask), 0, None)
    np.testing.assert_array_equal(found, expected.reshape(12, 40) + shift)
    assert ((found == 0) == (mask == 0).all(-1)).all()
