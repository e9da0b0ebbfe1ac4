"""The benchmark `bench` at 128 pixels, for trainings on a GPU: its test pictures and metrics."""

from collections.abc import Iterable

from slotlab.framework.spec.protocol import ProtocolConfig, protocol
from slotlab.registry import Component, hookimpl

PROTOCOL = protocol(
    "bench-full",
    "the benchmark `bench` at 128 pixels, [-1, 1]: 500 pictures of `test`",
    image_size=128,
    evaluation={"split": "test", "metrics": ("ari", "fg_ari", "mbo", "mse")},
)


@hookimpl
def slotlab_protocols() -> Iterable[Component[ProtocolConfig]]:
    """Provide `bench-full`."""
    yield PROTOCOL
