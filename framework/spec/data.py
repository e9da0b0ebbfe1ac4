"""The section of a spec that says what is read. Nothing is built here: this is data only."""

from typing import Annotated, Literal

from annotated_types import Gt, Le, Lt
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from slotlab.framework.contracts import Counting, Size
from slotlab.framework.contracts.dataset_settings import is_rendered
from slotlab.framework.spec.paths import SpecPath
from slotlab.framework.spec.protocol import RANGES, ProtocolConfig, describe_protocol
from slotlab.registry import ClosedModel, Ref, RefTo
from slotlab.registry.component import custom_error


class FilterSpec(ClosedModel):
    """Which pictures are kept, by their number of objects. The background is not an object."""

    max_objects: PositiveInt | None = None
    """Most objects in a picture: 6 for CLEVRTex6; null for any number."""
    min_objects: NonNegativeInt = 0
    """Fewest objects in a picture."""
    count: Counting
    """How objects are counted: `metadata` (all that the data lists), `mask_colors` (values in the
    whole mask, less one) or `visible` (values left after the crop, less one)."""

    @model_validator(mode="after")
    def _something_left(self) -> "FilterSpec":
        if self.max_objects is not None and self.max_objects < self.min_objects:
            text = f"no number is at least {self.min_objects} and at most {self.max_objects}"
            raise custom_error("empty_filter", f"{text}; raise max_objects or lower min_objects")
        return self

    def allows(self, number: int) -> bool:
        """Return whether a picture with so many objects is kept."""
        return self.min_objects <= number and (self.max_objects is None or number <= self.max_objects)

    def __str__(self) -> str:
        most = "or more" if self.max_objects is None else f"to {self.max_objects}"
        return f"{self.min_objects} {most} objects by {self.count}"


class ClipSpec(ClosedModel):
    """Which frames of a video make a clip, the sample that a training sees."""

    frames: PositiveInt
    """Frames in a clip: 6 in SAVi and SlotFormer, 4 in VideoSAUR, 3 in STEVE."""
    stride: PositiveInt = 1
    """How far apart they are in the video, also at evaluation."""
    start: Literal["all", "aligned", "random", "first"] = "random"
    """Where clips begin: at every frame, each a sample of its own (SlotFormer); one after the other (SAVi);
    at one random frame of each video in each epoch (VideoSAUR); or at the first frame."""


class AugmentationSpec(ClosedModel):
    """Random changes of training images, made on the device. They depend on seed, epoch and image."""

    flip: bool = False
    """Mirror half of the images left to right."""
    crop: Annotated[float, Gt(0), Le(1)] = 1.0
    """Cut out a random square with this part of the side, and bring it back to full size."""
    window: Literal["center", "random"] = "center"
    """What a protocol with `fit: cover` cuts out of a resized picture: its center, or another part in every
    epoch. Random parts are cut when files are read: packed stores hold the center alone and are not used."""


class DataSpec(ClosedModel):
    """What is read, and how it is brought to the model."""

    dataset: Annotated[Ref, RefTo("dataset")]
    """The dataset and its settings."""
    protocol: Annotated[Ref, RefTo("protocol")] = Field(default="whole", validate_default=True)
    """How pictures are split, cropped, resized and scaled. Numbers are reported under its name."""
    filter: FilterSpec | None = None
    """Which pictures are kept, by their number of objects; null keeps all."""
    clip: ClipSpec | None = None
    """For videos: the clips that are trained on; null for frames as single pictures."""
    value_range: Literal["signed", "unit"] | None = None
    """Values of the images the model sees, [-1, 1] or [0, 1]; null for the protocol's."""
    seed: Annotated[NonNegativeInt, Lt(2**63)] = 0
    """Seeds generated pictures, which do not depend on the training's `seed`."""
    augmentation: AugmentationSpec = Field(default={}, validate_default=True)
    """Random changes of training images; none by default."""
    train_split: str = "train"
    """The split to train on."""
    on_error: Literal["fail", "skip"] = "fail"
    """What to do about broken pictures: stop, or leave them out and list them in the run's provenance."""
    store: Literal["auto", "required", "off"] = "auto"
    """Whether to read from a packed store (`slotlab data pack`): if there is one; always; never."""
    features: Literal["full", "half"] = "full"
    """A frozen encoder's features: as it computes them, or rounded to 16 bits, so that a store can hold them
    (`slotlab data pack --features`). Rounding changes trained weights: it is part of a run's identity."""
    targets: Literal["full", "half"] = "full"
    """A frozen codec's latents or tokens, which the objective predicts: as it computes them, or as a store
    holds them (`slotlab data pack --targets`), computed in float32 and latents rounded to 16 bits. Rounding
    changes trained weights: it is part of a run's identity."""
    feature_store: Literal["auto", "required", "off"] = "auto"
    """Whether half features and targets, and slots of a run (`slotlab extract`), are read from a store: if
    there is one; always; never. It changes no number."""
    stores: SpecPath | None = None
    """The folder of packed stores; null for $SLOTLAB_STORES, or ~/.cache/slotlab/stores."""
    resident: Literal["auto", "yes", "no"] = "auto"
    """Whether a store is held in the device's memory whole: on a GPU if it fills at most half of it."""
    workers: NonNegativeInt = 0
    """Processes that read files ahead; 0 reads in the main process. Does not change results."""

    @model_validator(mode="after")
    def _protocol_is_one(self) -> "DataSpec":
        if not isinstance(self.protocol.config, ProtocolConfig):
            text = f"'{self.protocol.name}' is not made by slotlab.images.protocol, which every protocol is"
            raise custom_error("protocol_config", text)
        return self

    @model_validator(mode="after")
    def _window_is_a_part(self) -> "DataSpec":
        if self.augmentation.window == "center":
            return self
        if self.settings.fit != "cover" or is_rendered(self.dataset.config):
            text = "augmentation.window: random needs pictures that are cut after they were resized"
            hint = "a protocol with 'fit: cover', and data that is read from files"
            raise custom_error("window", f"{text}: {hint}")
        if self.store == "required":
            text = "a packed store holds the center of each picture alone"
            hint = "augmentation.window: random reads files; write 'store: auto'"
            raise custom_error("window", f"{text}: {hint}")
        return self

    @property
    def settings(self) -> ProtocolConfig:
        """The protocol's settings."""
        assert isinstance(self.protocol.config, ProtocolConfig)
        return self.protocol.config

    @property
    def size(self) -> Size:
        """(rows, columns) of the images the model sees, in pixels."""
        return self.settings.size

    @property
    def mask_size(self) -> Size | None:
        """(rows, columns) at which masks are scored, in pixels; None where they are those of the images."""
        return self.settings.other_mask_size

    @property
    def frames(self) -> int:
        """How many frames a sample of the training has; 1 for pictures."""
        return 1 if self.clip is None else self.clip.frames

    @property
    def bounds(self) -> tuple[float, float]:
        """The value range of the images the model sees."""
        return RANGES[self.range_name]

    @property
    def range_name(self) -> Literal["signed", "unit"]:
        """The name of that range."""
        return self.value_range or self.settings.value_range

    @property
    def protocol_name(self) -> str:
        """The protocol as a report names it, with the settings that were changed."""
        return describe_protocol(self.protocol.name, self.settings)
