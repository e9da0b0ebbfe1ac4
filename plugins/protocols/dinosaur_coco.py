"""COCO as DINOSAUR scores it: short side 224, bicubic, centered; masks at 320.

Source: Seitzer et al. 2023, "Bridging the Gap to Real-World Object-Centric Learning", and the
configurations of its object-centric learning framework: to tensor, short side 224 by bicubic interpolation
without antialiasing, clamped to [0, 1], center crop; instance masks with a short side of 320 by
`nearest-exact`, center crop of 320. Pixels of several instances are not scored; crowds are removed.

What belongs to the data is a setting of the data: `coco_panoptic` with the JSONs of instances, `overlaps:
void` and `crowds: background`. Images here are rounded to 8 bits, and normalized by the encoder.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "dinosaur-coco",
    "DINOSAUR's COCO: short side 224, bicubic, centered, [0, 1]; masks at 320",
    image_size=224,
    mask_size=320,
    fit="cover",
    resize="torch",
    interpolation="bicubic",
    mask_resize="nearest_exact",
    value_range="unit",
    splits=dict.fromkeys(("train", "val", "test", "all"), (0.0, 1.0)),
    evaluation={
        "split": "val",
        "metrics": ("fg_ari", "mbo", "mbo_class", "corloc"),
        "notes": "mbo is mBO_i, mbo_class is mBO_c. Data: overlaps void, crowds background.",
    },
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `dinosaur-coco`."""
    yield PROTOCOL
