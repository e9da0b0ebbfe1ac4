"""MOVi's frames as Latent Slot Diffusion scores them: overlaps are averaged over objects, not images.

Source: Jiang et al. 2023, "Object-Centric Slot Diffusion"; its repository's evaluation: frames of 256 pixels
as they are, in [-1, 1]; masks are the attention, at the frames' size; all frames of the validation videos.
Training takes the data's own split: theirs leaves out a tenth of its frames, by which nothing is chosen.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "lsd-movi",
    "Latent Slot Diffusion's MOVi: 256 pixels, overlaps averaged over objects",
    image_size=256,
    max_labels=24,
    splits=dict.fromkeys(("train", "val", "test", "all"), (0.0, 1.0)),
    evaluation={
        "split": "val",
        "masks": "attention",
        "metrics": ("miou_per_object", "mbo_per_object", "fg_ari"),
        "aggregation": "objects",
        "notes": "miou_per_object and mbo_per_object are means over the objects of all images together.",
    },
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `lsd-movi`."""
    yield PROTOCOL
