"""MOVi-C and MOVi-E as DINOSAUR scores them: squashed to 224, bicubic; masks at 128.

Source: as `dinosaur-coco`. The videos' own frames and masks have 128 pixels. Its transformer decoder is
scored by the masks of slot attention here, its MLP decoder by its own.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "dinosaur-movi",
    "DINOSAUR's MOVi: squashed to 224, bicubic, [0, 1]; masks at 128",
    image_size=224,
    mask_size=128,
    resize="torch",
    interpolation="bicubic",
    mask_resize="nearest_exact",
    value_range="unit",
    splits=dict.fromkeys(("train", "val", "test", "all"), (0.0, 1.0)),
    evaluation={"split": "val", "metrics": ("fg_ari", "mbo"), "notes": "mbo is mBO_i."},
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `dinosaur-movi`."""
    yield PROTOCOL
