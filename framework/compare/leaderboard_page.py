"""Leaderboards as a page of Markdown and as JSON: the same studies give the same bytes."""

from collections.abc import Sequence
from typing import Any

from slotlab.framework.compare.csv_json import as_json
from slotlab.framework.compare.leaderboard import Board, Standing, TrivialRow, mean_of, quality
from slotlab.framework.compare.results import ArmCost, Comparison
from slotlab.framework.compare.table_markup import escape_markdown, markdown_table
from slotlab.framework.compare.tables import (
    binding,
    bound_runs,
    costs,
    differences,
    facts,
    failed_as_worst,
    seeds,
)
from slotlab.framework.compare.text_table import NONE, TextTable, decimals, head, interval, number
from slotlab.framework.system.privacy import nameless

FORMAT = 1
"""Version of the shape of the JSON."""
INTRODUCTION = """\
**place**: where a row may stand, as far as tests of all pairs bear it out: paired by seed or, where only
some runs bound, Fisher's exact test; corrected by Holm's method. Rows are sorted by the mean, which alone
bears no order. **[ ]**: 95 % intervals, of means by Student's t, of rates exact. Failed runs are counted, and
in no mean. Baselines are measured on the same pictures and learn nothing.
"""


def leaderboard_table(board: Board) -> TextTable:
    """Return the leaderboard: arms and baselines, sorted by the primary metric."""
    comparison = board.comparison
    bound = () if comparison.failed_below is None else ("bound", "rate [95 % interval]")
    metrics = [f"{head(metric)} [95 % interval]" for metric in comparison.metrics]
    cost = ("parameters, M", "minutes", "TFLOP")
    heads = ("trained", "place", "seeds", "failed", *bound, *metrics, *cost)
    rows: list[tuple[float, int, tuple[str, ...]]] = []
    for order, one in enumerate(board.standings):
        rows.append((-quality(comparison, mean_of(comparison, one.arm)), order, arm_row(comparison, one)))
    for order, row in enumerate(board.baselines, start=len(rows)):
        value = row.values[comparison.primary.name]
        rows.append((-quality(comparison, value), order, trivial_row(comparison, row, bool(bound))))
    ordered = tuple(cells for _, _, cells in sorted(rows, key=lambda item: item[:2]))
    return TextTable(comparison.title, heads, ordered)


def arm_row(comparison: Comparison, one: Standing) -> tuple[str, ...]:
    """Return the cells of an arm."""
    arm = one.arm
    cells = [arm.name, place(one), str(len(arm.members)), str(len(arm.failed))]
    if arm.binding is not None:
        cells += [bound_runs(arm.binding), whole(arm.binding.rate, interval(arm.binding.interval, 2), 2)]
    for metric in comparison.metrics:
        found, places = arm.statistics[metric.name], decimals(comparison, metric)
        cells.append(whole(found.mean, interval(found.interval, places), places))
    return (*cells, *cost_cells(arm.cost))


def trivial_row(comparison: Comparison, row: TrivialRow, bound: bool) -> tuple[str, ...]:
    """Return the cells of a baseline."""
    segments = "" if row.segments is None else f", {row.segments} segments"
    cells = [f"baseline {row.name}{segments}", *[NONE] * (5 if bound else 3)]
    cells += [number(row.values[one.name], decimals(comparison, one)) for one in comparison.metrics]
    return (*cells, *[NONE] * 3)


def whole(value: float | None, ends: str, places: int) -> str:
    """Write a number and, if it has one, its interval."""
    return number(value, places) + ("" if ends == NONE else f" {ends}")


def place(one: Standing) -> str:
    """Write the places that tests leave open."""
    if one.places is None:
        return NONE
    first, last = one.places
    return str(first) if first == last else f"{first} to {last}"


def cost_cells(cost: ArmCost) -> tuple[str, ...]:
    """Write the cost of a run."""
    quantities = ((cost.parameters, 1e6), (cost.seconds, 60), (cost.flops, 1e12))
    return tuple(NONE if value is None else f"{value / unit:.3g}" for value, unit in quantities)


def findings(board: Board) -> list[str]:
    """Return in sentences which arms the tests tell apart."""
    name = board.comparison.primary.name
    lines = [
        f"{one.arm.name} is better than {', '.join(one.worse)} in {name}"
        for one in board.standings
        if one.worse
    ]
    if not lines:
        return [f"no test tells any two of these apart in {name}: the order of their rows bears nothing"]
    return lines


def failures(comparison: Comparison) -> TextTable | None:
    """Return every failed run with its reason; None if no run failed."""
    rows = [
        (arm.name, str(run.seed), nameless(run.reason) or NONE)
        for arm in sorted(comparison.arms, key=lambda arm: arm.name)
        for run in arm.failed
    ]
    return TextTable("failed runs", ("trained", "seed", "reason"), tuple(rows), texts=3) if rows else None


def details(comparison: Comparison) -> list[TextTable]:
    """Return the tables of `compare` that tell more of the primary metric."""
    found = []
    if comparison.failed_below is not None:
        found.append(binding(comparison, [comparison.primary]))
    found.append(seeds(comparison, comparison.primary))
    if comparison.baseline is not None and len(comparison.arms) > 1:
        found.append(differences(comparison, comparison.primary))
    if any(comparison.primary.name in arm.with_failed for arm in comparison.arms):
        found.append(failed_as_worst(comparison, comparison.primary))
    return [*found, costs(comparison)]


def page(boards: Sequence[Board], *, title: str, command: str) -> str:
    """Return the page of several leaderboards.

    Args:
        boards: in the order of the page.
        title: its heading.
        command: how the page is written again.
    """
    parts = [f"# {escape_markdown(title)}\n\n{INTRODUCTION}\nWritten by `{command}`."]
    for board in boards:
        parts.append(
            f"## {escape_markdown(board.comparison.title)}\n\n{markdown_table(leaderboard_table(board))}"
        )
        lines = [*findings(board), *board.notes, *facts(board.comparison)]
        parts.append("\n".join(f"* {escape_markdown(line)}" for line in lines))
        more = [failures(board.comparison), *details(board.comparison)]
        for table in filter(None, more):
            parts.append(f"### {escape_markdown(table.title)}\n\n{markdown_table(table)}")
    return "\n\n".join(parts) + "\n"


def boards_json(boards: Sequence[Board]) -> dict[str, Any]:
    """Return the leaderboards as JSON-ready data; None where there is no value."""
    return {"format": FORMAT, "boards": [_board(board) for board in boards]}


def _board(board: Board) -> dict[str, Any]:
    return {
        "standings": [
            {
                "arm": one.arm.name,
                "places": None if one.places is None else list(one.places),
                "better": list(one.better),
                "worse": list(one.worse),
            }
            for one in board.standings
        ],
        "baselines": [
            {"name": row.name, "segments": row.segments, "values": dict(row.values)}
            for row in board.baselines
        ],
        "findings": [*findings(board), *board.notes],
        "comparison": as_json(board.comparison),
    }
