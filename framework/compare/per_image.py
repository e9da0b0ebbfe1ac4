"""Compare two checkpoints on the same images by a paired bootstrap, which says nothing about methods."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.compare.evaluation_facts import PICTURES, tells_pictures
from slotlab.framework.compare.evaluation_record import EvaluationRecord
from slotlab.framework.compare.refusal import Refusal, RefusedError
from slotlab.framework.compare.results import ImageDifference, Interval, MeasuredRun
from slotlab.framework.compare.statistics import NEGLIGIBLE
from slotlab.framework.runs.folder import IMAGES
from slotlab.registry import SlotlabError

LABEL = "this checkpoint, not this method"
RESAMPLES = 9999
_BATCH = 256
"""Resamples held in memory at once: 10 MB per thousand images."""

Values = dict[str, NDArray[np.float64]]


def read_images(evaluation: EvaluationRecord, metrics: Sequence[str]) -> tuple[list[str], Values]:
    """Return the ids of the images, and each metric's values and weights (1 for means over images).

    Weights have the key `<metric>_weight`. An empty cell is NaN.

    Raises:
        SlotlabError: if the file is missing or damaged.
    """
    rows = evaluation.rows()
    try:
        return _columns(rows, metrics)
    except ValueError as error:
        raise SlotlabError(f"{evaluation.folder / IMAGES}: {error}") from None


def _columns(rows: Sequence[Mapping[str, str]], metrics: Sequence[str]) -> tuple[list[str], Values]:
    ids = [row["id"] for row in rows]
    values: Values = {}
    for name in metrics:
        if rows and name in rows[0]:
            values[name] = np.array([float(row[name] or "nan") for row in rows])
            weight = f"{name}_weight"
            weights = (
                [float(row[weight] or "nan") for row in rows] if weight in rows[0] else [1.0] * len(rows)
            )
            values[weight] = np.array(weights)
    return ids, values


def unread(members: Sequence[MeasuredRun]) -> dict[int, str]:
    """Return, by position, why the values per image of some runs cannot be read."""
    found = {}
    for position, member in enumerate(members):
        try:
            read_images(member.evaluation, list(member.evaluation.values))
        except SlotlabError as error:
            found[position] = str(error)
    return found


def image_differences(
    arm: Sequence[MeasuredRun], baseline: Sequence[MeasuredRun], metrics: Sequence[str]
) -> dict[str, tuple[ImageDifference, ...]]:
    """Compare the checkpoints of each shared seed, metric by metric.

    Raises:
        RefusedError: if two runs were not evaluated on the same images.
    """
    others = {member.run.seed: member for member in baseline}
    found: dict[str, list[ImageDifference]] = {}
    for member in arm:
        other = others.get(member.run.seed)
        if other is None:
            continue
        ids, values = read_images(member.evaluation, metrics)
        other_ids, other_values = read_images(other.evaluation, metrics)
        if ids != other_ids:
            raise RefusedError([_other_images(member, other, ids, other_ids)])
        for name in metrics:
            if name in values and name in other_values:
                columns = [
                    source[key] for source in (values, other_values) for key in (name, f"{name}_weight")
                ]
                found.setdefault(name, []).append(bootstrap(member.run.seed, *columns))
    return {name: tuple(items) for name, items in found.items()}


def unpaired(arm: Sequence[MeasuredRun], baseline: Sequence[MeasuredRun]) -> str | None:
    """Say why an arm's images may not be those of the baseline; None if their content is the same."""
    others = {member.run.seed: member for member in baseline}
    for member in arm:
        other = others.get(member.run.seed)
        if other is None:
            continue
        unlike = [name for name in (*PICTURES, "images") if member.facts.get(name) != other.facts.get(name)]
        if unlike:
            return f"it was evaluated on other images ({', '.join(unlike)})"
        if not (tells_pictures(member.evaluation) and tells_pictures(other.evaluation)):
            return "its summaries do not identify the images; evaluate the runs again"
    return None


def stream_name(bootstrap: Callable[..., Any]) -> str:
    """Return the name of the random generator's argument in SciPy's bootstrap: `rng` from 1.15 on."""
    return "rng" if "rng" in inspect.signature(bootstrap).parameters else "random_state"


def _other_images(
    one: MeasuredRun, other: MeasuredRun, ids: Sequence[str], other_ids: Sequence[str]
) -> Refusal:
    lone = sorted(set(ids) ^ set(other_ids))
    what = (
        f"image '{lone[0]}' was evaluated for one run only:" if lone else "the images are in another order:"
    )
    groups = {
        f"{len(ids)} images": (one.run.path,),
        f"{len(other_ids)} images (baseline)": (other.run.path,),
    }
    return Refusal(what, groups, "evaluate both runs on the same images")


def bootstrap(
    seed: int,
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    other_values: NDArray[np.float64],
    other_weights: NDArray[np.float64],
) -> ImageDifference:
    """Return the difference of two (weighted) means over images with its BCa interval (Efron 1987).

    Images where either value is undefined are left out. The same input gives the same interval.
    """
    from scipy import stats

    every = np.stack([values * weights, weights, other_values * other_weights, other_weights])
    kept = every[:, np.isfinite(every).all(axis=0)]

    def statistic(a: Any, b: Any, c: Any, d: Any, axis: int = -1) -> Any:
        return a.sum(axis=axis) / b.sum(axis=axis) - c.sum(axis=axis) / d.sum(axis=axis)

    count = kept.shape[1]
    if count < 2:
        return ImageDifference(seed, count, math.nan if count == 0 else float(statistic(*kept)), None)
    mean = float(statistic(*kept))
    rounding = NEGLIGIBLE * float(np.abs(kept[[0, 2]]).max())
    if np.ptp(kept[0] - kept[2]) <= rounding and np.ptp(kept[1]) == np.ptp(kept[3]) == 0:
        return ImageDifference(seed, count, mean, Interval(mean, mean))
    found = stats.bootstrap(
        tuple(kept),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=_BATCH,
        method="BCa",
        **{stream_name(stats.bootstrap): np.random.default_rng(0)},
    ).confidence_interval
    return ImageDifference(seed, count, mean, Interval(float(found.low), float(found.high)))
