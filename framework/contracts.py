"""What the parts of a model hand to one another.

Axes, in every file: B images, C channels, H rows, W columns, N tokens (positions of a
feature map, row by row), K slots, D slot width. All outputs are frozen dataclasses.
`docs/architecture.md` shows how video, generative decoders and other targets fit in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from slotlab.framework.scoring.contingency import contingency
from slotlab.registry import SlotlabError

Size = tuple[int, int]
"""(rows, columns) in pixels or positions."""

# --- what a component is told when it is built -------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DatasetContext:
    """For datasets: which split to give, and the size and seed of what is generated.

    `split` is `all` for a dataset whose Config names no `splits` of its own: the protocol
    splits it. `image_size` is for datasets whose Config says `rendered`; the others give
    pictures as they are.
    """

    split: str
    image_size: Size
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class EncoderContext:
    """For encoders: the images that will come."""

    image_size: Size
    image_channels: int = 3


@dataclass(frozen=True, kw_only=True)
class PositionContext:
    """For position codes: the feature map's size and width."""

    grid: Size
    dim: int


@dataclass(frozen=True, kw_only=True)
class InitializerContext:
    """For initializers: how many slots, how wide, and the width of the tokens."""

    num_slots: int
    slot_dim: int
    token_dim: int


@dataclass(frozen=True, kw_only=True)
class GroupingContext:
    """For groupings: the slots' width and the tokens' width and layout."""

    slot_dim: int
    token_dim: int
    grid: Size


@dataclass(frozen=True)
class TargetShape:
    """What is predicted for one image: `channels` values at each of `size` positions."""

    channels: int
    size: Size


@dataclass(frozen=True, kw_only=True)
class ObjectiveContext:
    """For objectives: the images and the encoder's features, both possible targets."""

    image_size: Size
    feature_channels: int
    grid: Size
    image_channels: int = 3


@dataclass(frozen=True, kw_only=True)
class DecoderContext:
    """For decoders: the slots' width and what is to be predicted."""

    slot_dim: int
    target: TargetShape


@dataclass(frozen=True, kw_only=True)
class MetricContext:
    """For metrics: the value range of images, (-1, 1) or (0, 1)."""

    value_range: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class SetMetricContext:
    """For set metrics: where features are computed."""

    device: torch.device


@dataclass(frozen=True, kw_only=True)
class OptimizerContext:
    """For optimizers: the parameters and the phase's learning rate."""

    params: Sequence[torch.nn.Parameter] | Sequence[dict[str, Any]]
    """Parameters, or groups of them as torch's optimizers take: `{"params": [...], "lr": ...}`."""
    lr: float
    fused: bool = False
    """Whether to run in one kernel, where the optimizer can."""


@dataclass(frozen=True, kw_only=True)
class ScheduleContext:
    """For schedules: the optimizer to drive, and how often it will be stepped in the phase."""

    optimizer: torch.optim.Optimizer
    total_steps: int


@dataclass(frozen=True, kw_only=True)
class TrackerContext:
    """For trackers: the run that is told about."""

    folder: Path
    """The run's folder."""
    name: str
    """The experiment's name."""
    run_id: str
    """Names this training and no other; the same after each resume."""
    settings: Mapping[str, Any]
    """The whole spec, as data that JSON can hold."""
    resumed_from: int | None = None
    """The step that the training goes on from; None at its beginning."""


# --- data --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image. `id` names it in results; `attributes` may hold metadata of its objects.

    Attributes are data that JSON can hold. Three have a meaning everywhere: `num_objects`,
    `objects` (a list with an entry for each object; its `index` is its value in the mask), and
    `ground_material`. An object's `material`, `shape` and `size` are what evaluation groups by, and
    its `visible_fraction`, from 0 to 1, where the data tells how much of it is seen.
    """

    id: str
    image_CHW: Tensor
    """uint8 of shape (3, H, W)."""
    mask_HW: Tensor | None = None
    """Instance labels of any integer type, 0 for the background; None where there is no truth."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None
    """The picture's file, for messages."""


