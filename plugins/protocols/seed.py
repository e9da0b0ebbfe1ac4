"""CLEVRTex as in the report that slotlab starts from.

Source: H. Goyal, "COL775: Slot Attention" (2024): centered crop of 192, then 128 pixels, PIL
bilinear for images and nearest for masks, images in [-1, 1]. Its copy of the data was
flat folders of pictures and RGB masks, train and val apart, whose distinct colors are
the objects: that is the dataset `clevrtex_flat`. The official tree, read under this
protocol, keeps the official splits.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "seed",
    "the reference report: 192 crop, 128 pixels, PIL, [-1, 1]",
    crop=192,
    max_labels=11,
    evaluation={
        "split": "val",
        "masks": "decoder",
        "metrics": ("ari", "mse_seed"),
        "notes": "The report gives the mean of ari over the validation images, and its maximum.",
    },
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `seed`."""
    yield PROTOCOL
