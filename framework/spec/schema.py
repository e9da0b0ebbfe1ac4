"""The typed sections of an experiment spec. Nothing is built here: this is data only."""

from collections.abc import Mapping
from typing import Annotated, Literal

from annotated_types import Gt, Le, Len, Lt
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    model_validator,
)

from slotlab.framework.contracts import MaskSource
from slotlab.framework.paths import SpecPath
from slotlab.framework.preparation import Counting
from slotlab.framework.protocol import RANGES, ProtocolConfig, describe_protocol
from slotlab.registry import ClosedModel, Ref, RefTo
from slotlab.registry.component import custom_error

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
HALVES = "halves"
"""The floor of a set metric without a split of its own."""
MetricRefs = Annotated[tuple[Annotated[Ref, RefTo("metric")], ...], Len(1)]


class FilterSpec(ClosedModel):
    """Which pictures are kept, by their number of objects. The ground is no object."""

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


class AugmentationSpec(ClosedModel):
    """Random changes of training images, made on the device. They depend on seed, epoch and image."""

    flip: bool = False
    """Mirror half of the images left to right."""
    crop: Annotated[float, Gt(0), Le(1)] = 1.0
    """Cut out a random square with this part of the side, and bring it back to full size."""


class DataSpec(ClosedModel):
    """What is read, and how it is brought to the model."""

    dataset: Annotated[Ref, RefTo("dataset")]
    """The dataset and its settings."""
    protocol: Annotated[Ref, RefTo("protocol")] = Field(default="whole", validate_default=True)
    """How pictures are split, cropped, resized and scaled. Numbers are reported under its name."""
    filter: FilterSpec | None = None
    """Which pictures are kept, by their number of objects; null keeps all."""
    value_range: Literal["signed", "unit"] | None = None
    """Values of the images the model sees, [-1, 1] or [0, 1]; null for the protocol's."""
    augmentation: AugmentationSpec = Field(default={}, validate_default=True)
    """Random changes of training images; none by default."""
    train_split: str = "train"
    """The split to train on."""
    on_error: Literal["fail", "skip"] = "fail"
    """What to do about broken pictures: stop, or leave them out and list them in the run's provenance."""
    store: Literal["auto", "required", "off"] = "auto"
    """Whether to read from a packed store (`slotlab data pack`): if there is one; always; never."""
    stores: SpecPath | None = None
    """The folder of packed stores; null for $SLOTLAB_STORES, or ~/.cache/slotlab/stores."""
    resident: Literal["auto", "yes", "no"] = "auto"
    """Whether a store is held in the device's memory whole: on a GPU if it fills at most half of it."""
    workers: NonNegativeInt = 0
    """Processes that read files ahead; 0 reads in the main process. Does not change results."""

    @model_validator(mode="after")
    def _protocol_is_one(self) -> "DataSpec":
        if not isinstance(self.protocol.config, ProtocolConfig):
            text = (
                f"the settings of '{self.protocol.name}' are no ProtocolConfig (slotlab.framework.protocol)"
            )
            raise custom_error("protocol_config", text)
        return self

    @property
    def settings(self) -> ProtocolConfig:
        """The protocol's settings."""
        assert isinstance(self.protocol.config, ProtocolConfig)
        return self.protocol.config

    @property
    def image_size(self) -> int:
        """Rows and columns of the images the model sees, in pixels."""
        return self.settings.image_size

    @property
    def bounds(self) -> tuple[float, float]:
        """The value range of the images the model sees."""
        return RANGES[self.range_name]

    @property
    def range_name(self) -> Literal["signed", "unit"]:
        """That range by name."""
        return self.value_range or self.settings.value_range

    @property
    def protocol_name(self) -> str:
        """The protocol as a report names it, with the settings that were changed."""
        return describe_protocol(self.protocol.name, self.settings)


class ProjectionSpec(ClosedModel):
    """From the encoder's features to tokens: position code, LayerNorm, two linear maps."""

    position: Annotated[Ref, RefTo("position")] = Field(default="linear_grid", validate_default=True)
    """The position code added to the features."""
    hidden_dim: PositiveInt | None = None
    """Width between the two linear maps; None for `dim`."""
    dim: PositiveInt | None = None
    """Width of the tokens; None for the slots' width."""
    layer_norm_eps: PositiveFloat = 1e-5
    """Epsilon of the LayerNorm; 1e-3 for Keras's default."""


