"""Checks that metrics and set metrics give what their contracts promise."""

from dataclasses import dataclass, fields
from math import fsum, isnan, nan

import torch
from torch import Tensor

from slotlab.framework.contracts import MeasuresClips, Metric, Outcome, PooledMetric, SetResult
from slotlab.registry import ComponentError, SlotlabError
from slotlab.registry.component import suggest

BOUND_TOLERANCE = 1e-6
"""How far a metric may be past its own bounds by rounding, relative to the bound."""


def check_metric(metric: Metric) -> None:
    """Check the `needs` and `bounds` that a metric declares.

    Raises:
        ComponentError: saying what is wrong.
    """
    known = sorted(field.name for field in fields(Outcome))
    for name in sorted(map(str, metric.needs)):
        if name not in known:
            text = f"'needs' names '{name}', which an Outcome does not have{suggest(name, known)}"
            raise ComponentError(f"{text} (fields: {', '.join(known)})")
    try:
        low, high = metric.bounds
        ordered = bool(low < high)
    except (TypeError, ValueError):
        ordered = False
    if not ordered:
        raise ComponentError(f"'bounds' should be the least and the greatest value, not {metric.bounds!r}")
    if not callable(metric):
        raise ComponentError("what it builds should be called with an Outcome, and cannot be called")


def metric_values(name: str, found: object, images: int, what: str = "") -> list[float]:
    """Return the values of a metric, one per image.

    Args:
        name: of the metric.
        found: float64 of shape (B,).
        images: B.
        what: `as weights ` for the message about weights; empty for values.

    Raises:
        SlotlabError: if it is anything else.
    """
    given = f"a {type(found).__name__}"
    if isinstance(found, Tensor):
        if found.shape == (images,) and found.dtype == torch.float64:
            values: list[float] = found.tolist()
            return values
        given = f"one of shape {tuple(found.shape)}"
        if found.shape == (images,):
            given = f"one of {found.dtype}"
    must = f"it must give {what}a float64 tensor of shape ({images},)"
    raise SlotlabError(f"metric '{name}': {must}, and gave {given}")


@dataclass(frozen=True)
class Measured:
    """The values of a metric, one per image or clip."""

    values: list[float]
    weights: list[float] | None = None
    """How many objects each is the mean of, for a metric that is pooled over objects."""
    by_frame: list[list[float]] | None = None
    """For each clip the value of every frame; None for images, and for a metric of whole clips."""


def measure(name: str, metric: Metric, outcome: Outcome) -> Measured:
    """Return a metric's values, and their weights if it is pooled over objects.

    The value of a clip is the mean over its frames where it is defined, weighted like the metric's total.

    Raises:
        SlotlabError: if the metric does not return what it promises.
    """
    whole = isinstance(metric, MeasuresClips) and metric.of_clips
    images = len(outcome.images_BCHW) // (outcome.frames if whole else 1)
    values = metric_values(name, metric(outcome), images)
    low, high = metric.bounds
    room = [BOUND_TOLERANCE * max(1.0, abs(bound)) for bound in (low, high)]
    for value in values:
        if value < low - room[0] or value > high + room[1]:  # NaN, where it is not defined, is never outside
            raise SlotlabError(f"metric '{name}': it gave {value:g}, outside its bounds {low:g} to {high:g}")
    frames = 1 if whole else outcome.frames
    by_frame = [values[at : at + frames] for at in range(0, images, frames)] if frames > 1 else None
    if not isinstance(metric, PooledMetric):
        return Measured(over_frames(values, [1.0] * len(values), frames)[0], None, by_frame)
    weights = metric_values(name, metric.weights(outcome), images, "as weights ")
    for weight in weights:
        if not 0 <= weight < float("inf"):
            raise SlotlabError(f"metric '{name}': weights count objects, and it gave {weight:g}")
    return Measured(*over_frames(values, weights, frames), by_frame)


def over_frames(values: list[float], weights: list[float], frames: int) -> tuple[list[float], list[float]]:
    """Return the weighted mean of each so many values that are defined (NaN if none is), and their weight."""
    if frames == 1:
        return values, weights
    means, sums = [], []
    for start in range(0, len(values), frames):
        pairs = zip(values[start : start + frames], weights[start : start + frames], strict=True)
        there = [(value, weight) for value, weight in pairs if not isnan(value) and weight > 0]
        total = fsum(weight for _, weight in there)
        means.append(fsum(value * weight for value, weight in there) / total if there else nan)
        sums.append(total)
    return means, sums


def check_features(name: str, features_BD: object, images: int) -> Tensor:
    """Return the features that a set metric computed: float32 (B, D) on the CPU.

    Raises:
        SlotlabError: if they are anything else.
    """
    given = f"a {type(features_BD).__name__}"
    if isinstance(features_BD, Tensor):
        given = f"{features_BD.dtype} of shape {tuple(features_BD.shape)} on {features_BD.device}"
        right = features_BD.dim() == 2 and len(features_BD) == images
        if right and features_BD.dtype == torch.float32 and features_BD.device.type == "cpu":
            return features_BD.detach()
    must = f"features must give torch.float32 of shape ({images}, D) on the CPU"
    raise SlotlabError(f"set metric '{name}': {must}, and gave {given}")


def check_distance(name: str, result: object) -> SetResult:
    """Return the result of a set metric's `distance`.

    Raises:
        SlotlabError: if it is not a `SetResult` with a number.
    """
    if not isinstance(result, SetResult):
        must = "distance must give a SetResult"
        raise SlotlabError(f"set metric '{name}': {must}, and gave a {type(result).__name__}")
    if not isinstance(result.value, int | float) or isinstance(result.value, bool):
        kind = type(result.value).__name__
        raise SlotlabError(f"set metric '{name}': the value of its SetResult must be a float, not a {kind}")
    return result
