"""Group-sequential tests: how strict each look at a growing study must be, so that all looks share alpha.

Lan and DeMets 1983, "Discrete sequential boundaries for clinical trials", Biometrika 70; the recursion over
looks is that of Armitage, McPherson and Rowe 1969.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import optimize, special

from slotlab.framework.compare.statistics import ALPHA, POWER

OBRIEN_FLEMING, POCOCK = "obrien_fleming", "pocock"
NODES = 200
"""Points of Gauss-Legendre quadrature over the region in which a study goes on."""
FARTHEST = 38.0
"""A standard normal value beyond which no probability is left in float64."""
LEAST, MOST = 1e-6, 0.5
"""The levels between which a sequential p value is sought."""
DRAWS = 200_000
"""Simulated studies from which the levels of t tests are found."""


def spent(rule: str, fraction: float, alpha: float) -> float:
    """Return the two-sided level that may be spent up to a fraction of the study (Lan and DeMets 1983).

    Args:
        rule: `obrien_fleming`, which spends little at first, or `pocock`, which spends evenly.
        fraction: of the seeds, from 0 to 1; at 1 all of alpha is spent.
        alpha: the two-sided level of the whole study.
    """
    if rule == OBRIEN_FLEMING:
        return float(4 * special.ndtr(special.ndtri(alpha / 4) / math.sqrt(fraction)))
    return alpha * math.log1p((math.e - 1) * fraction)


@dataclass(frozen=True)
class _State:
    """The part of the distribution of the score (z times the root of the seeds) that has not crossed."""

    points: "np.ndarray[Any, np.dtype[np.float64]]"
    weights: "np.ndarray[Any, np.dtype[np.float64]]"
    """Probability at each point."""
    seeds: float

    def crossing(self, bound: float, seeds: float, drift: float = 0.0) -> float:
        """Return the probability that |z| crosses a bound after so many seeds, and not before."""
        scale = math.sqrt(seeds - self.seeds)
        middle = self.points + drift * (seeds - self.seeds)
        edge = bound * math.sqrt(seeds)
        chances = special.ndtr((middle - edge) / scale) + special.ndtr((-edge - middle) / scale)
        return float(self.weights @ chances)

    def after(self, bound: float, seeds: float, drift: float = 0.0) -> "_State":
        """Return what has not crossed after a look."""
        scale = math.sqrt(seeds - self.seeds)
        middle = self.points + drift * (seeds - self.seeds)
        edge = bound * math.sqrt(seeds)
        low = max(-edge, float(middle.min()) - 9 * scale)
        high = min(edge, float(middle.max()) + 9 * scale)
        nodes, widths = _nodes()
        points = low + (high - low) * (nodes + 1) / 2
        density = np.exp(-(((points[:, None] - middle) / scale) ** 2) / 2) / (scale * math.sqrt(2 * math.pi))
        return _State(points, (density @ self.weights) * widths * (high - low) / 2, seeds)


@cache
def _nodes() -> tuple[Any, Any]:
    return np.polynomial.legendre.leggauss(NODES)


def _start() -> _State:
    return _State(np.zeros(1), np.ones(1), 0.0)


@cache
def bounds(
    rule: str, looks: tuple[int, ...], counts: tuple[int, ...], alpha: float = ALPHA
) -> tuple[float | None, ...]:
    """Return the bound of |z| at each look up to which there are counts; None where nothing new was seen.

    What is spent at a look follows from the plan; how looks depend on each other, from the pairs that
    there are (failed runs have none).

    Args:
        rule: how alpha is spent; see `spent`.
        looks: the planned numbers of seeds, rising; the last is the most.
        counts: the pairs at each look so far.
        alpha: the two-sided level of the whole study.
    """
    state, used = _start(), 0.0
    found: list[float | None] = []
    for planned, count in zip(looks, counts, strict=False):
        share = spent(rule, planned / looks[-1], alpha) - used
        if count <= state.seeds or share <= 0:
            found.append(None)
            continue
        bound = _bound(state, count, share)
        found.append(bound)
        used += state.crossing(bound, count)
        state = state.after(bound, count)
    return tuple(found)


def _bound(state: _State, seeds: float, share: float) -> float:
    def excess(bound: float) -> float:
        return state.crossing(bound, seeds) - share

    if excess(0.0) <= 0:  # all that goes on may be rejected
        return 0.0
    return float(optimize.brentq(excess, 0.0, FARTHEST, xtol=1e-10))


@cache
def levels(
    rule: str, looks: tuple[int, ...], counts: tuple[int, ...], alpha: float = ALPHA
) -> tuple[float, ...]:
    """Return the two-sided p below which a t test rejects at each look; the arguments are those of `bounds`.

    The bounds of normal values would be too lax for a few seeds: 6 in 100 studies of 3, 4 and 5 seeds without
    a difference would find one. So what each look spends is found in simulated t tests instead, always the
    same ones. 0 where nothing new was seen.
    """
    ps = null_ps(counts)
    alive = np.ones(DRAWS, dtype=bool)
    used, seen, found = 0.0, 1, []
    for planned, count, column in zip(looks, counts, ps, strict=False):
        share = spent(rule, planned / looks[-1], alpha) - used
        if count <= seen or share <= 0:
            found.append(0.0)
            continue
        left = column[alive]
        number = min(len(left) - 1, round(share * DRAWS))
        # p of the first look is uniform, so that nothing needs to be simulated for it.
        level = share if alive.all() else float(np.partition(left, number)[number])
        found.append(level)
        crossed = alive & (column < level)
        used += share if alive.all() else crossed.sum() / DRAWS
        alive &= ~crossed
        seen = count
    return tuple(found)


@cache
def null_ps(counts: tuple[int, ...]) -> tuple["np.ndarray[Any, np.dtype[np.float64]]", ...]:
    """Return p of simulated t tests of studies without a difference, (DRAWS,) at each look, as float64.

    A look without new pairs, or with one pair, has ones.
    """
    random = np.random.default_rng(0)
    total, squares, seen = np.zeros(DRAWS), np.zeros(DRAWS), 0
    found = []
    for count in counts:
        new = count - seen
        if new > 0:
            part = random.standard_normal(DRAWS) * math.sqrt(new)
            inner = random.chisquare(new - 1, DRAWS) if new > 1 else 0.0
            total, squares, seen = total + part, squares + part**2 / new + inner, count
        if new <= 0 or count < 2:
            found.append(np.ones(DRAWS))
            continue
        spread = np.sqrt((squares - total**2 / count) / (count - 1))
        found.append(2 * special.stdtr(count - 1, -np.abs(total) / (spread * math.sqrt(count))))
    return tuple(found)


def sequential_p(
    rule: str, looks: tuple[int, ...], counts: tuple[int, ...], ps: Sequence[float | None]
) -> float:
    """Return the smallest alpha at which a look so far would have rejected (Liu and Anderson 2008).

    Such p values may be corrected for the number of arms like others (Maurer and Bretz 2013). It is 1 if no
    alpha up to 0.5 would, and 1e-6 if all do.

    Args:
        rule: how alpha is spent.
        looks: the planned numbers of seeds.
        counts: the pairs at each look so far.
        ps: the two-sided p value at each look so far; None where there is no test.
    """

    def lacking(logarithm: float) -> float:
        found = levels(rule, looks, counts, math.exp(logarithm))
        gaps = [level - p for level, p in zip(found, ps, strict=True) if p is not None]
        return max(gaps, default=-1.0)

    low, high = math.log(LEAST), math.log(MOST)
    if lacking(high) < 0:
        return 1.0
    if lacking(low) >= 0:
        return LEAST
    return math.exp(_root(lacking, low, high))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    return float(optimize.brentq(function, low, high, xtol=1e-9))


@cache
def inflation(rule: str, looks: tuple[int, ...], alpha: float = ALPHA) -> float:
    """Return by how much the most seeds of a study with looks exceed those of one without, at 80 % power."""
    limits = bounds(rule, looks, looks, alpha)

    def lacking(drift: float) -> float:
        state, power = _start(), 0.0
        for bound, seeds in zip(limits, looks, strict=True):
            if bound is not None:
                power += state.crossing(bound, seeds, drift)
                state = state.after(bound, seeds, drift)
        return power - POWER

    def lacking_without(z: float) -> float:
        limit = -special.ndtri(alpha / 2)
        return float(special.ndtr(z - limit) + special.ndtr(-z - limit)) - POWER

    most = 12 / math.sqrt(looks[-1])
    return looks[-1] * (_root(lacking, 1e-6, most) / _root(lacking_without, 1e-6, 12.0)) ** 2
