"""Masks that are probably no labels: what is said of which, and that nothing is said of sound ones."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from slotlab.framework.contracts import Dataset
from slotlab.framework.data.inspection.target import find_target
from slotlab.framework.data.mask_check import LOOKED_AT, MaskFacts, _tiny_labels, mask_cautions
from slotlab.framework.data.selection import select
from slotlab.framework.data.source import open_source

SIDE, COUNT = 48, 14
COLORS = np.array([[0, 0, 0], [230, 60, 60], [60, 200, 80], [70, 90, 230]], np.uint8)


def truth(number: int) -> np.ndarray:
    """Three discs on a ground."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for label in (1, 2, 3):
        y, x = rng.integers(8, SIDE - 8, 2)
        mask[(rows - y) ** 2 + (columns - x) ** 2 < rng.integers(20, 60)] = label
    return mask


def lossy(image: Image.Image) -> Image.Image:
    import io

    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return Image.open(buffer)


def with_void(mask: np.ndarray, value: int = 255) -> np.ndarray:
    found = mask.astype(np.int64)
    found[(np.roll(mask, 1, 0) != mask) | (np.roll(mask, 1, 1) != mask)] = value
    return found


def palette(mask: np.ndarray) -> Image.Image:
    image = Image.fromarray(mask).convert("P")
    image.putdata(mask.ravel().tolist())
    image.putpalette([9, 9, 9] * 256)
    return image


def on(ground: tuple[int, int, int]) -> Callable[[np.ndarray], Image.Image]:
    colors = COLORS.copy()
    colors[0] = ground
    return lambda mask: Image.fromarray(colors[mask])


KINDS: dict[str, tuple[Callable[[np.ndarray], Image.Image], set[str]]] = {
    "gray": (Image.fromarray, set()),
    "palette": (palette, set()),
    "16 bits": (lambda mask: Image.fromarray(mask.astype(np.uint16) * 300), set()),
    "colors": (on((0, 0, 0)), set()),
    "binary": (lambda mask: Image.fromarray((mask > 0).astype(np.uint8) * 255), set()),
    "bits": (lambda mask: Image.fromarray(mask > 0), set()),
    "white ground": (on((255, 255, 255)), {"ground"}),
    "pink ground": (on((255, 100, 200)), {"ground"}),
    "gray, ground is 7": (lambda mask: Image.fromarray(np.where(mask == 0, 7, mask)), {"ground"}),
    "void in a palette": (lambda mask: palette(with_void(mask).astype(np.uint8)), {"void"}),
    "void in gray": (lambda mask: Image.fromarray(with_void(mask).astype(np.uint8)), {"void"}),
    "void in 16 bits": (lambda mask: Image.fromarray(with_void(mask, 65535).astype(np.uint16)), {"void"}),
    "antialiased": (
        lambda mask: on((0, 0, 0))(mask.repeat(4, 0).repeat(4, 1)).resize(
            (SIDE, SIDE), Image.Resampling.LANCZOS
        ),
        {"tiny", "many"},
    ),
    "blurred": (lambda mask: on((0, 0, 0))(mask).filter(ImageFilter.GaussianBlur(1)), {"tiny", "many"}),
    "antialiased gray": (
        lambda mask: Image.fromarray((mask * 80).repeat(3, 0).repeat(3, 1)).resize((SIDE, SIDE)),
        {"tiny", "many"},
    ),
    "lossy colors": (lambda mask: lossy(on((0, 0, 0))(mask)), {"tiny", "many"}),
    "lossy gray": (lambda mask: lossy(Image.fromarray(mask * 80)), {"tiny", "many"}),
}
WORDS = {
    "ground": "the ground counts as an object",
    "void": "which is void in many data sets",
    "tiny": "have mostly tiny labels",
    "many": "far more than 4 slots",
}


def write(root: Path, draw: Callable[[np.ndarray], Image.Image]) -> None:
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for number in range(COUNT):
        Image.fromarray(np.full((SIDE, SIDE, 3), number, np.uint8)).save(root / "images" / f"{number}.png")
        draw(truth(number)).save(root / "masks" / f"{number}.png")


def cautions(root: Path, *sets: str, slots: int | None = 4) -> list[str]:
    data = find_target(str(root), sets=["data.protocol.image_size=16", *sets]).data
    source = open_source(data, "all")
    return mask_cautions(source, range(len(source)), data.dataset.config, slots)


def kinds_of(texts: list[str]) -> set[str]:
    return {kind for kind, word in WORDS.items() if any(word in text for text in texts)}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_of_which_masks(tmp_path: Path, kind: str) -> None:
    draw, wanted = KINDS[kind]
    write(tmp_path, draw)
    found = cautions(tmp_path)
    assert kinds_of(found) == wanted
    assert len(found) == len(wanted)


