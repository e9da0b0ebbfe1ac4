"""COCO as SPOT scores it: short side 224, bilinear, centered, by PIL; masks at 320.

Source: Kakogeorgiou et al. 2024, "SPOT: Self-Training with Patch-Order Permutation", and its repository's
`datasets.py`. Crowds are instances; pixels of several instances are not scored.

What belongs to the data is a setting of the data: `coco_panoptic` with the JSONs of instances, `overlaps:
void` and `crowds: objects`.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "spot-coco",
    "SPOT's COCO: short side 224, PIL bilinear, centered, [0, 1]; masks at 320",
    image_size=224,
    mask_size=320,
    fit="cover",
    value_range="unit",
    splits=dict.fromkeys(("train", "val", "test", "all"), (0.0, 1.0)),
    evaluation={
        "split": "val",
        "metrics": ("fg_ari", "mbo", "mbo_class"),
        "notes": "mbo is mBO_i, mbo_class is mBO_c. Data: overlaps void, crowds objects.",
    },
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `spot-coco`."""
    yield PROTOCOL
