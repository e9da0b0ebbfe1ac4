"""Color, marker and line of each arm: the same in every figure, and told apart without colors too."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slotlab.framework.compare.results import Arm
from slotlab.framework.figures.style import INK, fold

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Of Okabe and Ito ("Color Universal Design", 2008), without yellow, which is too faint on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Looked:
    """An arm and how it is drawn."""

    arm: Arm
    color: str
    marker: str
    line: str


OTHER = "#5F6B73"
"""Of arms that are only in figures with a row for each."""


def look(arms: Sequence[Arm], baseline: str | None) -> dict[str, Looked]:
    """Give each arm its look, by name; the baseline is black."""
    found, others = {}, 0
    for arm in arms:
        turn = others // len(COLORS)
        marker = MARKERS[(others + turn + 1) % len(MARKERS)]
        found[arm.name] = Looked(arm, COLORS[others % len(COLORS)], marker, LINES[turn % len(LINES)])
        if arm.name == baseline:
            found[arm.name] = Looked(arm, INK, "o", "-")
        else:
            others += 1
    return found


def plain(text: str, *, width: int = 60) -> str:
    """Return text that matplotlib writes as it is, broken into lines: it reads `$` as mathematics.

    A curve whose name begins with `_` would have no place in the legend.
    """
    folded = fold(text, width=width)
    return f" {folded}" if folded.startswith("_") else folded


def legend(figure: Any, names: Sequence[str]) -> None:
    """Put the arms' names under a figure, which grows by what they take; call it last."""
    longest = max(map(len, names))
    columns = 3 if longest < 20 else 2 if longest < 36 else 1
    lines = sum(plain(name).count("\n") + 1 for name in names) / columns
    figure.set_figheight(figure.get_figheight() + 0.2 * math.ceil(lines))
    figure.legend(loc="outside lower center", ncols=columns)