def test_the_setting_that_is_named_is_the_right_one(tmp_path: Path) -> None:
    write(tmp_path / "white", on((255, 255, 255)))
    [text] = cautions(tmp_path / "white")
    assert text.endswith(
        "if it is the ground, write background: '#ffffff', and if there is none, background: none"
    )
    assert cautions(tmp_path / "white", "data.dataset.background='#ffffff'") == []
    assert cautions(tmp_path / "white", "data.dataset.background=none") == []
    assert cautions(tmp_path / "white", "data.dataset.background='#fffffe'") != []
    draw, _ = KINDS["void in gray"]
    write(tmp_path / "void", draw)
    [text] = cautions(tmp_path / "void")
    assert text.endswith("write void: 255, which leaves its pixels out of every metric of masks")
    assert cautions(tmp_path / "void", "data.dataset.void=255") == []


def test_the_largest_label_is_never_void(tmp_path: Path) -> None:
    write(tmp_path, lambda mask: Image.fromarray(np.where(mask == 0, 255, mask)))
    [text] = cautions(tmp_path, "data.dataset.void=255")
    assert re.search(r": the ground counts as an object\. [123] is the largest in ", text)


def test_whoever_evaluates_is_told_and_whoever_only_reads_pays_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, on((255, 255, 255)))
    data = find_target(str(tmp_path), sets=["data.protocol.image_size=16"]).data
    looked: list[int] = []
    source: Any = open_source(data, "all").dataset
    real = type(source).mask
    monkeypatch.setattr(type(source), "mask", lambda self, index: looked.append(index) or real(self, index))
    assert not any(WORDS["ground"] in note for note in select(data, "all").notes)
    assert looked == []
    assert any(WORDS["ground"] in note for note in select(data, "all", slots=4).notes)
    assert len(looked) == LOOKED_AT
    assert (looked[0], looked[-1]) == (0, COUNT - 1)


def test_masks_that_cannot_be_read_are_left_to_others(tmp_path: Path) -> None:
    write(tmp_path, on((255, 255, 255)))
    for number in range(0, COUNT, 2):
        (tmp_path / "masks" / f"{number}.png").write_bytes(b"")
    assert kinds_of(cautions(tmp_path)) == {"ground"}
    for path in (tmp_path / "masks").iterdir():
        path.write_bytes(b"")
    assert cautions(tmp_path) == []


def test_data_without_masks_and_generated_data_are_not_looked_at(tmp_path: Path) -> None:
    write(tmp_path, on((255, 255, 255)))
    (tmp_path / "masks").rename(tmp_path / "elsewhere")
    assert cautions(tmp_path / "images") == []

    class Untouchable:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            raise AssertionError

    from slotlab.framework.data.source import Source

    dataset: Dataset = Untouchable()
    assert mask_cautions(Source("made", "all", dataset, None, {}), range(3), object(), 4) == []


@pytest.mark.parametrize(("pixels", "most"), [(100, 4), (20_000, 4), (25_000, 5), (100_000, 20)])
def test_labels_of_a_few_pixels_are_tiny_in_large_masks_by_their_share(pixels: int, most: int) -> None:
    """One of 5,000 pixels, and four in any mask."""
    sizes = {0: pixels, 1: most, 2: most + 1, 3: 1}
    assert MaskFacts(sizes, {}, pixels).tiny == 2


@pytest.mark.parametrize(
    ("labels", "void"),
    [
        ((0, 1, 127, 255), "255"), ((0, 1, 128, 255), None), ((0, 255), None), ((0, 1, 32767, 65535), "65535"),
        ((0, 1, 32768, 65535), None), ((1, 2, 254), None), ((0, 1, 255, 65535), "65535"),
    ],
)  # fmt: skip
def test_the_greatest_number_is_void_where_all_others_are_far_below(
    labels: tuple[int, ...], void: str | None
) -> None:
    facts = MaskFacts(dict.fromkeys(labels, 9), {label: str(label) for label in labels}, 100)
    assert facts.likely_void == void


def test_the_color_of_void_is_void_whatever_else_is_there() -> None:
    assert MaskFacts({0: 9, 1: 9}, {0: "#000000", 1: "#e0e0c0"}, 18).likely_void == "#e0e0c0"
    assert MaskFacts({0: 9, 1: 9}, {0: "#000000", 1: "#ffffff"}, 18).likely_void is None


def test_many_tiny_labels_are_told_if_half_of_the_masks_have_them() -> None:
    odd = MaskFacts({0: 900, 1: 60, **dict.fromkeys(range(2, 12), 4)}, {}, 1000)
    sound = MaskFacts({0: 900, 1: 100}, {}, 1000)
    assert _tiny_labels([odd, sound], None, None) is not None
    assert _tiny_labels([odd, sound, sound], None, None) is None