class ModelSpec(ClosedModel):
    """Encoder, projection to tokens, initial slots, grouping, decoder."""

    slots: PositiveInt
    """Number of slots: at least one more than there are objects, for the background."""
    slot_dim: PositiveInt = 64
    """Width of a slot."""
    encoder: Annotated[Ref, RefTo("encoder")]
    """From images to a feature map."""
    projection: ProjectionSpec = Field(default={}, validate_default=True)
    """From the feature map to tokens."""
    initializer: Annotated[Ref, RefTo("initializer")]
    """The slots before the first iteration."""
    grouping: Annotated[Ref, RefTo("grouping")]
    """From tokens and initial slots to slots."""
    decoder: Annotated[Ref, RefTo("decoder")]
    """From slots to a prediction and masks."""
    weight_init: Literal["torch", "keras"] = "torch"
    """How the weights of convolutions, linear maps and GRU cells are drawn: as torch does, or as Keras
    (Glorot-uniform, orthogonal recurrent weights, zero biases), on which the Slot Attention paper relies."""


class PhaseSpec(ClosedModel):
    """A stretch of training with one peak learning rate and one schedule."""

    epochs: PositiveInt | None = None
    """Length in passes over the training split; give this or `steps`."""
    steps: PositiveInt | None = None
    """Length in optimizer steps; give this or `epochs`."""
    lr: PositiveFloat
    """The learning rate that the schedule starts from."""
    schedule: Annotated[Ref, RefTo("schedule")] = Field(default="constant", validate_default=True)
    """How the learning rate goes on from `lr`."""
    interval: Literal["epoch", "step"] = "step"
    """How often the schedule is stepped."""
    optimizer_state: Literal["fresh", "kept"] = "fresh"
    """Whether the optimizer starts anew or keeps the moments of the phase before."""

    @model_validator(mode="after")
    def _one_length(self) -> "PhaseSpec":
        if (self.epochs is None) == (self.steps is None):
            raise custom_error("phase_length", "give the phase either 'epochs' or 'steps'")
        return self


class SpeedSpec(ClosedModel):
    """How fast, not what: none of these changes results beyond the rounding of floating point."""

    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Layout of images and weights; auto is channels last."""
    keep_memory: bool = True
    """Whether memory that a step frees on a CPU is kept for the next one (where the C library is glibc)."""
    compile: Literal["off", "default", "reduce-overhead", "max-autotune"] = "off"
    """Mode of torch.compile for encoder, grouping and decoder; `reduce-overhead` uses CUDA graphs. Where
    compiling fails the reason is printed, and training goes on without."""
    fused: Literal["auto", "yes", "no"] = "auto"
    """Whether the optimizer runs in one kernel; auto is yes on a GPU."""
    matmul: Literal["highest", "high", "medium"] = "high"
    """Precision of float32 matrix products on a GPU: `high` allows TF32 (10 bits of mantissa)."""
    recompute: tuple[Literal["encoder", "grouping", "decoder"], ...] = ()
    """Parts whose activations are computed again in the backward pass: less memory, more time."""


class GroupSpec(ClosedModel):
    """Other training settings for some of the weights."""

    weights: Annotated[tuple[str, ...], Len(1)]
    """Parts of the model, or prefixes of weights' names: `encoder`, `decoder.layers.0`."""
    lr_factor: NonNegativeFloat = 1.0
    """Times the phase's rate."""
    weight_decay: NonNegativeFloat | None = None
    """In place of the optimizer's; None for that."""
    frozen: bool = False
    """These weights are not trained."""


class AnnealSpec(ClosedModel):
    """A setting of a component that changes during training, step by step."""

    start: float
    """Value at the first step."""
    end: float
    """Value from step `steps` on."""
    steps: PositiveInt
    """How long it takes."""
    shape: Literal["linear", "cosine", "exponential"] = "linear"
    """The way from start to end; exponential needs both of one sign."""


class CheckpointSpec(ClosedModel):
    """When the state of a training is saved, and what is kept. Does not change results."""

    every_epochs: PositiveInt | None = 1
    """Epochs between two checkpoints; None does not count them."""
    every_steps: PositiveInt | None = None
    """Steps between two checkpoints; None does not count them."""
    every_minutes: PositiveFloat | None = 10.0
    """Minutes after which one is written whatever the step; None never."""
    keep: PositiveInt = 2
    """How many of the newest are kept."""
    best: str | None = None
    """Keep the best one too: by `loss`, or a metric of `evaluation.metrics`, on the evaluation split."""


