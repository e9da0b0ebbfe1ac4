"""Figures: PNG and PDF files, colors that everybody can tell apart, and the same color for a slot everywhere."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from slotlab.framework.figures import training_curves
from slotlab.framework.figures.image_view import ImageView, by_mask
from slotlab.framework.figures.mask_colors import paint_slots, paint_truth, pair
from slotlab.framework.figures.mixes import Mix, draw_mixes, halves
from slotlab.framework.figures.panels import Panel, draw_panels, pictures
from slotlab.framework.figures.picture_grid import draw_grid
from slotlab.framework.figures.slot_colors import (
    BACKGROUND,
    SLOT_COLORS,
    UNUSED,
    rgb,
    slot_color,
    slot_colors,
)
from slotlab.framework.figures.slots import draw_slots
from slotlab.framework.figures.style import new_grid, plain, save, styled
from slotlab.framework.figures.training_curves import draw_learning_rate, draw_loss, smoothed
from slotlab.registry import SlotlabError

Log = list[Mapping[str, Any]]
SLOTS = len(SLOT_COLORS)


def settings() -> dict[str, Any]:
    from matplotlib import rcParams

    return dict(rcParams)


def picture(stem: Path) -> np.ndarray[Any, Any]:
    """Return the PNG's pixels; the PDF beside it must be whole."""
    pdf = stem.with_name(f"{stem.name}.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    with Image.open(stem.with_name(f"{stem.name}.png")) as image:
        assert image.format == "PNG"
        return np.array(image.convert("RGB"))


# --- colors ------------------------------------------------------------------------------

VISIONS = {  # Machado, Oliveira and Fernandes 2009, severity 1.0; they act on linear RGB
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def as_seen(colors_N3: np.ndarray[Any, Any], vision: str) -> np.ndarray[Any, Any]:
    """Return colors in OKLab (Ottosson 2020) as someone of that vision sees them."""
    unit = colors_N3 / 255
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(VISIONS[vision]).T, 0, 1)
    cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.cbrt(linear @ np.array(cones).T) @ np.array(lab).T


@pytest.mark.parametrize("vision", VISIONS)
def test_slots_and_the_background_can_be_told_apart_by_everybody(vision: str) -> None:
    colors = np.concatenate([[rgb(BACKGROUND)], slot_colors(SLOTS)])
    seen = as_seen(colors, vision)
    distances = np.linalg.norm(seen[:, None] - seen[None], axis=2) + 9 * np.eye(len(seen))
    # 0.02 is about the least difference that is seen at all; Okabe and Ito's own colors keep 0.076.
    assert distances.min() >= 0.07


@pytest.mark.parametrize("vision", VISIONS)
def test_unused_pixels_are_no_color_of_the_slots_that_the_seed_has(vision: str) -> None:
    seen = as_seen(np.concatenate([[rgb(UNUSED)], slot_colors(11)]), vision)
    assert np.linalg.norm(seen[1:] - seen[0], axis=1).min() >= 0.07


@given(st.integers(0, 99), st.integers(1, 30))
def test_a_slot_has_its_color_however_many_there_are(slot: int, more: int) -> None:
    assert tuple(slot_colors(slot + more)[slot].tolist()) == rgb(slot_color(slot))
    assert slot_color(slot) == slot_color(slot + SLOTS)


# --- masks -------------------------------------------------------------------------------

slots_masks = arrays(np.int64, (4, 5), elements=st.integers(0, 6))
true_masks = arrays(np.int64, (4, 5), elements=st.sampled_from([0, 0, 1, 2, 3, 7, 200]))


@given(slots_masks)
def test_predicted_masks_are_painted_in_the_slots_colors(slots_HW: Any) -> None:
    assert np.array_equal(paint_slots(slots_HW), slot_colors(7)[slots_HW])


@given(slots_masks, st.frozensets(st.integers(0, 6)))
def test_slots_that_are_not_kept_are_gray(slots_HW: Any, kept: frozenset[int]) -> None:
    painted = paint_slots(slots_HW, kept)
    gray = (painted == rgb(UNUSED)).all(axis=2)
    assert np.array_equal(~gray, np.isin(slots_HW, list(kept)))


@given(true_masks, slots_masks)
def test_the_background_is_black_and_objects_have_one_color_each(true_HW: Any, slots_HW: Any) -> None:
    for painted in (paint_truth(true_HW), paint_truth(true_HW, slots_HW)):
        assert np.array_equal((painted == rgb(BACKGROUND)).all(axis=2), true_HW == 0)
        for label in np.unique(true_HW):
            assert len(np.unique(painted[true_HW == label], axis=0)) == 1
    assert np.array_equal(paint_truth(true_HW)[true_HW == 3], slot_colors(3)[2:][true_HW[true_HW == 3] - 3])


@given(true_masks, slots_masks)
def test_pairs_are_one_to_one_and_share_pixels(true_HW: Any, slots_HW: Any) -> None:
    found = pair(true_HW, slots_HW)
    assert set(found) == set(np.unique(true_HW)) - {0}
    assert len(set(found.values())) == len(found)
    last = slots_HW.max()
    assert all(slot > last or ((true_HW == name) & (slots_HW == slot)).any() for name, slot in found.items())


@given(st.permutations(range(4)))
def test_an_exact_segmentation_looks_like_the_truth(names: list[int]) -> None:
    true_HW = np.array([[0, 0, 1, 1], [0, 2, 2, 3]])
    slots_HW = np.array(names)[true_HW]
    objects = true_HW > 0
    assert np.array_equal(paint_truth(true_HW, slots_HW)[objects], paint_slots(slots_HW)[objects])


def test_no_object_takes_the_color_of_the_ground() -> None:
    true_HW = np.array([[0] * 8 + [1, 2]])
    slots_HW = np.array([[3] * 8 + [0, 3]])  # object 2 lies in the slot of the ground
    assert pair(true_HW, slots_HW) == {1: 0, 2: 4}


# --- curves ------------------------------------------------------------------------------


def log() -> Log:
    train: Log = [
        {"kind": "train", "step": s, "phase": s // 5, "loss": 1.0 / s, "lr": 0.1 * (10 - s)}
        for s in range(1, 10)
    ]
    return [*train, {"kind": "validation", "step": 9, "epoch": 1, "loss": 0.2}]


@pytest.mark.parametrize("draw", [draw_loss, draw_learning_rate])
@pytest.mark.parametrize("lines", [log(), log()[:1], []])
def test_curves(draw: Any, lines: Log, tmp_path: Path) -> None:
    before = settings()
    stem = tmp_path / "figures" / "curve-0.5"
    draw(lines, stem)
    assert picture(stem).shape == (720, 1200, 3)
    assert settings() == before
    first = stem.with_name("curve-0.5.pdf").read_bytes()
    draw(lines, stem)
    assert stem.with_name("curve-0.5.pdf").read_bytes() == first, "the same log is the same file"


def test_the_learning_rate_jumps_between_phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(
        "slotlab.framework.figures.training_curves.save", lambda figure, stem: drawn.append(figure)
    )
    draw_learning_rate(log(), tmp_path / "lr")
    [axis] = drawn[0].axes
    curves = [line.get_xdata() for line in axis.get_lines() if line.get_linestyle() == "-"]
    jumps = [line for line in axis.get_lines() if line.get_linestyle() == ":"]
    assert [list(steps) for steps in curves] == [[1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert [list(jump.get_xdata()) for jump in jumps] == [[4, 5]]
    assert [text.get_text() for text in axis.texts] == ["phase 1", "phase 2"]


# --- pictures ----------------------------------------------------------------------------


def view(position: int = 0, slots: int = 3, **changes: Any) -> ImageView:
    draw = np.random.default_rng(position)
    masks = draw.random((slots, 8, 8)).astype(np.float32)
    masks /= masks.sum(axis=0)
    fields: dict[str, Any] = {
        "id": f"image {position}",
        "image_HWC": draw.integers(0, 256, (8, 8, 3), dtype=np.uint8),
        "true_HW": draw.integers(0, 3, (8, 8)),
        "predicted_HW": masks.argmax(axis=0),
        "reconstruction_HWC": draw.integers(0, 256, (8, 8, 3), dtype=np.uint8),
        "masks_KHW": masks,
        "parts_KHWC": draw.integers(0, 256, (slots, 8, 8, 3), dtype=np.uint8),
    }
    return ImageView(position=position, **{**fields, **changes})


def bare(position: int = 0) -> ImageView:
    """What is there of data without truth and of a model without masks that predicts no images."""
    names = ("true_HW", "predicted_HW", "reconstruction_HWC", "masks_KHW", "parts_KHWC")
    return view(position, **dict.fromkeys(names))


def test_pictures_of_a_row() -> None:
    one = view()
    found = pictures(one)
    assert list(found) == ["true mask", "predicted mask", "true image", "reconstruction"]
    assert one.true_HW is not None
    assert np.array_equal(found["true mask"], paint_truth(one.true_HW, one.predicted_HW))  # type: ignore[arg-type]
    assert [name for name, found in pictures(bare()).items() if found is None] == [
        "true mask",
        "predicted mask",
        "reconstruction",
    ]


def colors_in(pixels: np.ndarray[Any, Any]) -> set[tuple[int, int, int]]:
    return {tuple(color) for color in np.unique(pixels.reshape(-1, 3), axis=0).tolist()}


def test_panels(tmp_path: Path) -> None:
    draw_panels([Panel("best", view()), Panel("worst", bare(1))], tmp_path / "panels", title="tiny")
    assert {rgb(slot_color(slot)) for slot in range(3)} <= colors_in(picture(tmp_path / "panels"))


def test_panels_have_no_column_for_what_no_row_has(tmp_path: Path) -> None:
    """A model of features paints no reconstruction; where one row of two has it, the column stays."""
    unpainted = [replace(view(index), reconstruction_HWC=None) for index in (0, 1)]
    widths = {}
    for name, views in (("none", unpainted), ("one", [unpainted[0], view(1)]), ("all", [view(0), view(1)])):
        draw_panels([Panel("best", one) for one in views], tmp_path / name, title="tiny")
        widths[name] = picture(tmp_path / name).shape[1]
    assert widths["none"] < widths["one"] == widths["all"]


def test_slots_have_frames_of_their_colors(tmp_path: Path) -> None:
    draw_slots([view(0, slots=2), view(1, slots=3), bare(2)], tmp_path / "slots", title="tiny")
    assert {rgb(slot_color(slot)) for slot in range(3)} <= colors_in(picture(tmp_path / "slots"))


def test_slots_without_masks_are_not_drawn(tmp_path: Path) -> None:
    with pytest.raises(SlotlabError) as caught:
        draw_slots([bare()], tmp_path / "slots", title="tiny")
    assert str(caught.value) == "the decoder has no masks"
    assert list(tmp_path.iterdir()) == []


def test_parts_by_masks_add_up() -> None:
    one = view()
    assert one.parts_KHWC is not None
    assert one.masks_KHW is not None
    whole = by_mask(np.full_like(one.parts_KHWC, 200), one.masks_KHW).astype(int).sum(axis=0)
    assert np.abs(whole - 200).max() <= 1.5  # rounded once a slot


@given(st.integers(0, 99), st.integers(1, 8), st.integers(1, 8))
def test_halves_make_as_many_slots_as_an_image_has(seed: int, of_a: int, of_b: int) -> None:
    a, b = view(seed, slots=of_a), view(seed + 1, slots=of_b)
    kept_a, kept_b = halves(a, b)
    assert len(set(kept_a)) == len(kept_a)
    assert len(kept_a) + len(kept_b) == min(of_a, len(kept_a) + of_b - 1)
    assert a.masks_KHW is not None
    assert int(a.masks_KHW.sum(axis=(1, 2)).argmax()) in kept_a, "the ground is A's"


def test_mixes_show_the_slots_that_were_taken(tmp_path: Path) -> None:
    mix = Mix(view(0), (0,), view(1), (2,), view(2).image_HWC)
    draw_mixes([mix], tmp_path / "mixes", title="tiny")
    shown = colors_in(picture(tmp_path / "mixes"))
    assert {rgb(slot_color(0)), rgb(slot_color(2)), rgb(UNUSED)} <= shown
    assert rgb(slot_color(1)) not in shown


@pytest.mark.parametrize("count", [1, 7])
def test_generated_pictures(count: int, tmp_path: Path) -> None:
    plain = [np.full((8, 8, 3), (10, 20 * number, 30), dtype=np.uint8) for number in range(count)]
    draw_grid(plain, tmp_path / "generated", title="tiny")
    assert {(10, 20 * number, 30) for number in range(count)} <= colors_in(picture(tmp_path / "generated"))


def test_style_ends_with_its_block() -> None:
    before = settings()
    with pytest.raises(RuntimeError), styled():
        raise RuntimeError
    assert settings() == before


@pytest.mark.parametrize("text", ["$x_{", "$", "a$b$c", "\\frac{", "^_{}", "\\$", "\x1b$", "%#&~"])
def test_figures_are_drawn_whatever_their_text_is(text: str, tmp_path: Path) -> None:
    with styled():
        figure, axes = new_grid(1, 1, title=text)
        axes[0, 0].set_ylabel(plain(text))
        save(figure, tmp_path / "drawn")
        assert "mathdefault" not in figure.get_suptitle()
    assert (tmp_path / "drawn.png").stat().st_size > 1000


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=200))
def test_a_smoothed_loss_keeps_within_its_values_and_leaves_a_constant(values: list[float]) -> None:
    found = smoothed(values)
    assert len(found) == len(values)
    assert min(values) - 1e-9 <= min(found) <= max(found) <= max(values) + 1e-9
    assert smoothed([0.5] * len(values)) == pytest.approx([0.5] * len(values))


def test_losses_show_phases_epochs_and_a_smoothed_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    kept: list[Figure] = []
    monkeypatch.setattr(training_curves, "save", lambda figure, stem: kept.append(figure))
    log = [
        {
            "kind": "train",
            "step": step,
            "epoch": step // 10,
            "phase": step // 31,
            "loss": 1 / step,
            "lr": 1e-3,
        }
        for step in range(1, 61)
    ]
    draw_loss(log, tmp_path / "loss")
    [axis] = kept[0].axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["train, smoothed"]
    marks = [line for line in axis.get_lines() if line.get_linestyle() == "--"]
    assert [list(line.get_xdata()) for line in marks] == [[30, 30]]
    assert [text.get_text() for text in axis.texts] == ["phase 1", "phase 2"]
    [above] = axis.child_axes
    ticks = [
        (tick, label.get_text())
        for tick, label in zip(above.get_xticks(), above.get_xticklabels(), strict=True)
    ]
    assert ticks == [(1, "0"), *((10 * epoch, str(epoch)) for epoch in range(1, 7))]
