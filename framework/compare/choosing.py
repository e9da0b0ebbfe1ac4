"""What of all that was measured is compared: metrics, the baseline arm, published numbers."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from slotlab.framework.compare.choice import Choice
from slotlab.framework.compare.records import Study
from slotlab.framework.compare.results import Arm, Member, Metric
from slotlab.registry import SlotlabError


def choose_metrics(members: Sequence[Member], choice: Choice) -> tuple[list[Metric], Metric]:
    """Return the metrics to compare and the primary one: those asked for, else all that runs have.

    Raises:
        SlotlabError: for a metric that no run has.
    """
    known: dict[str, Metric] = {}
    for member in members:
        bounds = member.evaluation.bounds
        for name in member.evaluation.values:
            if name not in known:
                higher = member.evaluation.higher_is_better[name]
                known[name] = Metric(name, higher, bounds.get(name, (None, None)))
    for name in filter(None, (*choice.metrics, choice.primary)):
        if name not in known:
            raise SlotlabError(
                f"no run has a metric '{name}'; they have {', '.join(known)}{_close(name, known)}"
            )
    primary = known[choice.primary or next(iter(choice.metrics or known))]
    chosen = [known[name] for name in dict.fromkeys(choice.metrics or known)]
    return (chosen if primary in chosen else [primary, *chosen]), primary


def choose_baseline(arms: Sequence[Arm], name: str | None, studies: Sequence[Study]) -> Arm | None:
    """Return the baseline arm; None if there is none, or none of its runs was begun.

    Raises:
        SlotlabError: if no arm has that name, nor will have by a plan.
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


def published(members: Sequence[Member], metrics: Sequence[Metric]) -> tuple[dict[str, Any], ...]:
    """Return the published numbers that evaluations list beside theirs, of the compared metrics."""
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
