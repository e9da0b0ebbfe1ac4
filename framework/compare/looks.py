"""Color, marker and line of each arm: the same in every figure, and told apart without colors too."""

from dataclasses import dataclass

from slotlab.framework.compare.results import Arm, Comparison
from slotlab.framework.figures.style import INK

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


def look(comparison: Comparison) -> dict[str, Looked]:
    """Give each arm its look, by name; the baseline is black."""
    found, others = {}, 0
    for arm in comparison.arms:
        if arm.name == comparison.baseline:
            found[arm.name] = Looked(arm, INK, "o", "-")
            continue
        turn = others // len(COLORS)
        color = COLORS[others % len(COLORS)]
        marker = MARKERS[(others + turn) % len(MARKERS)]
        found[arm.name] = Looked(arm, color, marker, LINES[turn % len(LINES)])
        others += 1
    return found
