"""Which metrics are compared, with which baseline arm, and beside which published numbers."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from slotlab.framework.compare.request import ComparisonRequest
from slotlab.framework.compare.results import Arm, ComparedMetric, MeasuredRun
from slotlab.framework.compare.run_records import StudyRecord
from slotlab.registry import SlotlabError


def choose_metrics(
    members: Sequence[MeasuredRun], request: ComparisonRequest
) -> tuple[list[ComparedMetric], ComparedMetric]:
    """Return the metrics to compare and the primary one: the requested ones, else all that runs have.

    Raises:
        SlotlabError: for a requested metric that no run has.
    """
    known: dict[str, ComparedMetric] = {}
    for member in members:
        bounds = member.evaluation.bounds
        for name in member.evaluation.values:
            if name not in known:
                higher = member.evaluation.higher_is_better[name]
                known[name] = ComparedMetric(name, higher, bounds.get(name, (None, None)))
    for name in filter(None, (*request.metrics, request.primary)):
        if name not in known:
            raise SlotlabError(
                f"no run has a metric '{name}'; they have {', '.join(known)}{_close(name, known)}"
            )
    primary = known[request.primary or next(iter(request.metrics or known))]
    chosen = [known[name] for name in dict.fromkeys(request.metrics or known)]
    return (chosen if primary in chosen else [primary, *chosen]), primary


def choose_baseline(arms: Sequence[Arm], name: str | None, studies: Sequence[StudyRecord]) -> Arm | None:
    """Return the baseline arm; None without a name, or if none of the planned arm's runs has begun.

    Raises:
        SlotlabError: if neither an arm nor a planned arm has this name.
    """
    if name is None:
        return None
    found = next((arm for arm in arms if arm.name == name), None)
    planned = {arm.name for study in studies for arm in study.plan.arms}
    if found is None and name not in planned:
        names = [arm.name for arm in arms]
        shown = ", ".join(f"'{other}'" for other in names[:12]) + (" ..." if len(names) > 12 else "")
        raise SlotlabError(
            f"there is no arm '{name}' to compare with; the arms are {shown}{_close(name, names)}"
        )
    return found


def published(
    members: Sequence[MeasuredRun], metrics: Sequence[ComparedMetric]
) -> tuple[dict[str, Any], ...]:
    """Return the published numbers of the compared metrics that the evaluations list."""
    one_each = {tuple(member.facts.items()): member.evaluation for member in members}
    rows = [row for evaluation in one_each.values() for row in evaluation.summary().get("published", ())]
    names = [metric.name for metric in metrics]  # a row that names none is kept
    found: list[dict[str, Any]] = []
    for row in rows:
        if row not in found and row.get("metric", names[0]) in names:
            found.append(row)
    return tuple(found)


def _close(name: str, known: Iterable[str]) -> str:
    found = get_close_matches(name, list(known), n=1)
    return f"; did you mean '{found[0]}'?" if found else ""
