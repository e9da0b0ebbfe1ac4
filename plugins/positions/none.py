"""No position code, for features that already encode their position, such as those of a ViT."""

from collections.abc import Iterable
from typing import ClassVar

from torch import nn

from slotlab.framework.contracts import PositionContext
from slotlab.registry import Component, ComponentConfig, hookimpl


class NoneConfig(ComponentConfig):
    """No settings."""

    EXCEPTIONS: ClassVar = {"a code is added": "it is there for features that know their places already"}


def build_none(config: NoneConfig, context: PositionContext) -> nn.Module:
    """Return the identity."""
    return nn.Identity()


@hookimpl
def slotlab_positions() -> Iterable[Component[NoneConfig]]:
    """Provide `none`."""
    yield Component(name="none", config=NoneConfig, build=build_none, summary="the features as they are")
