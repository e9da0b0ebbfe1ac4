"""CLEVR as in the Slot Attention paper.

Source: Locatello et al. 2020, section E.1 and `slot_attention/data.py` of its repository: rows
29 to 221 and columns 64 to 256 of the 320x240 picture, then 128 pixels bilinear, images in
[-1, 1]; the first 70,000 are trained on, the 320 after them tested. CLEVR6 keeps pictures of
at most six objects, by `filter: {max_objects: 6, count: mask_colors}`.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "clevr6",
    "the Slot Attention paper's CLEVR: fixed crop, 128 pixels, [-1, 1], 70,000 trained on",
    crop=(29, 64, 192, 192),
    resize="torch",
    splits={"train": (0, 70_000), "val": (70_000, 70_320), "test": (70_000, 70_320), "all": (0.0, 1.0)},
    filter_first=True,
    evaluation={
        "split": "test",
        "masks": "decoder",
        "metrics": ("fg_ari",),
        "notes": "320 images after those trained on.",
    },
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `clevr6`."""
    yield PROTOCOL
