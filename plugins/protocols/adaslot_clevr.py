"""CLEVR as AdaSlot and the object-centric learning framework prepare it: the centered 192 pixels, at 128.

Source: Fan et al. 2024, "Adaptive Slot Attention", and the configurations of its repository
(`configs/experiment/slot_attention`): to tensor, center crop of 192, resized to 128 without antialiasing,
images in [-1, 1], masks by `nearest-exact`; 70,000 pictures to train on, 15,000 to validate and 15,000 to
test. Which pictures these are is not published; here they are in the order of the file.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "adaslot-clevr",
    "AdaSlot's CLEVR: centered 192 pixels at 128, [-1, 1], 70,000 trained on",
    crop=192,
    resize="torch",
    mask_resize="nearest_exact",
    splits={"train": (0, 70_000), "val": (70_000, 85_000), "test": (85_000, 100_000), "all": (0.0, 1.0)},
    evaluation={
        "split": "test",
        "masks": "decoder",
        "metrics": ("fg_ari", "ari", "mbo", "mbo_with_background"),
        "notes": "All pictures, of up to ten objects. The authors' splits are drawn, and not published.",
    },
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `adaslot-clevr`."""
    yield PROTOCOL
