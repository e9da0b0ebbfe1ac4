"""Main effects and interactions over the axes of a full grid: analysis of variance with seeds as blocks.

With one value for each arm and seed the design is balanced, so that least squares are differences of
means, and the sums of squares of all terms add up (Fisher 1935, "The Design of Experiments", chapter VI).
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
from scipy import stats

from slotlab.framework.arithmetic.t_interval import t_bounds
from slotlab.framework.compare.further_results import Contrast, Effects, Term
from slotlab.framework.compare.results import Interval
from slotlab.framework.compare.statistics import NEGLIGIBLE, correct

Labels = Mapping[str, str]
"""The label of an arm on each axis."""


def effects(
    labels: Mapping[str, Labels], values: Mapping[str, Mapping[int, float]], baseline: str | None
) -> Effects | str:
    """Return the effects of all axes and of all their combinations, or why there are none.

    Args:
        labels: of each arm, by its name.
        values: the value of each seed, by arm.
        baseline: the arm whose levels are the references; None for the first.
    """
    levels = levels_of(labels)
    crossed = {tuple(one.get(axis) for axis in levels): name for name, one in labels.items()}
    cells = list(product(*levels.values()))
    lacking = [cell for cell in cells if cell not in crossed]
    if not levels or len(crossed) < len(labels):
        return "arms do not differ by labels of axes"
    if lacking:
        named = ", ".join(f"{axis}={one}" for axis, one in zip(levels, lacking[0], strict=True))
        return f"the grid is not full: there is no arm {named}, so axes cannot be told apart"
    every = {seed for one in values.values() for seed in one}
    shared = sorted(set.intersection(*(set(values[name]) for name in labels)))
    if len(shared) < 2:
        return "fewer than two seeds have a value in every arm"
    sizes = [len(one) for one in levels.values()]
    rows = [[values[crossed[cell]][seed] for cell in cells] for seed in shared]
    table = np.array(rows).reshape(len(shared), *sizes)
    first = crossed[cells[0]] if baseline is None else baseline
    terms, spread = terms_of(table, levels, labels[first])
    return Effects(tuple(shared), tuple(sorted(every - set(shared))), terms, spread)


def levels_of(labels: Mapping[str, Labels]) -> dict[str, list[str]]:
    """Return the labels of each axis that has several, in the order of the arms."""
    axes = dict.fromkeys(axis for one in labels.values() for axis in one)
    found = {axis: list(dict.fromkeys(one.get(axis, "") for one in labels.values())) for axis in axes}
    return {axis: several for axis, several in found.items() if len(several) > 1}


def terms_of(
    table: "np.ndarray[Any, np.dtype[np.float64]]", levels: Mapping[str, Sequence[str]], reference: Labels
) -> tuple[tuple[Term, ...], float | None]:
    """Return all terms and the residual standard deviation of a table of (seed, axis, axis, ...)."""
    seeds, arms = table.shape[0], table[0].size
    axes = list(range(1, table.ndim))
    squares = {}
    for order in range(1, len(axes) + 1):
        for chosen in combinations(axes, order):
            own = float((_deviation(table, chosen) ** 2).sum())
            squares[chosen] = own * table.size / _size(table, chosen)
    blocks = float((_deviation(table, (0,)) ** 2).sum()) * arms
    total = float(((table - table.mean()) ** 2).sum())
    rest, df = total - blocks - math.fsum(squares.values()), (seeds - 1) * (arms - 1)
    scale = (NEGLIGIBLE * float(np.abs(table).max())) ** 2 * table.size
    variance = rest / df if rest > scale else None
    found = []
    for chosen, square in squares.items():
        own = math.prod(table.shape[axis] - 1 for axis in chosen)
        f = None if variance is None else square / own / variance
        p = None if f is None else float(stats.f.sf(f, own, df))
        names = tuple(list(levels)[axis - 1] for axis in chosen)
        contrasts = _contrasts(table, chosen, names, levels, reference, variance, df)
        found.append(Term(names, f, (own, df), p, contrasts=contrasts))
    ps = correct([term.p for term in found])
    terms = tuple(
        Term(one.axes, one.f, one.df, one.p, p_holm, one.contrasts)
        for one, p_holm in zip(found, ps, strict=True)
    )
    return terms, None if variance is None else math.sqrt(variance)


def _size(table: "np.ndarray[Any, np.dtype[np.float64]]", chosen: Sequence[int]) -> int:
    return math.prod(table.shape[axis] for axis in chosen)


def _means(table: "np.ndarray[Any, np.dtype[np.float64]]", chosen: Sequence[int]) -> Any:
    """Return the means over all axes but the chosen ones, which stay."""
    others = tuple(axis for axis in range(table.ndim) if axis not in chosen)
    return table.mean(axis=others, keepdims=True)


def _deviation(table: "np.ndarray[Any, np.dtype[np.float64]]", chosen: Sequence[int]) -> Any:
    """Return what the chosen axes do together, without what fewer of them do."""
    parts = [
        (-1) ** (len(chosen) - order) * _means(table, some)
        for order in range(len(chosen) + 1)
        for some in combinations(chosen, order)
    ]
    return sum(parts)


def _contrasts(
    table: "np.ndarray[Any, np.dtype[np.float64]]",
    chosen: Sequence[int],
    names: Sequence[str],
    levels: Mapping[str, Sequence[str]],
    reference: Labels,
    variance: float | None,
    df: int,
) -> tuple[Contrast, ...]:
    """Return the contrasts of a term that say more than its F test; none of larger interactions."""
    means = np.squeeze(_means(table, chosen))
    each = table.size / _size(table, chosen)  # values behind each mean
    first = [levels[name].index(reference[name]) for name in names]

    def interval(mean: float, means: int) -> Interval | None:
        return None if variance is None else Interval(*t_bounds(mean, math.sqrt(means * variance / each), df))

    if len(chosen) == 1:
        differences = [float(one - means[first[0]]) for one in means]
        texts = levels[names[0]]
        return tuple(
            Contrast(texts[i], texts[first[0]], mean, interval(mean, 2))
            for i, mean in enumerate(differences)
            if i != first[0]
        )
    if len(chosen) > 2 or means.shape != (2, 2):
        return ()
    a, b = first
    mean = float(means[1 - a, 1 - b] - means[a, 1 - b] - means[1 - a, b] + means[a, b])
    texts = [levels[name][1 - place] for name, place in zip(names, first, strict=True)]
    base = [levels[name][place] for name, place in zip(names, first, strict=True)]
    return (Contrast(", ".join(texts), ", ".join(base), mean, interval(mean, 4)),)
