"""CLEVRTex as ObjectCentricBench uses it: trained on all, tested out of distribution.

Source: Zhao et al., the repositories of SmoothSA and VQ-VFM-OCL: the largest centered square,
256 pixels; the split `train` is all of the full variant, and `val` and `test` are all of
`outd`, which is chosen by `data.dataset.variant`. Encoders that take 224 pixels resize from
there. Images in [-1, 1] here; theirs are scaled by ImageNet's mean and deviation.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "ocb-ood",
    "ObjectCentricBench: largest square, 256 pixels, every split is all pictures",
    image_size=256,
    crop="square",
    splits=dict.fromkeys(("train", "val", "test", "all"), (0.0, 1.0)),
    max_labels=11,
    evaluation={
        "split": "test",
        "variant": "outd",
        "metrics": ("ari", "fg_ari", "mbo_with_background", "miou_gt"),
        "notes": "Trained on all of the full variant, scored on all of outd. Masks are the decoder's "
        "attention or alpha masks.",
    },
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `ocb-ood`."""
    yield PROTOCOL
