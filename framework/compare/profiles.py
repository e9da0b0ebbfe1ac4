"""Performance profiles and the probability of improvement, with a stratified bootstrap over runs.

Agarwal and others 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice", sections 4.2
and 4.3. A task is a stratum: runs are drawn again within each task. Failed runs have the worst score.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slotlab.framework.compare.further_results import Improvement, Profile
from slotlab.framework.compare.results import Interval

RESAMPLES = 2000
"""As many as the paper takes for profiles."""
POINTS = 101
"""Thresholds of a profile."""
Scores = Sequence[Sequence[float]]
"""Of one method: for each task the score of each run, more is better; -inf for a failed run."""


def profiles(scores: Mapping[str, Scores], bounds: tuple[float | None, float | None]) -> list[Profile]:
    """Return the profile of each method over the same thresholds.

    Args:
        scores: by method.
        bounds: the least and greatest possible score; None for that of the runs.
    """
    thresholds = thresholds_of(scores, bounds)
    found = []
    for name, tasks in scores.items():
        every = [score for task in tasks for score in task]
        draws = [shares(drawn, thresholds) for drawn in resampled(tasks, RESAMPLES)]
        low, high = np.quantile(draws, [0.025, 0.975], axis=0)
        found.append(
            Profile(
                arm=name,
                runs=len(every),
                failed=sum(score == -math.inf for score in every),
                thresholds=tuple(thresholds.tolist()),
                shares=tuple(shares([np.array(task) for task in tasks], thresholds).tolist()),
                low=tuple(low.tolist()),
                high=tuple(high.tolist()),
            )
        )
    return found


def thresholds_of(scores: Mapping[str, Scores], bounds: tuple[float | None, float | None]) -> Any:
    """Return the thresholds, (POINTS,), as float64: over the scores, which bounds may widen."""
    every = [one for tasks in scores.values() for task in tasks for one in task if math.isfinite(one)]
    low = min(every, default=0.0) if bounds[0] is None else bounds[0]
    high = max(every, default=1.0) if bounds[1] is None else bounds[1]
    return np.linspace(low, high, POINTS)


def shares(tasks: Sequence[Any], thresholds: Any) -> Any:
    """Return, for each threshold, the share of runs with a better score, averaged over tasks."""
    return np.mean([(task[:, None] > thresholds).mean(axis=0) for task in tasks], axis=0)


def resampled(tasks: Scores, times: int, seed: int = 0) -> list[list[Any]]:
    """Draw the runs of each task again with replacement, always the same way."""
    random = np.random.default_rng(seed)
    arrays = [np.array(task) for task in tasks]
    return [[random.choice(task, len(task)) for task in arrays] for _ in range(times)]


def improvement(name: str, own: Scores, base: Scores) -> Improvement:
    """Return the probability that a run of a method is better than one of the baseline, ties half."""
    draws = [
        probability(one, other)
        for one, other in zip(resampled(own, RESAMPLES), resampled(base, RESAMPLES, 1), strict=True)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Improvement(
        arm=name,
        tasks=len(own),
        probability=probability([np.array(task) for task in own], [np.array(task) for task in base]),
        interval=Interval(float(low), float(high)),
    )


def probability(own: Sequence[Any], base: Sequence[Any]) -> float:
    """Return the mean over tasks of Mann and Whitney's U, as a share of all pairs of runs."""
    found = []
    for one, other in zip(own, base, strict=True):
        better, equal = one[:, None] > other, one[:, None] == other
        found.append(float(np.mean(better + 0.5 * equal)))
    return math.fsum(found) / len(found)
