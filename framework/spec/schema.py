"""An experiment spec and its sections; data and training have files of their own. Nothing is built here."""

from typing import Annotated, Any, Literal

from annotated_types import Len, Lt
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    field_validator,
)

from slotlab.framework.contracts import MaskSource
from slotlab.framework.spec.data import DataSpec
from slotlab.framework.spec.paths import SpecPath
from slotlab.framework.spec.training import TrainingSpec
from slotlab.registry import ClosedModel, Ref, RefTo
from slotlab.registry.component import custom_error

LONGEST_NAME = 200
"""Characters: a folder's name has 255 bytes at most, and a run's ends with its identity."""
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=LONGEST_NAME)]
HALVES = "halves"
"""The value of `composition.floor` that names no split."""
MetricRefs = Annotated[tuple[Annotated[Ref, RefTo("metric")], ...], Len(1)]


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


class CompositionSpec(ClosedModel):
    """New pictures from the slots of a split, and how they are evaluated against real ones."""

    library: str = "val"
    """The split whose slots are grouped by k-means."""
    library_images: PositiveInt | None = None
    """How many of its images the slots are taken from, evenly spaced; None for all."""
    clusters: PositiveInt | None = None
    """How many groups, and so how many slots a picture has; None for the number of slots."""
    count: PositiveInt | None = None
    """How many pictures; None for as many as there are images in `evaluation.split`."""
    seed: Annotated[NonNegativeInt, Lt(2**63)] | None = None
    """Seeds k-means and the drawing of slots; None for the spec's seed."""
    set_metrics: tuple[Annotated[Ref, RefTo("set_metric")], ...] = ()
    """The metrics that compare the pictures with the images of `evaluation.split`."""
    floor: str = HALVES
    """The two sets of real images that show how low a value can be: `halves` of `evaluation.split`
    against each other, or that split against as many images of another one, named here."""


class EvaluationSpec(ClosedModel):
    """What is evaluated after training, and on which data."""

    split: str = "val"
    """The split to evaluate on."""
    metrics: MetricRefs = Field(default=("ari", "fg_ari", "mse"), validate_default=True)
    """The metrics, one column of the result each."""
    slots: PositiveInt | None = None
    """Number of slots at evaluation; None for the trained number."""
    mask_source: MaskSource = "decoder"
    """Which masks are scored: the decoder's, or the last attention brought to image size."""
    baselines: tuple[Literal["one_segment", "position_grid", "color_kmeans"], ...] = ()
    """Trivial segmentations of the same images, evaluated beside the model."""
    checkpoint: Literal["last", "best"] | PositiveInt = "last"
    """Whose weights are evaluated: the last checkpoint's, the best one's by `training.checkpoint.best`,
    or those of a step."""
    batch_size: PositiveInt = 32
    """Images at a time. Does not change results."""
    max_images: PositiveInt | None = None
    """Evaluate only the first images, this many of them; None for all."""
    composition: CompositionSpec | None = None
    """New pictures from slots, made and evaluated after the images; None for no composition."""

    @field_validator("checkpoint", mode="before")
    @classmethod
    def _one_of_three(cls, value: Any) -> Any:
        is_step = isinstance(value, int) and not isinstance(value, bool) and value > 0
        if value not in ("last", "best") and not is_step:
            raise custom_error("checkpoint", f"expected best, last or the step of a checkpoint, got {value}")
        return value


class ExperimentSpec(ClosedModel):
    """One experiment."""

    format: Literal[1]
    """Version of the spec's shape."""
    name: Name
    """Names the run's folder."""
    seed: Annotated[NonNegativeInt, Lt(2**63)] = 0
    """Seeds the weights, the order of the images and the slots' noise; generated data has `data.seed`."""
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
    """How it is evaluated."""