@dataclass(frozen=True, order=True)
class DataProblem:
    """One thing that is wrong with the data, and the file it is wrong with."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class DataError(SlotlabError):
    """Data that cannot be used, each problem with its file. Raised by `Dataset.__getitem__`."""

    def __init__(self, *problems: DataProblem, hint: str = ""):
        self.problems = problems
        self.hint = hint
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """One line for each problem, and one that says what can be done."""
        return [*map(str, self.problems), *([self.hint] if self.hint else [])]

    def __reduce__(self) -> tuple[Any, ...]:
        """Come whole out of a worker process."""
        return partial(type(self), hint=self.hint), self.problems


@runtime_checkable
class Dataset(Protocol):
    """A sized, indexable collection of samples. Item i is always the same.

    A dataset may have three more attributes, each used where it is there:

    * `fingerprint() -> str`: changes when the files behind it change (`framework.files`
      makes one); without it the dataset cannot be packed.
    * `problems: Sequence[DataProblem]`: items that had to be left out while listing, such as
      pictures without their mask; a run stops with all of them unless told to skip.
    * `mask(index) -> Tensor` and `attributes(index) -> Mapping`: parts of a sample, for those
      who need no more (counting objects).
    """

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`.

        Raises:
            IndexError: past the end.
            DataError: for a file that is broken or not as it should be.
        """


@dataclass(frozen=True, kw_only=True)
class RawBatch:
    """Samples brought together on a device, still as 8-bit images."""

    images_BCHW: Tensor
    """uint8 of shape (B, 3, H, W), in any memory format."""
    masks_BHW: Tensor | None
    """Instance labels of any integer type, of shape (B, H, W); None where there is no truth."""
    ids: tuple[str, ...]
    attributes: tuple[Mapping[str, Any], ...]


@runtime_checkable
class BatchedDataset(Dataset, Protocol):
    """A dataset that gives many samples at once faster than one by one (a store, a renderer).

    It may have a method `at_a_time(device) -> int`: how many samples it would rather make together.
    """

    def batch(self, indices: Sequence[int], device: torch.device, *, masks: bool = True) -> RawBatch:
        """Return the samples at `indices` on `device`; `masks=False` may leave the masks out."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples brought together on a device, images in the spec's value range."""

    images_BCHW: Tensor
    """float32 of shape (B, 3, H, W)."""
    masks_BHW: Tensor | None
    """int64 of shape (B, H, W)."""
    ids: tuple[str, ...]
    attributes: tuple[Mapping[str, Any], ...] = ()
    """What the data knows of each image's objects (see `Sample`)."""
    share: float = 1.0
    """The part that this process has of the batch of all processes together."""


# --- the model ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Slots:
    """Slots, and whatever else belongs to each slot.

    Every tensor in `extras` (a pose, a keep-or-drop weight) has leading axes (B, K), so
    that slots can be chosen, mixed and reordered without knowing what the extras mean.
    """

    vectors_BKD: Tensor
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def select(self, index_K: Tensor) -> "Slots":
        """Return the slots at `index_K` (int64), the same for every image."""
        chosen = {name: extra.index_select(1, index_K) for name, extra in self.extras.items()}
        return Slots(self.vectors_BKD.index_select(1, index_K), chosen)


@dataclass(frozen=True)
class Grouped:
    """What a grouping found."""

    slots: Slots
    attention_BKN: Tensor
    """Of the last iteration; sums to one over K at each token."""


@dataclass(frozen=True)
class Decoded:
    """What a decoder made of slots."""

    prediction_BCHW: Tensor
    """In the space of the objective's target."""
    masks_BKHW: Tensor | None = None
    """Sum to one over K at each pixel; None for decoders without alpha masks."""
    parts_BKCHW: Tensor | None = None
    """Each slot's own prediction, before mixing; None for decoders that have none."""
    target_BCHW: Tensor | None = None
    """Set by a decoder that chooses its own target (the noise of a diffusion step)."""


@dataclass(frozen=True)
class ModelOutput:
    """Everything one forward pass computed."""

    features_BCHW: Tensor
    tokens_BND: Tensor
    grouped: Grouped
    decoded: Decoded
    target_BCHW: Tensor
    grid: Size

    @property
    def attention_BKHW(self) -> Tensor:
        """The attention on the feature map's grid."""
        attention_BKN = self.grouped.attention_BKN
        return attention_BKN.reshape(*attention_BKN.shape[:2], *self.grid)


