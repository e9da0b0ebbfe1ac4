"""CLEVRTex as SlotDiffusion reads it.

Source: Wu et al. 2023, "SlotDiffusion"; its repository's CLEVRTex dataset and transforms, without the split
files that it ships or with a filter (`slotdiffusion-shipped` is with the files): images are filtered by the
values left in the cropped mask before they are split, and the first tenth of what is left is the test set.
Crop of 192, then 128 pixels by torchvision's resize of tensors (without antialiasing at that time), images
in [-1, 1].

Two things cannot be repeated: their order is that of the file system, here by index; and their float images
are rounded to 8 bits here, by at most half a step of 1/255.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "slotdiffusion",
    "SlotDiffusion: 192 crop, 128 pixels, torch resize, [-1, 1]; filter before split",
    crop=192,
    resize="torch",
    filter_first=True,
    max_labels=11,
    evaluation={
        "split": "test",
        "metrics": ("fg_ari", "miou_gt", "fg_miou_gt", "mbo", "ari", "mse_official"),
        "notes": "Masks are the attention of the slots, for slot attention with a mixture decoder those of "
        "the decoder. Its mIoU is miou_gt, with the background; fmIoU is fg_miou_gt.",
    },
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `slotdiffusion`."""
    yield PROTOCOL
