"""Draw videos by their numbers: find objects whose motion shows enough of them, and render the frames.

A video is a scene whose objects are at other places in every frame: textures, shadows and what hides what
follow. Objects slide and do not turn, as their texture would have to turn with them. Axes: B videos, T
frames, F moments (T + 1: the first is the one before the first frame), M videos that are tried, or pictures
of all frames, video by video.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import Size
from slotlab.framework.scenes.attempts import find_attempts, start
from slotlab.framework.scenes.counter_random import Chance, picture_keys
from slotlab.framework.scenes.coverage import Coverage, cover
from slotlab.framework.scenes.layout import SceneLayout, draw_layout
from slotlab.framework.scenes.light import draw_lights
from slotlab.framework.scenes.materials import draw_materials
from slotlab.framework.scenes.motion import Motion, Tracks, simulate
from slotlab.framework.scenes.pictures import Scenes, describe, parts
from slotlab.framework.scenes.recipe import Recipe, least_pixels
from slotlab.framework.scenes.render import render, see_centers
from slotlab.framework.scenes.solids import SHAPES
from slotlab.framework.scenes.start_of_motion import draw_discs
from slotlab.framework.scenes.vectors import pictures, select

_SCENES = {"cpu": 2**21, "cuda": 2**24}
"""The number of pixels of the frames whose scenes are drawn at once, by kind of device."""
_PIXELS = {"cpu": 2**17, "cuda": 2**22}
"""The number of pixels rendered at once, as for pictures."""
_HIDDEN = 0.9
"""An object of which less than this part is visible counts as hidden by another."""


@dataclass(frozen=True)
class Course:
    """Where the objects and cameras of B videos are."""

    layout: SceneLayout
    """At the moment before the first frame."""
    tracks: Tracks

    def at(self, moments: Sequence[int]) -> SceneLayout:
        """Return the layout at these moments, of each video all before the next's; 1 is the first frame."""
        device = self.layout.centers_3BK.device
        places_BTK2 = self.tracks.positions_BFK2[:, list(moments)]
        xy_2MK = places_BTK2.flatten(0, 1).permute(2, 0, 1).float().to(device)
        rows_M = torch.arange(len(places_BTK2), device=device).repeat_interleave(len(moments))
        layout = select(self.layout, rows_M)
        return replace(layout, centers_3BK=torch.cat([xy_2MK, layout.centers_3BK[2:]]))

    @property
    def frames(self) -> range:
        """The moments of the frames."""
        return range(1, self.tracks.positions_BFK2.shape[1])


@dataclass(frozen=True)
class Videos:
    """B videos with their masks, metadata and courses."""

    images_BTHWC: Tensor
    """uint8 sRGB of shape (B, T, H, W, 3)."""
    masks_BTHW: Tensor
    """uint8: 0 for the ground, i for object i in all frames."""
    attributes: tuple[tuple[dict[str, Any], ...], ...]
    """The metadata of each video's frames, as JSON data; see `describe_frames`."""
    courses: tuple[Course, ...]
    """Of each video, as a batch of one."""