@dataclass(frozen=True)
class Losses:
    """`total` is what is minimized; `terms` are its parts, for the record. All scalars."""

    total: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(Protocol):
    """What is to be predicted, and how far off a prediction is."""

    target_shape: TargetShape

    def target(self, images_BCHW: Tensor, features_BCHW: Tensor) -> Tensor:
        """Return the target, of shape (B, *target_shape)."""

    def loss(self, decoded: Decoded, target_BCHW: Tensor) -> Losses:
        """Compare; a target that the decoder set itself comes first."""

    def to_image(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return the prediction as images in the spec's value range, or None if it is no image."""


# --- evaluation --------------------------------------------------------------------------

MaskSource = Literal["decoder", "attention"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a model, or a baseline, made of B images: all that a metric may look at."""

    images_BCHW: Tensor
    true_BHW: Tensor | None
    """int64 instance labels, 0 for the background."""
    predicted_BHW: Tensor | None
    """int64 segment labels: for a model, the slot with the largest mask."""
    reconstructions_BCHW: Tensor | None = None
    """In the value range of the images."""
    masks_BKHW: Tensor | None = None
    """The soft masks behind `predicted_BHW`, from the source that the spec names."""
    attributes: tuple[Mapping[str, Any], ...] = ()
    """What the data knows of each image's objects (see `Sample`)."""

    @cached_property
    def counts_BTP(self) -> Tensor:
        """Pixels by true and predicted label, float64: counted once for all metrics.

        For metrics that need `true_BHW` and `predicted_BHW`. Row 0 is the background.
        """
        assert self.true_BHW is not None
        assert self.predicted_BHW is not None
        return contingency(self.true_BHW, self.predicted_BHW)


class Metric(Protocol):
    """One number an image. The total over images is their mean; see `PooledMetric`."""

    higher_is_better: bool
    bounds: tuple[float, float]
    """The least and greatest value possible."""
    needs: frozenset[str]
    """Fields of `Outcome` that must not be None: elsewhere the metric is left out."""

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,); NaN where the metric is not defined."""


@runtime_checkable
class PooledMetric(Metric, Protocol):
    """A metric whose total is a mean over objects instead of images.

    The total is `sum(weights * values) / sum(weights)` over the images where the value is defined.
    """

    def weights(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,): how many objects each image's value is the mean of."""


@dataclass(frozen=True, kw_only=True)
class SetResult:
    """How far a set of images is from a set of real ones."""

    value: float
    images: int
    """How many were measured."""
    real_images: int
    """How many they were compared with."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else is known, as data that JSON can hold."""
    warnings: tuple[str, ...] = ()
    """Why the value may say little, in words."""


class SetMetric(Protocol):
    """One number for two sets of images, by features of each image.

    Both sets are passed in memory, batch by batch. The features of real images are kept in the run's
    cache under `identity()`, and metrics of one identity share them.
    """

    higher_is_better: bool
    extractor: str
    """What gives the features, as results name it."""

    def lacking(self) -> str | None:
        """Say what has to be there and is not, such as a file of weights; None if nothing."""

    def identity(self) -> str:
        """Name the features: another text where the same images would have others. May read files."""

    def features(self, images_BCHW: Tensor) -> Tensor:
        """Return float32 (B, D) on the CPU for uint8 images (B, 3, H, W), each by itself.

        Raises:
            SlotlabError: if something is lacking, or is not what it should be.
        """

    def distance(self, features_ND: Tensor, real_MD: Tensor) -> SetResult:
        """Compare the features of N images with those of M real ones.

        Raises:
            SlotlabError: if there are too few images.
        """


# --- tracking ----------------------------------------------------------------------------


class Tracker(Protocol):
    """Passes on what a training logs: to a server, or to files of another shape.

    Each name comes at rising steps and at no step twice, also over resumes. A call that
    raises ends the tracker, not the training. Only the first of several processes has one.
    """

    forgets: bool
    """Whether what was told after the step that a training goes on from is forgotten: it is
    told again then, and otherwise not."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take numbers by name (`train/loss`, `validation/ari`), all finite, of one step."""

    def figure(self, name: str, path: Path) -> None:
        """Take a picture (PNG) of the step that was told last."""

    def close(self, *, failed: bool) -> None:
        """Write out what is held back; `failed` if the training did not come to its end."""


def missing(outcome: Outcome, needs: Iterable[str]) -> list[str]:
    """Return the fields that a metric needs and the outcome lacks."""
    return [name for name in sorted(needs) if getattr(outcome, name) is None]
