"""CLEVRER's JSON: what is in a video (annotations), and predicted masks of objects (derender_proposals).

    annotation_00000.json: object_property [{object_id, color, material, shape}], motion_trajectory
        [{frame_id, objects: [{object_id, location, velocity, inside_camera_view}]}], collision [...]
    proposal_00000.json: frames [{objects: [{mask: run lengths of COCO, color, material, shape, score}]}]

Source: Yi et al. 2020, "CLEVRER: CoLlision Events for Video REpresentation and Reasoning".
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.contracts import DataError, DataProblem, Size
from slotlab.framework.data.formats import coco_fields as fields


class Look(NamedTuple):
    """What tells the objects of a video apart: no two have all three alike."""

    color: str
    material: str
    shape: str


class Annotation(NamedTuple):
    """What is known of a video."""

    looks: Sequence[Look]
    """Of each object."""
    tracks: Sequence[Sequence[Mapping[str, Any]]]
    """For each frame each object's `3d_coords`, `velocity` and `inside_camera_view`."""
    collisions: Sequence[Sequence[int]]
    """Frame and the labels of two objects that meet in it."""


class Proposal(NamedTuple):
    """A predicted object in a frame."""

    look: Look
    score: float
    mask: Mapping[str, Any]
    """Run lengths."""


def read_annotation(path: Path) -> Annotation:
    """Return the annotation of a video.

    Raises:
        DataError: if the file is missing, damaged or has another form.
    """
    data = _read(path)
    try:
        numbers = {one["object_id"]: label for label, one in enumerate(data["object_property"], start=1)}
        tracks = []
        for frame in data["motion_trajectory"]:
            found = {one["object_id"]: one for one in frame["objects"]}
            tracks.append([_track(found.get(number, {})) for number in numbers])
        collisions = [
            [int(one["frame_id"]), *sorted(numbers[each] for each in one["object_ids"])]
            for one in data.get("collision", ())
        ]
        return Annotation([_look(one) for one in data["object_property"]], tracks, collisions)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(DataProblem(str(path), f"has not the form of an annotation: {error!r}")) from None


def read_proposals(path: Path) -> Sequence[Sequence[Proposal]]:
    """Return the predicted objects of each frame of a video, the most certain first.

    Raises:
        DataError: if the file is missing, damaged or has another form.
    """
    data = _read(path)
    try:
        frames = []
        for frame in data["frames"]:
            found = [Proposal(_look(one), float(one["score"]), one["mask"]) for one in frame["objects"]]
            frames.append(sorted(found, key=lambda one: -one.score))
        return frames
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(DataProblem(str(path), f"has not the form of proposals: {error!r}")) from None


def number_looks(known: Sequence[Look], frames: Sequence[Sequence[Proposal]]) -> Mapping[Look, int]:
    """Return a label, from 1, for each look: first those that are known, then others that were predicted."""
    others = {one.look for frame in frames for one in frame} - set(known)
    return {look: label for label, look in enumerate([*dict.fromkeys(known), *sorted(others)], start=1)}


def paint(
    proposals: Sequence[Proposal], numbers: Mapping[Look, int], size: Size, where: str
) -> NDArray[np.uint8]:
    """Return a mask (H, W) of predicted objects, 0 where there is none.

    Of several with one look the most certain is painted; where objects overlap it lies above as well.

    Raises:
        DataError: if run lengths are wrong; `where` names the file and frame.
    """
    labels_HW = np.zeros(size, np.uint8)
    best = {one.look: one for one in reversed(proposals)}
    for one in sorted(best.values(), key=lambda each: each.score):
        try:
            labels_HW[fields.draw(one.mask, size)] = numbers[one.look]
        except ValueError as error:
            raise DataError(DataProblem(where, f"the mask of the {' '.join(one.look)} {error}")) from None
    return labels_HW


def _look(one: Mapping[str, Any]) -> Look:
    return Look(str(one["color"]), str(one["material"]), str(one["shape"]))


def _track(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "3d_coords": one.get("location"),
        "velocity": one.get("velocity"),
        "inside_camera_view": bool(one.get("inside_camera_view", False)),
    }


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(DataProblem(str(path), "is missing")) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(DataProblem(str(path), f"cannot be read as JSON: {error}")) from None
