"""Masks of an evaluation as gray PNGs of labels, which `slotlab score` and other programs read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.contracts import VOID, MaskSource, Outcome
from slotlab.framework.evaluation.result_folders import Place
from slotlab.framework.figures.png import to_png
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.system.atomic import write_atomically
from slotlab.registry import SlotlabError

WRITTEN_VOID = 255
"""The value of void in a written mask, as is customary: `slotlab score --void 255`."""


def discard_masks(source: MaskSource, ids: Sequence[str], outcome: Outcome) -> None:
    """Default callback: write no masks."""


def write_masks(
    run: RunFolder, place: Place, first: int, source: MaskSource, ids: Sequence[str], outcome: Outcome
) -> None:
    """Write the true and the predicted labels of a batch, one gray PNG per image: in a folder for each clip.

    The frames of a clip are numbered from `first`, the first one that is measured.

    Raises:
        SlotlabError: for an image whose id is not the name of a file inside the folder.
    """
    if outcome.frames > 1:
        ids = [f"{name}/{frame:03d}" for name in ids for frame in range(first, first + outcome.frames)]
    folder = run.evaluation(place.name(source)) / "masks"
    for kind, labels_BHW in (("true", outcome.true_BHW), ("predicted", outcome.predicted_BHW)):
        if labels_BHW is None:
            continue
        for name, labels_HW in zip(ids, labels_BHW, strict=True):
            write_atomically(
                inside(folder / kind, f"{name}.png"), to_png(gray_labels(labels_HW.cpu().numpy()))
            )


def gray_labels(labels_HW: NDArray[np.int64]) -> NDArray[np.integer]:
    """Return labels as a gray picture: uint8, or uint16 where a label is above 255.

    Void becomes 255. In a mask with void, labels from 255 on are increased by one.
    """
    if (labels_HW == VOID).any():
        labels_HW = np.where(labels_HW >= WRITTEN_VOID, labels_HW + 1, labels_HW)
        labels_HW = np.where(labels_HW == VOID, WRITTEN_VOID, labels_HW)
    return labels_HW.astype(np.uint8 if labels_HW.max() < 256 else np.uint16)


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder.

    Raises:
        SlotlabError: if the file would lie elsewhere.
    """
    path = folder / name
    if ".." in path.parts or not path.is_relative_to(folder) or "\0" in name:
        raise SlotlabError(
            f"masks cannot be saved: the image's id {name.removesuffix('.png')!r} is not the name of a file"
        )
    return path
