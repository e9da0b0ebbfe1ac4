"""Build a metric from one function, for metrics without settings."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from torch import Tensor

from slotlab.framework.arithmetic.overlap import objects_there
from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.registry import Component, ComponentConfig

MASKS = frozenset({"true_BHW", "predicted_BHW"})
"""The fields of `Outcome` that metrics of segmentations need."""
Error = Callable[[Tensor, Tensor, float], Tensor]
"""Two batches of images (B, C, H, W) and a factor for their differences, to float64 of shape (B,)."""


class NoSettings(ComponentConfig):
    """No settings."""


@dataclass(frozen=True, kw_only=True)
class FunctionMetric:
    """A metric (see `contracts.Metric`) whose value is a function of the outcome."""

    function: Callable[[Outcome], Tensor]
    higher_is_better: bool
    bounds: tuple[float, float]
    needs: frozenset[str]

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,)."""
        return self.function(outcome)


@dataclass(frozen=True, kw_only=True)
class PooledFunctionMetric(FunctionMetric):
    """The same, averaged over objects (see `contracts.PooledMetric`)."""

    objects: Callable[[Outcome], Tensor]

    def weights(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,)."""
        return self.objects(outcome)


def mask_metric(
    name: str,
    function: Callable[[Outcome], Tensor],
    *,
    summary: str,
    bounds: tuple[float, float] = (0.0, 1.0),
    objects: Callable[[Outcome], Tensor] | None = None,
    needs: frozenset[str] = MASKS,
    version: int = 1,
) -> Component[NoSettings]:
    """Make a metric of true and predicted masks, for which higher is better.

    Args:
        name: of the component.
        function: outcome to float64 of shape (B,), NaN where it is undefined. The outcome always has
            `true_BHW` and `predicted_BHW`, and therefore `counts_BTP`.
        summary: one line.
        bounds: least and greatest value.
        objects: outcome to the number of objects of each image, for a metric averaged over objects.
        needs: what the outcome must have, in place of labels.
        version: raised when the same component would compute something else.
    """
    build = _MaskMetric(function, bounds, objects, needs)
    return Component(name=name, config=NoSettings, build=build, summary=summary, version=version)


@dataclass(frozen=True)
class _MaskMetric:
    """Builds the metric. Not a closure, so that a component is equal to itself in another registry."""

    function: Callable[[Outcome], Tensor]
    bounds: tuple[float, float]
    objects: Callable[[Outcome], Tensor] | None
    needs: frozenset[str] = MASKS

    def __call__(self, config: NoSettings, context: MetricContext) -> FunctionMetric:
        if self.objects is None:
            return FunctionMetric(
                function=self.function, higher_is_better=True, bounds=self.bounds, needs=self.needs
            )
        return PooledFunctionMetric(
            function=self.function,
            objects=self.objects,
            higher_is_better=True,
            bounds=self.bounds,
            needs=self.needs,
        )


@dataclass(frozen=True, kw_only=True)
class ClipMetric(FunctionMetric):
    """A metric of whole clips (see `contracts.MeasuresClips`): that of images, of all frames together."""

    of_clips = True

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (clips,)."""
        return self.function(outcome.joined)


def clip_metric(
    name: str,
    function: Callable[[Outcome], Tensor],
    *,
    summary: str,
    bounds: tuple[float, float] = (0.0, 1.0),
    version: int = 1,
) -> Component[NoSettings]:
    """Make a metric of the masks of whole clips, for which higher is better.

    An object that changes its slot over time counts as split.

    Args:
        name: of the component.
        function: that of a `mask_metric`: it receives the frames of each clip below one another, as an image.
        summary: one line.
        bounds: least and greatest value.
        version: raised when the same component would compute something else.
    """
    build = _ClipMetric(function, bounds)
    return Component(name=name, config=NoSettings, build=build, summary=summary, version=version)


@dataclass(frozen=True)
class _ClipMetric:
    """Builds the metric. Not a closure, as above."""

    function: Callable[[Outcome], Tensor]
    bounds: tuple[float, float]

    def __call__(self, config: NoSettings, context: MetricContext) -> ClipMetric:
        return ClipMetric(function=self.function, higher_is_better=True, bounds=self.bounds, needs=MASKS)


def objects_of(outcome: Outcome) -> Tensor:
    """Return the number of objects of each image, float64 (B,): the weights of a mean over objects."""
    return objects_there(outcome.counts_BTP)


def error_metric(name: str, error: Error, *, span: float | None, summary: str) -> Component[NoSettings]:
    """Make a metric of the error of reconstructions, without upper bound, for which lower is better.

    Args:
        name: of the component.
        error: such as `arithmetic.images.mean_of_squares`.
        span: the width of the value range to which images are scaled first; None keeps the spec's.
        summary: one line.
    """
    return Component(name=name, config=NoSettings, build=_ErrorMetric(error, span), summary=summary)


@dataclass(frozen=True)
class _ErrorMetric:
    """Builds the metric. Not a closure, as above."""

    error: Error
    span: float | None

    def __call__(self, config: NoSettings, context: MetricContext) -> FunctionMetric:
        low, high = context.value_range
        scale = 1.0 if self.span is None else self.span / (high - low)

        def error_of(outcome: Outcome) -> Tensor:
            assert outcome.reconstructions_BCHW is not None
            return self.error(outcome.reconstructions_BCHW, outcome.images_BCHW, scale)

        return FunctionMetric(
            function=error_of,
            higher_is_better=False,
            bounds=(0.0, inf),
            needs=frozenset({"reconstructions_BCHW"}),
        )
