"""Color, marker and line of each arm: the same in every figure, and distinguishable without color."""

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
class StyledArm:
    """An arm with the color, marker and line it is drawn with."""

    arm: Arm
    color: str
    marker: str
    line: str


OTHER = "#5F6B73"
"""Color of arms that appear only in figures with one row per arm."""


def style_arms(arms: Sequence[Arm], baseline: str | None) -> dict[str, StyledArm]:
    """Return each arm with its style, by name; the baseline is black."""
    found, others = {}, 0
    for arm in arms:
        turn, place = divmod(others, len(COLORS))
        marker = MARKERS[(place + turn + 1) % len(MARKERS)]  # one color has another marker at each turn
        found[arm.name] = StyledArm(arm, COLORS[place], marker, LINES[turn % len(LINES)])
        if arm.name == baseline:
            found[arm.name] = StyledArm(arm, INK, "o", "-")
        else:
            others += 1
    return found


def plain(text: str, *, width: int = 60) -> str:
    """Return text that matplotlib writes literally, broken into lines; it would read `$` as mathematics.

    matplotlib leaves curves whose name begins with `_` out of the legend, so a space is put before it.
    """
    folded = fold(text, width=width)
    return f" {folded}" if folded.startswith("_") else folded


def legend(figure: Any, names: Sequence[str]) -> None:
    """Put the legend with the arms' names under a figure, which grows by its height; call it last."""
    longest = max(map(len, names))
    columns = 3 if longest < 20 else 2 if longest < 36 else 1
    lines = sum(plain(name).count("\n") + 1 for name in names) / columns
    figure.set_figheight(figure.get_figheight() + 0.2 * math.ceil(lines))
    figure.legend(loc="outside lower center", ncols=columns)
