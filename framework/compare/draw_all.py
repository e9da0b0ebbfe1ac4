"""Draw all figures of a comparison as PNG and PDF: intervals, differences, curves, costs."""

from dataclasses import dataclass
from pathlib import Path

from slotlab.framework.compare.arm_styles import OTHER, StyledArm, style_arms
from slotlab.framework.compare.draw_cost import draw_costs
from slotlab.framework.compare.draw_curves import draw_by_objects, draw_learning_curves
from slotlab.framework.compare.draw_intervals import draw_differences, draw_intervals
from slotlab.framework.compare.results import Comparison
from slotlab.framework.compare.shortlist import MOST, shortlist
from slotlab.framework.system.file_names import file_name

MOST_ROWS = 40
"""Arms per figure that has one row for each."""


@dataclass(frozen=True)
class Drawn:
    """The figures that were drawn."""

    stems: tuple[Path, ...]
    """Paths of the figures, without .png and .pdf."""
    note: str
    """Which arms and logs are missing from the figures; may be empty."""


def draw(comparison: Comparison, folder: Path) -> Drawn:
    """Draw into a folder all figures for which there is data.

    Raises:
        SlotlabError: for a summary that cannot be read.
    """
    styles = style_arms(shortlist(comparison, MOST), comparison.baseline)
    few = list(styles.values())
    many = [styles.get(arm.name, StyledArm(arm, OTHER, ".", "-")) for arm in shortlist(comparison, MOST_ROWS)]
    stems: list[Path] = []
    for metric in comparison.metrics:
        stems += draw_intervals(comparison, many, metric, folder / file_name(f"intervals-{metric.name}"))
        stems += draw_differences(comparison, many, metric, folder / file_name(f"differences-{metric.name}"))
        stems += draw_by_objects(few, metric, folder / file_name(f"objects-{metric.name}"))
    curves, damaged = draw_learning_curves(few, folder)
    stems += curves
    stems += draw_costs(comparison, few, folder)
    lost = [f"a damaged log has no curves: {reason}" for reason in damaged]
    return Drawn(tuple(stems), "; ".join(filter(None, [_note(comparison), *lost])))


def _note(comparison: Comparison) -> str:
    count = len(comparison.arms)
    if count <= MOST:
        return ""
    rows = f" (figures with one row per arm show {MOST_ROWS})" if count > MOST_ROWS else ""
    best = f"{MOST} of {count} arms: the baseline, the best of each metric, and the best by"
    return f"curves show {best} {comparison.primary.name}{rows}"
