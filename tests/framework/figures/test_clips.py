"""Figures of clips: which frames are shown, one color for an object in all of them, and what plays."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slotlab.framework.figures import rollouts
from slotlab.framework.figures.by_frame import draw_by_frame
from slotlab.framework.figures.clip_sheet import columns_of, draw_sheet
from slotlab.framework.figures.clips import SHOWN, ClipPanel, animation, draw_clips, films, spaced
from slotlab.framework.figures.films import FRAME_MS, has_codec, mp4, strip
from slotlab.framework.figures.image_view import ImageView
from slotlab.framework.figures.rollouts import draw_rollouts, errors
from slotlab.framework.figures.tracks import draw_tracks, tracks
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


def masked(frames: int = 5, *, parts: bool = True) -> list[ImageView]:
    """The same clip with masks of each slot, and perhaps parts."""
    found = []
    for view in clip(frames):
        masks = np.stack([view.predicted_HW == slot for slot in range(3)]).astype(np.float32)
        own = np.full((3, 8, 12, 3), 200, dtype=np.uint8) if parts else None
        found.append(replace(view, masks_KHW=masks, parts_KHWC=own))
    return found


@pytest.mark.parametrize("parts", [True, False])
def test_slots_show_their_parts_or_the_frame_where_their_masks_are(parts: bool) -> None:
    views = masked(parts=parts)
    for view, whole in zip(views, films(views, slots=True)["slots"], strict=True):
        for slot, shown in enumerate(np.split(whole, 3, axis=1)):
            inside = view.predicted_HW == slot
            source = np.full_like(view.image_HWC, 200) if parts else view.image_HWC
            assert (shown[inside] == source[inside]).all()
            assert (shown[~inside] == 0).all()
    assert "slots" not in films(clip(), slots=True)


def test_true_masks_of_samples_do_not_depend_on_the_model() -> None:
    views = clip()
    others = [
        replace(view, predicted_HW=2 - view.predicted_HW) for view in views if view.predicted_HW is not None
    ]
    for one, other in zip(films(views, shared=True)["true"], films(others, shared=True)["true"], strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(("frames", "height"), [(1, 8), (5, 8), (40, 500)])
def test_a_strip_holds_every_frame_one_above_the_other(frames: int, height: int) -> None:
    film = [np.full((height, 6, 3), number, dtype=np.uint8) for number in range(frames)]
    with Image.open(io.BytesIO(strip(film))) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[0] <= 16_383
    assert pixels.shape[0] % frames == 0
    for number, shown in enumerate(np.split(pixels, frames)):
        assert (shown == number).all()
    if frames * height <= 16_383:
        assert np.array_equal(pixels, np.concatenate(film))


def test_a_sheet_shows_each_clip_at_each_frame_and_the_last_of_a_shorter_one() -> None:
    long, short = ClipPanel("best\nan id", masked(5)), ClipPanel("worst", masked(2))
    film = draw_sheet([long, short], foretold=3)
    assert len(film) == 5
    assert len({page.shape for page in film}) == 1
    assert len({page[:40].tobytes() for page in film}) == 5, "the number of the frame is written"
    lower = [page[page.shape[0] // 2 + 30 :].tobytes() for page in film]
    assert len(set(lower[1:])) == 1
    assert lower[0] != lower[1]
    assert list(columns_of(long)) == [
        *("frame", "true masks", "predicted", "reconstruction", "slot 0", "slot 1", "slot 2"),
    ]


def test_a_film_is_written_as_mp4_with_all_its_frames_and_always_alike() -> None:
    av = pytest.importorskip("av")
    if not has_codec():
        pytest.skip("PyAV has no H.264 here")
    film = [np.full((33, 64, 3), 40 * number, dtype=np.uint8) for number in range(5)]
    content = mp4(film)
    assert content == mp4(film)
    with av.open(io.BytesIO(content)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(32, 64, 3)] * 5
    for number, frame in enumerate(frames):
        assert abs(frame.astype(int) - 40 * number).max() <= 4


def test_tracks_follow_the_centers_of_masks() -> None:
    labels = [view.true_HW for view in clip() if view.true_HW is not None]
    found = tracks(labels, [7, 3, 99])
    for frame in range(5):
        assert found[frame, 0] == pytest.approx([(frame + 1.5) / 12, 2.5 / 8])
        assert found[frame, 1] == pytest.approx([10.5 / 12, 7 / 8])
    assert np.isnan(found[:, 2]).all()
    larger = [label.repeat(3, axis=0).repeat(3, axis=1) for label in labels]
    assert tracks(larger, [7, 3]) == pytest.approx(found[:, :2]), "the size of masks changes nothing"


def test_errors_of_rollouts_are_those_of_their_pictures() -> None:
    views = clip()
    assert errors(views) == [0.0] * 5
    back = [replace(view, reconstruction_HWC=view.image_HWC + np.uint8(51)) for view in views]
    assert errors(back) == pytest.approx([0.04] * 5)


def test_the_axis_of_errors_says_the_range_of_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(rollouts, "save", lambda figure, stem: drawn.append(figure))
    draw_rollouts([ClipPanel("best", clip())], tmp_path / "rollouts", foretold=2, title="")
    assert drawn[0].axes[-1].get_ylabel() == "squared error\n(values 0 to 1)", (
        "the table's are of the model's"
    )


def test_tracks_and_rollouts_are_drawn_and_say_what_is_missing(tmp_path: Path) -> None:
    panels = [ClipPanel("best", clip()), ClipPanel("short", clip(2))]
    draw_tracks(panels, tmp_path / "tracks", title="tracks")
    draw_rollouts(panels, tmp_path / "rollouts", foretold=2, title="rollouts")
    names = {f"{kind}.{ending}" for kind in ("tracks", "rollouts") for ending in ("png", "pdf")}
    assert {path.name for path in tmp_path.iterdir()} == names
    blind = [ClipPanel("best", [replace(v, predicted_HW=None, reconstruction_HWC=None) for v in clip()])]
    with pytest.raises(SlotlabError, match="the model has no masks"):
        draw_tracks(blind, tmp_path / "none", title="")
    with pytest.raises(SlotlabError, match="the model makes no pictures"):
        draw_rollouts(blind, tmp_path / "none", foretold=2, title="")


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
