"""What metrics receive and return: metrics of single images, and of sets of images."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from slotlab.framework.arithmetic.contingency import contingency
from slotlab.framework.arithmetic.void import scored

MaskSource = Literal["decoder", "attention"]


@dataclass(frozen=True, kw_only=True)
class MetricContext:
    """For metrics: the value range of images, (-1, 1) or (0, 1)."""

    value_range: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The predictions of a model or a baseline for B images: all that a metric may use."""

    images_BCHW: Tensor
    true_BHW: Tensor | None
    """int64 instance labels, 0 for the background, `VOID` (-1) for pixels that are not scored."""
    predicted_BHW: Tensor | None
    """int64 segment labels: for a model, the slot with the largest mask."""
    reconstructions_BCHW: Tensor | None = None
    """In the value range of the images."""
    masks_BKHW: Tensor | None = None
    """The soft masks behind `predicted_BHW`, from the source that the spec names."""
    keep_BK: Tensor | None = None
    """0 for slots that were dropped, whose masks are 0; None if all are kept. Metrics do not count these."""
    attributes: tuple[Mapping[str, Any], ...] = ()
    """What the data knows of each image's objects (see `Sample`)."""
    frames: int = 1
    """How many frames each clip has: B are then those of all clips, clip after clip; 1 for images."""

    def after(self, first: int) -> "Outcome":
        """Return the clips without their frames before number `first`."""
        return self if first == 0 else frames_after(self, first)

    @cached_property
    def joined(self) -> "Outcome":
        """The clips as images: the frames of each below one another, (clips, ..., T x H, W).

        A metric of images that only counts pixels then measures whole clips: what keeps its label over time.
        """
        return self if self.frames == 1 else join_frames(self)

    @cached_property
    def counts_BTP(self) -> Tensor:
        """Pixel counts by true and predicted label, float64 (B, T, P): computed once for all metrics.

        For metrics that need `true_BHW` and `predicted_BHW`. Row 0 is the background; void pixels are
        not counted.
        """
        assert self.true_BHW is not None
        assert self.predicted_BHW is not None
        return contingency(self.true_BHW, self.predicted_BHW)

    @cached_property
    def scored_BHW(self) -> Tensor | None:
        """The pixels that are not void, bool (B, H, W); None where all are scored, as without ground truth.

        For metrics of masks that do not use `counts_BTP`, whether they need a ground truth or not.
        """
        return None if self.true_BHW is None else scored(self.true_BHW)


def frames_after(outcome: Outcome, first: int) -> Outcome:
    """Return clips without their frames before `first`; raises ValueError if none is left."""
    if first >= outcome.frames:
        raise ValueError(f"frame {first} is past the end of clips of {outcome.frames} frames")
    kept = torch.arange(len(outcome.images_BCHW), device=outcome.images_BCHW.device) % outcome.frames >= first

    def late(found: Tensor | None) -> Tensor | None:
        return None if found is None else found[kept]

    return Outcome(
        images_BCHW=outcome.images_BCHW[kept],
        true_BHW=late(outcome.true_BHW),
        predicted_BHW=late(outcome.predicted_BHW),
        reconstructions_BCHW=late(outcome.reconstructions_BCHW),
        masks_BKHW=late(outcome.masks_BKHW),
        keep_BK=late(outcome.keep_BK),
        attributes=tuple(
            one for place, one in enumerate(outcome.attributes) if place % outcome.frames >= first
        ),
        frames=outcome.frames - first,
    )


def join_frames(outcome: Outcome) -> Outcome:
    """Return clips as images, with the frames of each below one another."""

    def tall(found: Tensor | None) -> Tensor | None:
        """Return (clips x T, ..., H, W) as (clips, ..., T x H, W)."""
        if found is None:
            return None
        parted = found.reshape(-1, outcome.frames, *found.shape[1:])
        return parted.movedim(1, -3).flatten(-3, -2)

    images_BCHW, keep_BK = tall(outcome.images_BCHW), outcome.keep_BK
    assert images_BCHW is not None
    return Outcome(
        images_BCHW=images_BCHW,
        true_BHW=tall(outcome.true_BHW),
        predicted_BHW=tall(outcome.predicted_BHW),
        reconstructions_BCHW=tall(outcome.reconstructions_BCHW),
        masks_BKHW=tall(outcome.masks_BKHW),
        keep_BK=None if keep_BK is None else keep_BK.reshape(-1, outcome.frames, keep_BK.shape[1]).amax(1),
        attributes=outcome.attributes[:: outcome.frames],
    )


class Metric(Protocol):
    """One number per image. The total is the mean over images, unless it is a `PooledMetric`."""

    higher_is_better: bool
    bounds: tuple[float, float]
    """The least and the greatest possible value."""
    needs: frozenset[str]
    """Fields of `Outcome` that must not be None: otherwise the metric is left out."""

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,); NaN where the metric is not defined.

        Of clips it measures each frame, and a clip's value is the mean over those where it is defined; one
        that `MeasuresClips` returns one value per clip itself.
        """


@runtime_checkable
class MeasuresClips(Metric, Protocol):
    """A metric of whole clips: an image is a clip of one frame."""

    @property
    def of_clips(self) -> bool:
        """Whether it is: it then returns float64 of shape (clips,)."""


@runtime_checkable
class PooledMetric(Metric, Protocol):
    """A metric whose total is a mean over objects instead of images.

    The total is `sum(weights * values) / sum(weights)` over the images where the value is defined.
    """

    def weights(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,): how many objects each image's value is the mean of."""


def missing(outcome: Outcome, needs: Iterable[str]) -> list[str]:
    """Return the fields that a metric needs and the outcome lacks."""
    return [name for name in sorted(needs) if getattr(outcome, name) is None]


@dataclass(frozen=True, kw_only=True)
class SetMetricContext:
    """For set metrics: where features are computed."""

    device: torch.device


@dataclass(frozen=True, kw_only=True)
class SetResult:
    """The distance of a set of images from a set of real images."""

    value: float
    images: int
    """How many images were evaluated."""
    real_images: int
    """How many real images they were compared with."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else is known, as data that JSON can hold."""
    warnings: tuple[str, ...] = ()
    """Reasons why the value may be unreliable, in words."""


class SetMetric(Protocol):
    """One number for two sets of images, by features of each image.

    Both sets are passed in memory, batch by batch. The features of real images are kept in the run's
    cache under `identity()`, and metrics of one identity share them.
    """

    higher_is_better: bool
    extractor: str
    """The feature extractor's name in results."""

    def lacking(self) -> str | None:
        """Return what is missing, such as a file of weights, in words; None if nothing is."""

    def identity(self) -> str:
        """Return a text that differs wherever the same images would have other features. May read files."""

    def features(self, images_BCHW: Tensor) -> Tensor:
        """Return float32 (B, D) on the CPU for uint8 images (B, 3, H, W), each by itself.

        Raises:
            SlotlabError: if a file is missing, or is not what it should be.
        """

    def distance(self, features_ND: Tensor, real_MD: Tensor) -> SetResult:
        """Compare the features of N images with those of M real ones.

        Raises:
            SlotlabError: if there are too few images.
        """
