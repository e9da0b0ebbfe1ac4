"""Build the page of a comparison: everything that is read, chosen and worded happens before rendering."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slotlab.framework.compare.arm_styles import COLORS
from slotlab.framework.compare.best_arms import proven_best
from slotlab.framework.compare.differing_settings import setting_text
from slotlab.framework.compare.results import Comparison
from slotlab.framework.compare.shortlist import shortlist
from slotlab.framework.report.costs import measures
from slotlab.framework.report.curves import group_charts, learning_curves
from slotlab.framework.report.gallery import gallery
from slotlab.framework.report.number_format import decimals_of
from slotlab.framework.report.page import ArmMark, Measure, Page, PublishedTable
from slotlab.framework.report.runs_and_provenance import counted, provenance, run_rows
from slotlab.framework.report.summary_sentences import findings
from slotlab.framework.study.folder import StudyFolder

SHAPES = 20
"""Shapes of marks: ten, each filled and open."""
PUBLISHED_FIRST = ("method", "metric", "value", "std")
"""Columns of published numbers that come first."""
MOST_LABELS = 8
"""How many values of an axis are named."""


def build_page(comparison: Comparison, *, title: str | None = None, seen_from: Path | None = None) -> Page:
    """Read what the page shows besides the comparison, and build the page.

    The same runs give the same page: it holds no times but those that the runs recorded.

    Args:
        comparison: the comparison to show.
        title: the title; None for that of the comparison.
        seen_from: the folder that paths of runs are relative to; None for what all runs have in common.

    Raises:
        SlotlabError: for a summary that cannot be read.
    """
    damaged = [f"a damaged log has no curves: {reason}" for reason in damaged_logs(comparison)]
    comparison = replace(comparison, notes=(*comparison.notes, *damaged))
    costs = measures(comparison)
    return Page(
        title=title or comparison.title,
        comparison=comparison,
        marks=marks(comparison, costs),
        drawn=drawn(comparison),
        axes=axes(comparison),
        facts=facts(comparison),
        findings=findings(comparison),
        protocol=protocol(comparison),
        best=best(comparison),
        decimals={metric.name: decimals_of(comparison, metric.name) for metric in comparison.metrics},
        published=published(comparison),
        curves=learning_curves(comparison),
        groups=group_charts(comparison),
        costs=costs,
        gallery=gallery(comparison),
        runs=run_rows(comparison, seen_from),
        provenance=provenance(comparison),
    )


def damaged_logs(comparison: Comparison) -> list[str]:
    """Return the reasons why logs cannot be read."""
    read = (member.run.log_or_reason() for arm in comparison.arms for member in arm.members)
    return [reason for _, reason in read if reason]


def marks(comparison: Comparison, costs: Sequence[Measure]) -> list[ArmMark]:
    """Return the arms' marks: the baseline has color 0, the others 1 to 6 in turn, with changing shapes.

    No two have the same, as long as there are marks enough; of more arms, those on a Pareto front come first.
    """
    arms = comparison.arms
    others = [position for position, arm in enumerate(arms) if arm.name != comparison.baseline]
    if len(others) > len(COLORS) * SHAPES:
        best = {arm for cost in costs for front in cost.fronts.values() for arm in front}
        others.sort(key=lambda position: position not in best)
    found = {position: ArmMark(0, 0) for position in range(len(arms))}
    for number, position in enumerate(others):
        found[position] = ArmMark(1 + number % len(COLORS), number // len(COLORS) % SHAPES)
    return list(found.values())


def best(comparison: Comparison) -> dict[str, str]:
    """Return, by metric, the arm with the best mean, where the corrected test bears it out."""
    every = ((metric.name, proven_best(comparison, metric)) for metric in comparison.metrics)
    return {name: arm.name for name, arm in every if arm is not None}


def drawn(comparison: Comparison) -> list[int]:
    """Return the positions of the arms that are drawn at first."""
    names = {arm.name for arm in shortlist(comparison)}
    return [position for position, arm in enumerate(comparison.arms) if arm.name in names]


def published(comparison: Comparison) -> PublishedTable:
    """Return the published numbers without empty columns."""
    rows = comparison.published
    known = dict.fromkeys(key for row in rows for key, value in row.items() if value not in (None, ""))
    columns = [
        *(name for name in PUBLISHED_FIRST if name in known),
        *(n for n in known if n not in PUBLISHED_FIRST),
    ]
    return PublishedTable(columns, [[published_text(row.get(column)) for column in columns] for row in rows])


def published_text(value: object) -> str:
    """Return the text of a cell; empty for None."""
    return "" if value is None else setting_text(value)


def axes(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Return what differs, with its values: the study's axes, or the settings that differ."""
    plan = StudyFolder(comparison.studies[0]).read_plan() if len(comparison.studies) == 1 else None
    if plan and plan.axes:
        found = [(axis.name, list(axis.values)) for axis in plan.axes]
    else:
        found = [
            (path, list(dict.fromkeys(setting_text(arm.settings.get(path, "—")) for arm in comparison.arms)))
            for path in comparison.differing
        ]
    return [(name, shortened(values)) for name, values in found]


def shortened(values: list[str]) -> list[str]:
    """Return the first values, and how many there are beyond them."""
    more = len(values) - MOST_LABELS
    return values if more <= 0 else [*values[:MOST_LABELS], f"{more} more"]


def facts(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Return the facts at the head of the page, as label, value and a smaller second line."""
    arms = comparison.arms
    done, failed = sum(len(arm.members) for arm in arms), sum(len(arm.failed) for arm in arms)
    seeds = sorted({member.run.seed for arm in arms for member in arm.members})
    each = sorted({len(arm.members) for arm in arms})
    per_arm = f"{each[0]} per arm" if len(each) == 1 else f"{each[0]} to {each[-1]} per arm" if each else ""
    found = [
        ("arms", f"{len(arms)}", f"baseline {comparison.baseline}" if comparison.baseline else "no baseline"),
        ("runs", f"{done}", f"{failed} failed" if failed else "none failed"),
        ("seeds", f"{len(seeds)}", per_arm),
        ("primary metric", comparison.primary.name, better(comparison)),
    ]
    dates = (str(run.provenance.get("started") or "")[:10] for run in counted(comparison))
    started = sorted(date for date in dates if date)
    if started:
        until = "" if started[0] == started[-1] else f"until {started[-1]}"
        found.append(("trained", started[0], until))
    return found + [(label, text, "") for label, text in comparison.measured.items() if text]


def better(comparison: Comparison) -> str:
    """Return whether higher or lower values of the primary metric are better, in words."""
    return "higher is better" if comparison.primary.higher_is_better else "lower is better"


def protocol(comparison: Comparison) -> str:
    """Return the conditions of evaluation in a sentence."""
    known = [(label, text) for label, text in comparison.measured.items() if text]
    parts = ", ".join(text if label in text else f"{label} {text}" for label, text in known)
    return f"All runs were evaluated under the same conditions: {parts}." if parts else ""
