"""The whole picture, resized to a square: for generated pictures and for the user's own."""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol("whole", "the whole picture, no crop, in [-1, 1]; PIL; CLEVRTex's official splits")


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `whole`."""
    yield PROTOCOL
