"""An experiment spec and its sections; data and training have files of their own. Nothing is built here."""

from typing import Annotated, Any, Literal

from annotated_types import Len, Lt
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    field_validator,
)

from slotlab.framework.contracts import AuxiliaryConfig, MaskSource
from slotlab.framework.contracts.trained_model import slots_of
from slotlab.framework.spec.data import DataSpec
from slotlab.framework.spec.merge import IMPLIED
from slotlab.framework.spec.paths import SpecPath
from slotlab.framework.spec.training import TrainingSpec
from slotlab.registry import ClosedModel, Ref, RefTo
from slotlab.registry.component import custom_error

LONGEST_NAME = 200
"""Characters: a folder's name has 255 bytes at most, and a run's ends with its identity."""
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=LONGEST_NAME)]
OBJECTIVE = "pixel_mse"
"""The objective of a spec that names none."""
HALVES = "halves"
"""The value of `composition.floor` that names no split."""
MetricRefs = Annotated[tuple[Annotated[Ref, RefTo("metric")], ...], Len(1)]


class CompositionSpec(ClosedModel):
    """New pictures from the slots of a split, and how they are evaluated against real ones."""

    ways: Annotated[tuple[Literal["clusters", "shift"], ...], Len(1)] = ("clusters",)
    """How slots are put together: one of each group of like slots, or `shift`, SlotDiffusion's way: slot i of
    picture b is that of image b + i, in groups of images. Metrics of `shift` are called `fid_shift`."""
    library: str = "val"
    """The split whose slots are put together; `clusters` groups them by k-means."""
    library_images: PositiveInt | None = None
    """How many of its images the slots are taken from, evenly spaced; None for all."""
    clusters: PositiveInt | None = None
    """How many groups, and so how many slots a picture has; None for the number of slots."""
    count: PositiveInt | None = None
    """How many pictures `clusters` makes; None for as many as there are images in `evaluation.split`."""
    group: PositiveInt | None = None
    """How many neighboring images exchange their slots in `shift`, at least as many as there are slots; None
    for `evaluation.batch_size`, as in SlotDiffusion's code."""
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
    baselines: tuple[Literal["one_segment", "position_grid", "color_kmeans", "motion"], ...] = ()
    """Trivial segmentations of the same images, evaluated beside the model; `motion` is for clips."""
    checkpoint: Literal["last", "best"] | PositiveInt = "last"
    """Whose weights are evaluated: the last checkpoint's, the best one's by `training.checkpoint.best`,
    or those of a step."""
    batch_size: PositiveInt = 32
    """Images at a time. Does not change results."""
    max_images: PositiveInt | None = None
    """Evaluate only the first images, this many of them; None for all."""
    clip_frames: PositiveInt | None = None
    """For videos (`data.clip`): frames of the parts that are evaluated one by one; None for whole videos.
    Evaluations with different ones are not compared."""
    from_frame: NonNegativeInt = 0
    """Of clips: the first frame that is measured. Those before it are shown to the model, and not measured: 1
    for one that is told of the first frame, 6 for a rollout after six frames. Not compared either."""
    sampling: dict[str, Any] | None = None
    """Settings of the decoder's `sampling` in place of its own, such as `{steps: 50}`, for a decoder that
    draws pictures; None for its own. Evaluations with different ones are not compared."""
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
    model: Annotated[Ref, RefTo("model", implied=IMPLIED["model"])]
    """What is trained; without a `name` a `slot_autoencoder`."""
    objective: Annotated[Ref, RefTo("objective")] = Field(default=OBJECTIVE, validate_default=True)
    """What is predicted, and the loss."""
    auxiliary: tuple[Annotated[Ref, RefTo("auxiliary")], ...] = ()
    """Losses beside the objective's, each with a weight."""
    training: TrainingSpec
    """How it is trained."""
    evaluation: EvaluationSpec = Field(default={}, validate_default=True)
    """How it is evaluated."""

    @field_validator("auxiliary")
    @classmethod
    def _weighted(cls, value: tuple[Ref, ...]) -> tuple[Ref, ...]:
        for ref in value:
            if not isinstance(ref.config, AuxiliaryConfig):
                text = (
                    f"the Config of '{ref.name}' must be a slotlab.contracts.AuxiliaryConfig, with its weight"
                )
                raise custom_error("auxiliary_config", text)
        return value

    @property
    def slots(self) -> int | None:
        """The number of slots in training; None for a model without slots."""
        return slots_of(self.model.config)

    @property
    def evaluated_slots(self) -> int | None:
        """The number of slots at evaluation; None for a model without slots."""
        return self.evaluation.slots or self.slots
