"""CLEVRTex as SlotDiffusion reads it with the split files that its repository ships.

Source: Wu et al. 2023, "SlotDiffusion"; `splits/CLEVRTex/full` of its repository, whose entries are the
scenes' true indices: with these files the splits are the official ones, and a filter leaves them as they
are. Without the files, or with a filter by `max_obj`, scenes are numbered anew in the file system's order,
which is the protocol `slotdiffusion` (here in the order of their index, since that of a file system cannot
be repeated).
"""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "slotdiffusion-shipped",
    "SlotDiffusion with its split files: 192 crop, 128 pixels, torch resize, [-1, 1]; official splits",
    crop=192,
    resize="torch",
    max_labels=11,
    evaluation={
        "split": "test",
        "metrics": ("fg_ari", "miou_gt", "fg_miou_gt", "mbo", "ari", "mse_official"),
        "notes": "Scored as slotdiffusion; only a filter makes them differ.",
    },
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `slotdiffusion-shipped`."""
    yield PROTOCOL
