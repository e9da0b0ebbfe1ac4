"""CLEVRTex as in the object-centric library of Dittadi et al.

Source: Dittadi et al. 2022, "Generalization and Robustness Implications in Object-Centric
Learning", and its repository: crop of 192, 128 pixels, images in [0, 1]; trained on the first
40,000 scenes, tested on 45,000 to 50,000 (validated between), in the order of their index.
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "addtt",
    "Dittadi et al.: 192 crop, 128 pixels, [0, 1], tested on the last tenth",
    crop=192,
    value_range="unit",
    splits={"train": (0.0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0), "all": (0.0, 1.0)},
    max_labels=11,
    evaluation={
        "split": "test",
        "masks": "decoder",
        "metrics": ("fg_ari", "fg_sc", "fg_msc", "mse_unit"),
    },
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `addtt`."""
    yield PROTOCOL
