"""CLEVRTex as FT-DINOSAUR scores it: the centered 240 pixels, seen at 224, scored at 240.

Source: Didolkar et al. 2025, "On the Transfer of Object-Centric Representation Learning": the official
40,000, 5,000 and 5,000 scenes; the largest centered square, squashed to 224 by bicubic interpolation; masks
at the square's own 240 pixels. Not comparable with numbers at 128 pixels.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "ft-dinosaur-clevrtex",
    "FT-DINOSAUR's CLEVRTex: largest square, seen at 224 (bicubic, [0, 1]), scored at 240",
    image_size=224,
    mask_size=240,
    crop="square",
    resize="torch",
    interpolation="bicubic",
    mask_resize="nearest_exact",
    value_range="unit",
    max_labels=11,
    evaluation={"split": "test", "metrics": ("fg_ari", "mbo")},
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `ft-dinosaur-clevrtex`."""
    yield PROTOCOL
