"""Pascal VOC 2012 as DINOSAUR scores it: short side 224, bicubic, centered; masks at 320, 255 not scored.

Source: as `dinosaur-coco`; trained on `trainaug`, scored on the validation images of the segmentation task.
The masks' label 255, the outline of objects, is ignored: `image_folder` with `void: 255`. SPOT and
SlotDiffusion count it as background instead.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "dinosaur-voc",
    "DINOSAUR's VOC: short side 224, bicubic, centered, [0, 1]; masks at 320",
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
        "metrics": ("fg_ari", "mbo", "corloc"),
        "notes": "mbo is mBO_i. Data: void 255. Its mBO_c needs the categories of objects.",
    },
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `dinosaur-voc`."""
    yield PROTOCOL