class TrainingSpec(ClosedModel):
    """How the model is trained."""

    batch_size: PositiveInt
    """Images in one optimizer step."""
    phases: Annotated[tuple[PhaseSpec, ...], Len(1)]
    """Trained one after the other; each continues from the weights of the one before."""
    optimizer: Annotated[Ref, RefTo("optimizer")] = Field(default="adam", validate_default=True)
    """The optimizer of every phase."""
    clip_norm: PositiveFloat | None = None
    """Greatest norm of the gradient over all weights; None does not clip."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """What the forward pass computes in; weights and optimizer stay in float32. float16 needs a GPU."""
    accumulate: PositiveInt = 1
    """Parts in which a batch is passed through one after the other, to save memory."""
    groups: tuple[GroupSpec, ...] = ()
    """Other rates, or none, for some of the weights; the first group that names a weight has it."""
    anneal: Mapping[str, AnnealSpec] = {}
    """Settings that change during training, by the path of the attribute: `initializer.sigma`.
    Its component declares it as `schedulable`."""
    sync_batchnorm: bool = False
    """Whether batch statistics are taken over the batches of all GPUs."""
    ema_decay: Annotated[float, Gt(0), Lt(1)] | None = None
    """Decay of a running mean of the weights, which is then evaluated; None for no mean."""
    explosion: Annotated[float, Gt(1)] = 1000.0
    """A mean loss so many times the lowest so far stops the training."""
    speed: SpeedSpec = Field(default={}, validate_default=True)
    """How fast it runs."""
    checkpoint: CheckpointSpec = Field(default={}, validate_default=True)
    """When the state is saved."""
    log_every: PositiveInt = 50
    """Steps between two lines of metrics.jsonl."""
    validate_every: PositiveInt = 1
    """Epochs between two looks at the loss on the evaluation split."""
    trackers: tuple[Annotated[Ref, RefTo("tracker")], ...] = ()
    """Who else is told what is logged, such as `tensorboard`. Does not change results."""

    @model_validator(mode="after")
    def _something_to_keep(self) -> "TrainingSpec":
        if self.phases[0].optimizer_state == "kept":
            raise custom_error("first_phase", "the first phase has no optimizer state to keep; write 'fresh'")
        return self


class CompositionSpec(ClosedModel):
    """New pictures from the slots of a split, and how they are measured against real ones."""

    library: str = "val"
    """The split whose slots are grouped by k-means."""
    library_images: PositiveInt | None = None
    """Take the slots of so many of its images, evenly spaced; None for all."""
    clusters: PositiveInt | None = None
    """How many groups, and so how many slots a picture has; None for the number of slots."""
    count: PositiveInt | None = None
    """How many pictures; None for as many as there are images in `evaluation.split`."""
    seed: Annotated[NonNegativeInt, Lt(2**63)] | None = None
    """Seeds k-means and the drawing of slots; None for the spec's seed."""
    set_metrics: tuple[Annotated[Ref, RefTo("set_metric")], ...] = ()
    """What the pictures are measured by, against the images of `evaluation.split`."""
    floor: str = HALVES
    """The two sets of real images that show how low a value can be: `halves` of `evaluation.split`
    against each other, or that split against as many images of another one, named here."""


class EvaluationSpec(ClosedModel):
    """What is measured after training, and on what."""

    split: str = "val"
    """The split to evaluate on."""
    metrics: MetricRefs = Field(default=("ari", "fg_ari", "mse"), validate_default=True)
    """One column of the result each."""
    slots: PositiveInt | None = None
    """Number of slots at evaluation; None for the trained number."""
    mask_source: MaskSource = "decoder"
    """Which masks are scored: the decoder's, or the last attention brought to image size."""
    baselines: tuple[Literal["one_segment", "position_grid", "color_kmeans"], ...] = ()
    """Trivial segmentations of the same images, measured beside the model."""
    batch_size: PositiveInt = 32
    """Images at a time. Does not change results."""
    max_images: PositiveInt | None = None
    """Evaluate the first so many images only; None for all."""
    composition: CompositionSpec | None = None
    """New pictures from slots, made and measured after the images; None for none."""


class ExperimentSpec(ClosedModel):
    """One experiment."""

    format: Literal[1]
    """Version of the spec's shape."""
    name: Name
    """Names the run's folder."""
    seed: Annotated[NonNegativeInt, Lt(2**63)] = 0
    """Seeds the weights, the order of the images, the slots' noise and generated data."""
    plugins: tuple[SpecPath, ...] = ()
    """Single-file plugins to load, relative to the spec."""
    data: DataSpec
    """What is read."""
    model: ModelSpec
    """What is trained."""
    objective: Annotated[Ref, RefTo("objective")] = Field(default="pixel_mse", validate_default=True)
    """What is predicted, and the loss."""
    training: TrainingSpec
    """How it is trained."""
    evaluation: EvaluationSpec = Field(default={}, validate_default=True)
    """How it is measured."""
