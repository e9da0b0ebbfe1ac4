"""COCO as SlotDiffusion scores it: short side 224, bilinear, centered, [-1, 1]; masks at 224.

Source: Wu et al. 2023, "SlotDiffusion", and its repository's COCO dataset: OpenCV's linear resize, which
does not antialias, as torch's plain interpolation does not, and its nearest one for masks. CODA scores at
512: set `image_size: 512`.

Where instances overlap, it calls the truth background and the prediction a new segment: without the
background's own overlap that is the same as not to score these pixels (`coco_panoptic` with `overlaps:
void`). Crowds are left out (`crowds: background`). Training leaves out images without annotation, here all
are kept. In a crop without background its labels make an object the background; here none is.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "slotdiffusion-coco",
    "SlotDiffusion's COCO: short side 224, plain bilinear, centered, [-1, 1]; masks at 224",
    image_size=224,
    fit="cover",
    resize="torch",
    splits=dict.fromkeys(("train", "val", "test", "all"), (0.0, 1.0)),
    evaluation={
        "split": "val",
        "metrics": ("fg_ari", "fg_miou_gt", "mbo", "mbo_class"),
        "notes": "mbo is mBO_i, mbo_class mBO_c, fg_miou_gt fmIoU. Data: overlaps void, crowds background.",
    },
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `slotdiffusion-coco`."""
    yield PROTOCOL
