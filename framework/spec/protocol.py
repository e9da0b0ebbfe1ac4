"""Protocols: how pictures are prepared for a model, and how the model is scored, under one name.

Published CLEVRTex numbers differ by crop, split, resize and the definition of metrics as much as
by method. A protocol fixes them all, and every number is reported under its name. It is data: a
component of the kind `protocol` whose settings are those of `ProtocolConfig`.
"""

from collections.abc import Mapping
from copy import copy
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Len
from pydantic import Field, NonNegativeInt, PositiveInt, create_model, field_validator

from slotlab.framework.contracts import Fit, Interpolation, MaskResize, Resize, Size
from slotlab.framework.spec.sides import Side, pair
from slotlab.registry import ClosedModel, Component, ComponentConfig

_Model = TypeVar("_Model", bound=ClosedModel)
Bound = NonNegativeInt | float
"""A position if it is an integer, a fraction of all pictures (0.0 to 1.0) if it has a decimal point."""
Box = Annotated[tuple[NonNegativeInt, NonNegativeInt, PositiveInt, PositiveInt], Len(4, 4)]
OFFICIAL: Mapping[str, tuple[Bound, Bound]] = {
    "train": (0.2, 1.0),
    "val": (0.1, 0.2),
    "test": (0.0, 0.1),
    "all": (0.0, 1.0),
}
"""CLEVRTex's own splits of the scenes by index (`clevrtex_eval.py` of its authors)."""
RANGES: Mapping[str, tuple[float, float]] = {"signed": (-1.0, 1.0), "unit": (0.0, 1.0)}
"""Value ranges by name."""


class ScoringConfig(ClosedModel):
    """How a protocol scores a model: used where an evaluation chooses the protocol by name.

    Metrics are names here, looked up when they are computed, so that a protocol is data alone and
    a new version of a metric does not rename the runs that were trained under the protocol.
    """

    split: str | None = None
    """The split whose images are scored; null for the spec's `evaluation.split`."""
    variant: str | None = None
    """The variant of the data that is scored; null for the one trained on."""
    masks: Literal["decoder", "attention", "both"] | None = None
    """Which masks are scored; null for the spec's `evaluation.mask_source`."""
    metrics: tuple[str | Mapping[str, Any], ...] = ()
    """The protocol's metrics, written as in `evaluation.metrics`; empty for the spec's."""
    aggregation: Literal["images", "objects"] = "images"
    """What totals average over: images for all metrics, or objects for those that are pooled."""
    notes: str = ""
    """What a reader of the numbers should know."""


class ProtocolConfig(ComponentConfig):
    """Settings of a protocol. Changing one changes what numbers mean, so it is reported with them."""

    image_size: Side = 128
    """The images the model sees, in pixels: the side of a square, or [rows, columns]."""
    mask_size: Side | None = None
    """The size at which masks are scored: true masks are kept at it, and a model's masks are brought to it,
    bilinearly; null for the size of the images. Pictures are always compared at the size of the images."""
    crop: PositiveInt | Literal["square"] | Box | None = None
    """What is cut out first: side in pixels of the centered square; `square` for the largest;
    [top, left, height, width]; null squashes the whole picture."""
    fit: Fit = "squash"
    """How what was cut out comes to the size: squashed to it; or, by `cover`, resized in its proportions so
    that its short side has the size, and then cut around its center."""
    resize: Resize = "pil"
    """What resizes: PIL, or torch's interpolate (as torchvision on tensors) without or with antialiasing,
    rounded to 8 bits."""
    interpolation: Interpolation = "bilinear"
    """How images are resized. Bicubic values outside of the range are clipped to it."""
    mask_resize: MaskResize = "nearest"
    """How torch resizes masks: by its plain nearest, half a pixel off, or the exact one. PIL's is exact."""
    value_range: Literal["signed", "unit"] = "signed"
    """Values of the images the model sees: signed is [-1, 1], unit is [0, 1]."""
    splits: Mapping[str, tuple[Bound, Bound]] = OFFICIAL
    """Where each split begins and ends among the sorted pictures: fractions, such as 0.2, or
    positions, such as 70000. For data that has no splits of its own."""
    filter_first: bool = False
    """Filter by the number of objects before the splits are taken, not after."""
    max_labels: PositiveInt | None = None
    """Most values in a mask, the background's included; more are an error. null allows any number."""
    evaluation: ScoringConfig = Field(default={}, validate_default=True)
    """How a model is scored. Changes no training."""

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
    def size(self) -> Size:
        """(rows, columns) of the images the model sees."""
        return pair(self.image_size)

    @property
    def other_mask_size(self) -> Size | None:
        """(rows, columns) at which masks are scored, if they are not those of the images."""
        found = self.size if self.mask_size is None else pair(self.mask_size)
        return None if found == self.size else found

    @property
    def bounds(self) -> tuple[float, float]:
        """The value range as numbers."""
        return RANGES[self.value_range]

    def changes(self) -> dict[str, Any]:
        """Return the settings that differ from the protocol as published."""
        found = _differences(self, type(self)())
        scoring = found.pop("evaluation", {})
        return found | {f"evaluation.{name}": value for name, value in scoring.items() if name != "notes"}

    def part(self, split: str, total: int) -> range:
        """Return the positions of a split among `total` sorted pictures."""
        low, high = (bound if isinstance(bound, int) else int(bound * total) for bound in self.splits[split])
        return range(min(low, total), min(high, total))


def _differences(one: ClosedModel, other: ClosedModel) -> dict[str, Any]:
    found = {}
    for name, value in one.model_dump(mode="json").items():
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs:
            found[name] = _differences(mine, theirs) if isinstance(mine, ClosedModel) else value
    return found


def describe_protocol(name: str, config: ProtocolConfig) -> str:
    """Return a protocol's name for reports: `seed`, or `seed (image_size 64)` if a setting was changed."""
    changes = ", ".join(f"{key} {value}" for key, value in config.changes().items())
    return f"{name} ({changes})" if changes else name


def protocol(name: str, summary: str, **defaults: Any) -> Component[ProtocolConfig]:
    """Return a protocol: `ProtocolConfig` with other defaults; those of `evaluation` are a mapping.

    Call it once, at a plugin's top level, and yield the result from `slotlab_protocols`.
    """
    return Component(
        name=name, config=_with_defaults(ProtocolConfig, defaults), build=as_configured, summary=summary
    )


def _with_defaults(base: type[_Model], defaults: Mapping[str, Any]) -> type[_Model]:
    # A section gets a class of its own: a spec that changes one of its settings keeps the others.
    fields: dict[str, Any] = {}
    for key, value in defaults.items():
        field = copy(base.model_fields[key])
        if isinstance(field.annotation, type) and issubclass(field.annotation, ClosedModel):
            fields[key] = (_with_defaults(field.annotation, value), field)
            continue
        field.default = value
        fields[key] = (field.annotation, field)
    return create_model(base.__name__, __base__=base, __doc__=base.__doc__, **fields)


def as_configured(config: ProtocolConfig, context: None) -> ProtocolConfig:
    """Return the settings, which are the protocol."""
    return config
