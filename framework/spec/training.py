"""The section of a spec that says how a model is trained. Nothing is built here: this is data only."""

from collections.abc import Mapping
from typing import Annotated, Literal

from annotated_types import Gt, Le, Len, Lt
from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from slotlab.framework.spec.phase_length import PhaseLength
from slotlab.registry import ClosedModel, Ref, RefTo
from slotlab.registry.component import custom_error


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

    @property
    def length(self) -> PhaseLength:
        """How long the phase is."""
        return PhaseLength(self.steps, self.epochs)


class SpeedSpec(ClosedModel):
    """How fast, not what: none of these changes results beyond the rounding of floating point."""

    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Layout of images and weights; auto is channels last."""
    keep_memory: bool = True
    """Whether memory that a step frees on a CPU is kept for the next one (where the C library is glibc)."""
    compile: Literal["off", "default", "reduce-overhead", "max-autotune"] = "off"
    """Mode of torch.compile for the model's large parts (encoder, grouping, decoder); `reduce-overhead` uses
    CUDA graphs. Where compiling fails the reason is printed, and training goes on without."""
    fused: Literal["auto", "yes", "no"] = "auto"
    """Whether the optimizer runs in one kernel; auto is yes on a GPU."""
    matmul: Literal["highest", "high", "medium"] = "high"
    """Precision of float32 matrix products on a GPU: `high` allows TF32 (10 bits of mantissa)."""
    recompute: tuple[str, ...] = ()
    """Parts of the model whose activations are computed again in the backward pass, such as `encoder`: less
    memory, more time."""


class GroupSpec(ClosedModel):
    """Different training settings for some of the weights."""

    weights: Annotated[tuple[str, ...], Len(1)]
    """Parts of the model, or prefixes of weights' names: `encoder`, `decoder.layers.0`."""
    lr_factor: NonNegativeFloat = 1.0
    """Factor on the phase's learning rate."""
    scheduled: bool = True
    """Whether the phase's schedule applies; false keeps the rate as it is from the first step on, without a
    warm-up."""
    layer_decay: Annotated[float, Gt(0), Le(1)] | None = None
    """Another factor for each block of a transformer, the last one having the full rate: a weight that lies d
    blocks below the group's end has the rate times layer_decay ** d. None gives all weights one rate."""
    weight_decay: NonNegativeFloat | None = None
    """In place of the optimizer's weight decay; None keeps it."""
    frozen: bool = False
    """Whether these weights are not trained."""


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
    """Minutes after which a checkpoint is written at any step; None for never."""
    keep: PositiveInt = 2
    """How many of the newest are kept."""
    best: str | None = None
    """Keep the best one too: by `loss`, or a metric of `evaluation.metrics`, on the evaluation split."""


class WatchSpec(ClosedModel):
    """What is looked at while a model trains: pictures of masks, and metrics. Does not change results."""

    every_steps: PositiveInt | Literal["auto"] | None = "auto"
    """Steps between two looks; auto is 1000, and in trainings of more than 100,000 steps so many that there
    are at most 100 looks. None for never."""
    images: PositiveInt = 4
    """How many of the first images, or clips, of the evaluation split are in a picture."""
    measured: PositiveInt = 32
    """On how many of the first images the metrics of `evaluation.metrics` are measured; of clips as many as
    have so many frames together, and at least those in the picture."""


class TrainingSpec(ClosedModel):
    """How the model is trained."""

    batch_size: PositiveInt
    """Images in one optimizer step."""
    phases: Annotated[tuple[PhaseSpec, ...], Len(1)]
    """Trained one after the other; each continues from the weights of the one before."""
    start: Annotated[Ref, RefTo("start")] | None = None
    """Whose weights the training starts from, such as those of another run; None draws them by the seed."""
    optimizer: Annotated[Ref, RefTo("optimizer")] = Field(default="adam", validate_default=True)
    """The optimizer of every phase."""
    clip_norm: PositiveFloat | None = None
    """Greatest norm of the gradient over all weights; None does not clip."""
    clip_norm_type: Literal[2, "inf"] = 2
    """The norm: 2 is the Euclidean one, `inf` the largest absolute value. Directions stay."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """What the forward pass computes in; weights and optimizer stay in float32. float16 needs a GPU."""
    accumulate: PositiveInt = 1
    """Parts in which a batch is passed through one after the other, to save memory."""
    groups: tuple[GroupSpec, ...] = ()
    """Different learning rates for some of the weights; a weight belongs to the first group that names it."""
    anneal: Mapping[str, AnnealSpec] = {}
    """Settings that change during training, by the path of the attribute: `initializer.sigma`.
    Its component declares it as `schedulable`."""
    sync_batchnorm: bool = False
    """Whether batch statistics are taken over the batches of all GPUs."""
    ema_decay: Annotated[float, Gt(0), Lt(1)] | None = None
    """Decay of a running mean of the weights, which is then evaluated; None for no mean."""
    explosion: Annotated[float, Gt(1)] = 1000.0
    """A mean loss that is this many times the lowest so far stops the training."""
    speed: SpeedSpec = Field(default={}, validate_default=True)
    """How fast it runs."""
    checkpoint: CheckpointSpec = Field(default={}, validate_default=True)
    """When the state is saved."""
    log_every: PositiveInt = 50
    """Steps between two lines of metrics.jsonl."""
    validate_every: PositiveInt = 1
    """Epochs between two validations: the loss on the evaluation split."""
    watch: WatchSpec = Field(default={}, validate_default=True)
    """What is looked at between validations, so that a training that fails to bind is seen early."""
    trackers: tuple[Annotated[Ref, RefTo("tracker")], ...] = ()
    """What else receives the logged numbers, such as `tensorboard`. Does not change results."""

    @model_validator(mode="after")
    def _something_to_keep(self) -> "TrainingSpec":
        if self.phases[0].optimizer_state == "kept":
            raise custom_error("first_phase", "the first phase has no optimizer state to keep; write 'fresh'")
        return self
