"""Where objects are, made of true masks: what initializers of conditional models are told.

Source: Kipf et al. 2022 (SAVi), section 3 and code: boxes (top, left, bottom, right) and centers of mass
(row, column), each in [0, 1]. Slot 0 is told of nothing, and stands for the ground; nor are spare slots.
"""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import Batch, Cue, DataError, Model
from slotlab.framework.contracts.dataset_settings import object_limit_of
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.mask_check import LOOKED_AT
from slotlab.framework.data.read_capabilities import mask_of
from slotlab.framework.data.selection import Selection
from slotlab.framework.spec.errors import Path, PathProblem
from slotlab.framework.spec.schema import ExperimentSpec

WIDTHS = {"boxes": 4, "centers": 2}
"""How many numbers an object has, by cue."""


def told(model: Model, batch: Batch) -> dict[str, Any]:
    """Return what a model of clips is told besides the images, as arguments of `reconstruct`."""
    frames = {"frames": batch.frames} if model.clips else {}
    return frames if model.told is None else {**frames, "first_masks_BHW": batch.first_masks_BHW}


def check_masks(model: Model, selection: Selection) -> None:
    """Refuse data without true masks for a model that is told of objects: its first sample is looked at.

    Raises:
        PathProblem: at the initializer, or the model that has a conditional one, if there is no mask.
    """
    if model.told is None or not len(selection):
        return
    source = selection.source
    dataset = selection.base if source is None else source.dataset
    try:
        there = dataset[selection.positions[0]].mask_HW is not None
    except DataError:  # told where it is loaded
        return
    if not there:
        name = type(dataset).__name__ if source is None else source.name
        path: Path = ("model", "initializer") if hasattr(model, "initializer") else ("model",)
        text = (
            f"it is told the {model.told} of objects in a clip's first frame, which are those of true masks"
        )
        hint = "take data with masks, or an initializer that is told nothing, such as learnable"
        raise PathProblem(path, f"{text}, and the dataset '{name}' has none; {hint}")


def cue_cautions(model: Model, spec: ExperimentSpec, slots: int | None, loader: Loader) -> list[str]:
    """Return a warning if a model that is told of objects has too few slots for them, as a sentence.

    Some first frames are looked at, unless the settings of the data say how many objects there are at most:
    then `spec.cautions` warns. Broken frames are skipped: they are told where they are loaded.
    """
    clips, selection = loader.clips, loader.selection
    known = object_limit_of(spec.data.dataset.config) is not None
    if model.told is None or slots is None or clips is None or selection.source is None or known:
        return []
    counts: list[int] = []
    for number in range(0, len(clips), -(-len(clips) // LOOKED_AT)):
        with suppress(DataError):
            mask_HW = mask_of(selection.source.dataset, selection.positions[clips.frames(number)[0]])
            counts += [] if mask_HW is None else [len(torch.unique(mask_HW[mask_HW > 0]))]
    most = max(counts, default=0)
    if most < slots:
        return []
    text = f"up to {most} objects in the {len(counts)} first frames that were looked at, and {slots} slots"
    text = f"{text} are told of {slots - 1}, as slot 0 stands for the ground: {most + 1} or more tell of each"
    return [f"{selection.source.name}: {text}"]


def cues_of(cue: Cue, masks_BHW: Tensor, slots: int) -> Tensor:
    """Return float32 (B, slots, 4 or 2) for true labels: slot i is told of the i-th object in the picture.

    Objects are taken in the order of their labels; the background (0), void, and objects for which there is
    no slot left are not told.
    """
    if masks_BHW.is_meta:  # only shapes are asked for
        return torch.zeros(len(masks_BHW), slots, WIDTHS[cue], device="meta")
    every = [_of_image(cue, mask_HW, slots) for mask_HW in masks_BHW]
    return torch.stack(every)


def _of_image(cue: Cue, mask_HW: Tensor, slots: int) -> Tensor:
    rows, columns = mask_HW.shape
    told_KC = torch.zeros(slots, WIDTHS[cue], device=mask_HW.device)
    names = [name for name in torch.unique(mask_HW).tolist() if name > 0]
    for slot, name in enumerate(names[: slots - 1], start=1):
        y_N, x_N = (mask_HW == name).nonzero(as_tuple=True)
        if cue == "boxes":
            found = [y_N.min() / rows, x_N.min() / columns, (y_N.max() + 1) / rows, (x_N.max() + 1) / columns]
        else:
            found = [(y_N.float().mean() + 0.5) / rows, (x_N.float().mean() + 0.5) / columns]
        told_KC[slot] = torch.stack(found)
    return told_KC
