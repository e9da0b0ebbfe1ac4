"""The benchmark `bench` at 32 pixels, for trainings of minutes on a CPU: its test pictures and metrics."""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "bench-small",
    "the benchmark `bench` at 32 pixels, [-1, 1]: 500 pictures of `test`",
    image_size=32,
    evaluation={"split": "test", "metrics": ("ari", "fg_ari", "mbo", "mse")},
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `bench-small`."""
    yield PROTOCOL
