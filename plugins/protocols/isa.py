"""CLEVRTex as Invariant Slot Attention reads it.

Source: Biza et al. 2023, "Invariant Slot Attention"; its repository's dataset builder and
configurations: the official numbers of scenes by index, crop of 192, then 128 pixels
bilinear, images in [-1, 1]. Variants other than the full set are used whole there: ask for
the split `all`. Their resize is TensorFlow's, which does not antialias; torch's plain
interpolation computes the same.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "isa",
    "Invariant Slot Attention: 192 crop, 128 pixels, plain bilinear, [-1, 1]",
    crop=192,
    resize="torch",
    max_labels=11,
    evaluation={
        "split": "test",
        "masks": "decoder",
        "metrics": ("fg_ari",),
        "notes": "Variants other than the full set are used whole: --split all.",
    },
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `isa`."""
    yield PROTOCOL
