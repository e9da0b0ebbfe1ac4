"""Where objects are, made of true masks: what initializers of conditional models are told.

Source: Kipf et al. 2022 (SAVi), section 3 and code: boxes (top, left, bottom, right) and centers of mass
(row, column), each in [0, 1]. Slot 0 is told of nothing, and stands for the ground; nor are spare slots.
"""

from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import Batch, Cue, Model

WIDTHS = {"boxes": 4, "centers": 2}
"""How many numbers an object has, by cue."""


def told(model: Model, batch: Batch) -> dict[str, Any]:
    """Return what a model of clips is told besides the images, as arguments of `reconstruct`."""
    frames = {"frames": batch.frames} if model.clips else {}
    return frames if model.told is None else {**frames, "first_masks_BHW": batch.first_masks_BHW}


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
