"""CLEVRTex as Latent Slot Diffusion scores it: overlaps are averaged over objects, not images.

Source: Jiang et al. 2023, "Object-Centric Slot Diffusion"; its repository's evaluation: the
largest centered square, 256 pixels, PIL bilinear, images in [-1, 1]; masks are the attention.

Two things differ: their parts of the data are drawn by a shuffle of file names, here they are the
official splits; and they score masks at the picture's 240 pixels, here at the model's 256.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "lsd-per-object",
    "Latent Slot Diffusion: largest square, 256 pixels, overlaps averaged over objects",
    image_size=256,
    crop="square",
    max_labels=11,
    evaluation={
        "split": "test",
        "masks": "attention",
        "metrics": ("miou_per_object", "mbo_per_object", "fg_ari"),
        "aggregation": "objects",
        "notes": "miou_per_object and mbo_per_object are means over the objects of all images together.",
    },
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `lsd-per-object`."""
    yield PROTOCOL
