"""CLEVRTex as its authors evaluate it.

Source: Karazija et al. 2021, "ClevrTex"; `clevrtex_eval.py` of the authors' repository:
scenes by index, test the first tenth, val the second, train the rest; centered crop of
0.8 of the smaller side (192 of 240), then 128 pixels, PIL bilinear for images and nearest
for masks; images in [0, 1]. A scene has at most 10 objects.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "clevrtex-official",
    "CLEVRTex's authors: 192 crop, 128 pixels, PIL, [0, 1], split by index",
    crop=192,
    value_range="unit",
    max_labels=11,
    evaluation={
        "split": "test",
        "metrics": (
            "miou_official",
            "fg_ari",
            "mse_official",
            "ari",
            "miou_pairs",
            "miou_gt",
            "msc_official",
            "dice_official",
            "fg_dice_official",
            "object_count_accuracy",
        ),
        "notes": "The benchmark prints miou_official as mIoU. outd is one test set; of other variants the "
        "test split is the first tenth. Masks are those of the decoder in the models it compares.",
    },
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `clevrtex-official`."""
    yield PROTOCOL
