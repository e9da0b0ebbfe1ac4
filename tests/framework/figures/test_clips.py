"""Figures of clips: which frames are shown, one color for an object in all of them, and what plays."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slotlab.framework.figures.by_frame import draw_by_frame
from slotlab.framework.figures.clips import FRAME_MS, SHOWN, ClipPanel, animation, draw_clips, films, spaced
from slotlab.framework.figures.image_view import ImageView
from slotlab.registry import SlotlabError


def clip(frames: int = 5, *, masks: bool = True) -> list[ImageView]:
    """A square that moves to the right, found by slot 2, and another one that stays, found by slot 0."""
    views = []
    for number in range(frames):
        true = np.zeros((8, 12), dtype=np.int64)
        true[1:4, number : number + 3] = 7
        true[6:, 9:] = 3
        found = np.where(true == 7, 2, np.where(true == 3, 0, 1))
        image = np.full((8, 12, 3), number, dtype=np.uint8)
        views.append(
            ImageView(
                id="a",
                position=0,
                image_HWC=image,
                true_HW=true if masks else None,
                predicted_HW=found if masks else None,
                reconstruction_HWC=image,
                masks_KHW=None,
                parts_KHWC=None,
            )
        )
    return views


@pytest.mark.parametrize("frames", [1, 2, 7, SHOWN, 9, 24, 100])
def test_shown_frames_are_spaced_from_the_first_to_the_last(frames: int) -> None:
    numbers = spaced(frames)
    assert len(numbers) == min(frames, SHOWN)
    assert numbers[0] == 0
    assert numbers[-1] == (frames - 1 if frames > 1 else 0)
    assert numbers == sorted(set(numbers))


def test_an_object_has_the_color_of_its_slot_in_all_frames() -> None:
    found = films(clip())
    assert list(found) == ["image", "true", "predicted", "reconstruction"]
    for true, predicted, view in zip(found["true"], found["predicted"], clip(), strict=True):
        assert view.true_HW is not None
        objects = view.true_HW > 0
        assert (true[objects] == predicted[objects]).all()
        assert (true[~objects] == 0).all()
    assert list(films(clip(masks=False))) == ["image", "reconstruction"]


def test_an_animation_plays_every_frame_for_ever() -> None:
    with Image.open(io.BytesIO(animation(clip()))) as picture:
        assert (picture.format, picture.n_frames, picture.info["loop"]) == ("WEBP", 5, 0)
        picture.seek(3)
        picture.load()
        assert picture.info["duration"] == FRAME_MS
        pixels = np.asarray(picture.convert("RGB"))
    factor = 128 // 8
    assert pixels.shape == (8 * factor, 4 * 12 * factor + 3 * 4, 3)
    assert (pixels[0, 0] == 3).all()
    gap = 12 * factor
    assert (pixels[:, gap : gap + 4] == 255).all()


def test_figures_are_drawn_and_say_what_is_missing(tmp_path: Path) -> None:
    draw_clips([ClipPanel("best", clip()), ClipPanel("short", clip(2))], tmp_path / "clips", title="a clip")
    many = {f"method {number}": {"mse": [0.1 * number, None, 0.3]} for number in range(8)}
    draw_by_frame(many, tmp_path / "frames", title="by frame", first=2)
    assert {path.name for path in tmp_path.iterdir()} == {
        "clips.pdf",
        "clips.png",
        "frames.pdf",
        "frames.png",
    }
    with pytest.raises(SlotlabError, match="no metric has a value for any clip"):
        draw_clips([], tmp_path / "none", title="")
    with pytest.raises(SlotlabError, match="no metric has a value for single frames"):
        draw_by_frame({"model": {}}, tmp_path / "none", title="")
