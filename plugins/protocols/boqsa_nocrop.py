"""CLEVRTex as BO-QSA reads it: no crop, 4:3 pictures squashed to squares.

Source: Jia et al. 2023, "Improving Object-centric Learning with Query Optimization"; its
repository's CLEVRTex loader: the official splits, 128 pixels, images in [-1, 1]. Its MSE is
the mean times rows times columns, 4/3 of the official sum.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "boqsa-nocrop",
    "BO-QSA: no crop, squashed to 128 pixels, PIL, [-1, 1], split by index",
    max_labels=11,
    evaluation={
        "split": "test",
        "masks": "decoder",
        "metrics": ("fg_ari", "ari", "fg_msc", "mse_boqsa"),
        "notes": "Its checkpoints were chosen by fg_ari on the validation images, with labels.",
    },
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `boqsa-nocrop`."""
    yield PROTOCOL
