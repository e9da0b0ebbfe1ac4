"""A comparison as a leaderboard: arms by the primary metric, with the places that tests bear out.

Trivial baselines stand between the arms, as they were measured beside the models on the same pictures.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from slotlab.framework.compare.best_arms import LEVEL
from slotlab.framework.compare.binding import fisher
from slotlab.framework.compare.results import Arm, Comparison
from slotlab.framework.compare.statistics import correct, difference

ALIKE = 1e-6
"""Two values of one baseline on the same pictures differ by less than this."""


@dataclass(frozen=True)
class Standing:
    """An arm and the places that it may have."""

    arm: Arm
    better: tuple[str, ...]
    """The arms that the tests find better."""
    worse: tuple[str, ...]
    """The arms that the tests find worse."""
    rivals: int
    """How many arms have a value, this one included; 0 if this one has none."""

    @property
    def places(self) -> tuple[int, int] | None:
        """The best and the last place that the tests leave open; None without a value."""
        return (1 + len(self.better), self.rivals - len(self.worse)) if self.rivals else None


@dataclass(frozen=True)
class TrivialRow:
    """A trivial baseline, which needs no training."""

    name: str
    segments: int | None
    """How many segments it may use: as many as the models beside it have slots."""
    values: Mapping[str, float | None]
    """By metric; None where it has no value."""


@dataclass(frozen=True)
class Board:
    """The leaderboard of one comparison."""

    comparison: Comparison
    standings: tuple[Standing, ...]
    """By the mean of the primary metric, the best first; arms without a value last."""
    baselines: tuple[TrivialRow, ...]
    notes: tuple[str, ...] = ()
    """What contradicts itself in the baselines."""


def board_of(comparison: Comparison) -> Board:
    """Return the leaderboard of a comparison; the order of its arms changes nothing."""
    arms = sorted(comparison.arms, key=lambda arm: (-quality(comparison, mean_of(comparison, arm)), arm.name))
    found = better_pairs(comparison, arms)
    valued = sum(mean_of(comparison, arm) is not None for arm in arms)
    standings = [
        Standing(
            arm,
            tuple(better for better, worse in found if worse == arm.name),
            tuple(worse for better, worse in found if better == arm.name),
            0 if mean_of(comparison, arm) is None else valued,
        )
        for arm in arms
    ]
    rows, notes = trivial_rows(comparison)
    return Board(comparison, tuple(standings), rows, notes)


def mean_of(comparison: Comparison, arm: Arm) -> float | None:
    """Return the mean of the primary metric over an arm's finished runs."""
    return arm.statistics[comparison.primary.name].mean


def quality(comparison: Comparison, value: float | None) -> float:
    """Return a value of the primary metric so that more is better; none is worst."""
    if value is None:
        return -math.inf
    return value if comparison.primary.higher_is_better else -value


def better_pairs(comparison: Comparison, arms: Sequence[Arm]) -> list[tuple[str, str]]:
    """Return (better, worse) for all pairs that differ, by tests corrected for the number of pairs (Holm).

    Two arms are tested as `compare` tests an arm and its baseline: by the t test paired by seed or, where
    only some runs of one of them bound, by Fisher's exact test of how many did.
    """
    pairs = list(combinations(sorted(arms, key=lambda arm: arm.name), 2))
    tested = [tested_pair(comparison, one, other) for one, other in pairs]
    found = []
    for (one, other), (gain, _), p in zip(pairs, tested, correct([p for _, p in tested]), strict=True):
        if p is not None and p < LEVEL and gain:
            found.append((one.name, other.name) if gain > 0 else (other.name, one.name))
    return found


def tested_pair(comparison: Comparison, one: Arm, other: Arm) -> tuple[float, float | None]:
    """Return by how much an arm is better than another, and the uncorrected p of the difference."""
    if one.binding is not None and other.binding is not None and (one.is_mixed or other.is_mixed):
        gain = (one.binding.rate or 0.0) - (other.binding.rate or 0.0)
        return gain, fisher(one.binding, other.binding)
    name = comparison.primary.name
    found = difference(one.statistics[name].by_seed, other.statistics[name].by_seed)
    mean = found.mean or 0.0
    return mean if comparison.primary.higher_is_better else -mean, found.p


def trivial_rows(comparison: Comparison) -> tuple[tuple[TrivialRow, ...], tuple[str, ...]]:
    """Return the baselines by name and number of segments, and what differs between runs.

    They see pictures and a number of segments alone, so that all runs with as many slots measured the same.
    """
    names = [metric.name for metric in comparison.metrics]
    every: dict[tuple[str, int | None], list[Mapping[str, float | None]]] = {}
    for arm in sorted(comparison.arms, key=lambda arm: arm.name):
        for member in arm.members:
            slots = member.evaluation.facts.get("slots")
            for method, values in member.evaluation.beside.items():
                every.setdefault((method, slots), []).append({name: values.get(name) for name in names})
    rows, notes = [], []
    for (method, slots), found in sorted(every.items(), key=lambda item: (item[0][0], item[0][1] or 0)):
        rows.append(TrivialRow(method, slots, found[0]))
        for name in names:
            known = [value for values in found if (value := values[name]) is not None]
            if known and max(known) - min(known) > ALIKE:
                low, high = f"{min(known):.6g}", f"{max(known):.6g}"
                text = f"{name} of the baseline {method} differs between runs ({low} to {high})"
                notes.append(f"{text}, though all measured the same pictures; the first is shown")
    return tuple(rows), tuple(notes)