def draw_videos(
    recipe: Recipe,
    motion: Motion,
    size: Size,
    *,
    seed: int,
    split: int,
    indices: Sequence[int],
    device: torch.device,
) -> Videos:
    """Draw the videos with numbers `indices`, at least one, of `size` (rows, columns).

    A video depends on the recipe, the motion, the size, the seed, the split and its number alone.

    Raises:
        NoSceneError: if even the recipe's fewest objects made no valid video.
    """
    kind = device.type if device.type in _SCENES else "cuda"
    pixels = size[0] * size[1]
    images, masks, attributes, courses = [], [], [], []
    for group in parts(indices, _SCENES[kind] // (pixels * motion.frames)):
        course, scenes = _find_videos(recipe, motion, size, seed, split, group, device)
        for some in parts(range(len(scenes.layout.count_B)), _PIXELS[kind] // pixels):
            few = pictures(scenes, some[0], some[-1] + 1)
            images.append(render(few.layout, few.materials, few.lights))
            masks.append(see_centers(few.layout).masks_BHW)
        attributes += describe_frames(course, scenes, group)
        courses += [pictures(course, number, number + 1) for number in range(len(group))]
    return Videos(
        _by_video(torch.cat(images), motion.frames),
        _by_video(torch.cat(masks), motion.frames),
        tuple(attributes),
        tuple(courses),
    )


def describe_frames(
    course: Course, scenes: Scenes, indices: Sequence[int]
) -> list[tuple[dict[str, Any], ...]]:
    """Return the metadata of each video's frames.

    To what `pictures.describe` tells of a picture come `video` (its number), `frame`, `collisions` (of the
    video: [frame, i, j] for objects i < j that met right before the frame), and of each object its `velocity`
    (x and y, world units per second) and `visible_fraction`: the part of it that no other object hides.
    """
    visible_MK = cover(scenes.layout).visible_BK.tolist()
    velocities_MK2 = course.tracks.velocities_BFK2[:, course.frames.start :].flatten(0, 1).tolist()
    collisions = course.tracks.collisions()
    length = len(course.frames)
    found = []
    for place, facts in enumerate(describe(scenes)):
        for entry, part, velocity in zip(
            facts["objects"], visible_MK[place], velocities_MK2[place], strict=False
        ):
            entry["visible_fraction"] = round(part, 4)
            entry["velocity"] = [round(value, 4) for value in velocity]
        video, frame = divmod(place, length)
        found.append({**facts, "video": indices[video], "frame": frame, "collisions": collisions[video]})
    return [tuple(found[first : first + length]) for first in range(0, len(found), length)]


def _find_videos(
    recipe: Recipe,
    motion: Motion,
    size: Size,
    seed: int,
    split: int,
    indices: Sequence[int],
    device: torch.device,
) -> tuple[Course, Scenes]:
    # The videos' courses, and the scenes of all their frames.
    keys_B = picture_keys(seed, split, torch.tensor(list(indices), device=device))
    attempts_B = find_attempts(recipe, keys_B, indices, partial(_is_valid, recipe, motion, size))
    chance, count_B = start(recipe, keys_B, attempts_B)
    course = _draw_course(recipe, motion, size, chance, count_B)
    materials = draw_materials(chance, recipe, course.layout)
    rows_M = torch.arange(len(keys_B), device=device).repeat_interleave(motion.frames)
    lights = draw_lights(chance, recipe.lighting)
    scenes = Scenes(course.at(course.frames), select(materials, rows_M), select(lights, rows_M))
    return course, scenes


def _draw_course(recipe: Recipe, motion: Motion, size: Size, chance: Chance, count_B: Tensor) -> Course:
    layout = draw_layout(chance, recipe, size, count_B)
    return Course(layout, simulate(draw_discs(chance, motion, layout), motion))


def _is_valid(recipe: Recipe, motion: Motion, size: Size, chance: Chance, count_M: Tensor) -> Tensor:
    # The first frame is looked at alone before all frames of the videos that are left.
    course = _draw_course(recipe, motion, size, chance, count_M)
    least, absent_MK = least_pixels(recipe, size), ~course.layout.present_BK
    first = cover(course.at([course.frames.start]))
    valid_M = course.layout.placed_B & ((first.seen_BK >= least) | absent_MK).all(1)
    if motion.launched and "sphere" in recipe.shapes:
        valid_M &= ((course.layout.shape_BK == SHAPES.index("sphere")) & ~absent_MK).any(1)
    rows_R = valid_M.nonzero()[:, 0]
    if len(rows_R):
        few = select(course, rows_R)
        valid_M[rows_R] = _shows_enough(few, motion, least)
    return valid_M


def _shows_enough(course: Course, motion: Motion, least: float) -> Tensor:
    # Whether every object shows in half of the frames, and something happens if it must.
    covered = cover(course.at(course.frames))
    often_BK = _by_video(covered.seen_BK >= least, motion.frames).sum(1) * 2 >= motion.frames
    valid_B = (often_BK | ~course.layout.present_BK).all(1)
    return valid_B & _has_event(course.tracks, covered) if motion.events else valid_B


def _has_event(tracks: Tracks, covered: Coverage) -> Tensor:
    # Whether two objects meet, or one is partly hidden in a frame.
    hidden_MK = (covered.alone_BK > 0) & (covered.visible_BK < _HIDDEN)
    moments = tracks.met_BFP.shape[1]
    met_B = tracks.met_BFP.flatten(1).any(1).to(hidden_MK.device)
    return met_B | _by_video(hidden_MK, moments - 1).flatten(1).any(1)


def _by_video(values_M: Tensor, frames: int) -> Tensor:
    # (M, ...) to (B, T, ...).
    return values_M.view(-1, frames, *values_M.shape[1:])
