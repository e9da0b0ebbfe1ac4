"""Protocols: what is done to pictures before a model sees them, under one name.

Published CLEVRTex numbers differ by crop, split and resize as much as by method. A
protocol fixes them all, and every number is reported under its name. It is data: a
component of the kind `protocol` whose settings are those of `ProtocolConfig`.
"""

from collections.abc import Mapping
from copy import copy
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import NonNegativeInt, PositiveInt, create_model, field_validator

from slotlab.framework.preparation import Preparation
from slotlab.registry import Component, ComponentConfig

Bound = NonNegativeInt | float
"""A position if whole, a part of all (0.0 to 1.0) if it has a decimal point."""
Box = Annotated[tuple[NonNegativeInt, NonNegativeInt, PositiveInt, PositiveInt], Len(4, 4)]
OFFICIAL: Mapping[str, tuple[Bound, Bound]] = {
    "train": (0.2, 1.0),
    "val": (0.1, 0.2),
    "test": (0.0, 0.1),
    "all": (0.0, 1.0),
}
"""CLEVRTex's own splits of the scenes by index (`clevrtex_eval.py` of its authors)."""


class ProtocolConfig(ComponentConfig):
    """Settings of a protocol. Changing one changes what numbers mean; it is reported with them."""

    image_size: PositiveInt = 128
    """Rows and columns of the images the model sees, in pixels."""
    crop: PositiveInt | Literal["square"] | Box | None = None
    """What is cut out first: side in pixels of the centered square; `square` for the largest;
    [top, left, height, width]; null squashes the whole picture."""
    resize: Literal["pil", "torch", "torch_antialias"] = "pil"
    """Who resizes, bilinear for images, nearest for masks: PIL, or torch's interpolate (as
    torchvision on tensors) without or with antialiasing, rounded to 8 bits."""
    value_range: Literal["signed", "unit"] = "signed"
    """Values of the images the model sees: signed is [-1, 1], unit is [0, 1]."""
    splits: Mapping[str, tuple[Bound, Bound]] = OFFICIAL
    """From and up to which of the sorted pictures each split goes: parts of all, such as
    0.2, or positions, such as 70000. For data that has no splits of its own."""
    filter_first: bool = False
    """Filter by the number of objects before the splits are taken, not after."""
    max_labels: PositiveInt | None = None
    """Most values in a mask, the ground's included; more is an error. null allows any number."""

    @field_validator("splits")
    @classmethod
    def _ordered(cls, value: Mapping[str, tuple[Bound, Bound]]) -> Mapping[str, tuple[Bound, Bound]]:
        for name, bounds in value.items():
            if any(isinstance(bound, float) and not 0 <= bound <= 1 for bound in bounds):
                raise ValueError(f"{name}: parts go from 0.0 to 1.0, got {list(bounds)}")
            if type(bounds[0]) is type(bounds[1]) and bounds[0] >= bounds[1]:
                raise ValueError(f"{name}: from {bounds[0]} up to {bounds[1]} there is nothing")
        return value

    @property
    def bounds(self) -> tuple[float, float]:
        """The value range as numbers."""
        return (-1.0, 1.0) if self.value_range == "signed" else (0.0, 1.0)

    @property
    def preparation(self) -> Preparation:
        """What is done to each picture."""
        size = (self.image_size, self.image_size)
        return Preparation(size=size, crop=self.crop, resize=self.resize, max_labels=self.max_labels)

    def changes(self) -> dict[str, Any]:
        """Return the settings that differ from the protocol as published."""
        default = type(self)()
        data = self.model_dump(mode="json")
        return {name: value for name, value in data.items() if getattr(self, name) != getattr(default, name)}

    def part(self, split: str, total: int) -> range:
        """Return the positions of a split among `total` sorted pictures."""
        low, high = (bound if isinstance(bound, int) else int(bound * total) for bound in self.splits[split])
        return range(min(low, total), min(high, total))


def describe_protocol(name: str, config: ProtocolConfig) -> str:
    """Name a protocol for a report: `seed`, or `seed (image_size 64)` if a setting was changed."""
    changes = ", ".join(f"{key} {value}" for key, value in config.changes().items())
    return f"{name} ({changes})" if changes else name


def protocol(name: str, summary: str, **defaults: Any) -> Component[ProtocolConfig]:
    """Make a protocol: `ProtocolConfig` with other defaults.

    Call it once, at a plugin's top level, and yield the result from `slotlab_protocols`.
    """
    fields: dict[str, Any] = {}
    for key, value in defaults.items():
        field = copy(ProtocolConfig.model_fields[key])
        field.default = value
        fields[key] = (field.annotation, field)
    config = create_model("ProtocolConfig", __base__=ProtocolConfig, **fields)
    return Component(name=name, config=config, build=as_configured, summary=summary)


def as_configured(config: ProtocolConfig, context: None) -> ProtocolConfig:
    """Return the settings, which are the protocol."""
    return config
