"""What a study planned before, and how many of its runs were measured when it planned otherwise."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from slotlab.framework.study.folder import PlannedLooks, StudyFolder, StudyPlan
from slotlab.framework.system.json_files import read_json, write_json
from slotlab.registry import SlotlabError

FORMAT = 1
"""Version of the history's shape."""


@dataclass(frozen=True)
class PastPlan:
    """What a study planned from some time on, as far as it decides what its tests mean."""

    seeds: tuple[int, ...]
    arms: tuple[str, ...]
    primary: str
    baseline: str
    failed_below: float | None
    sequential: PlannedLooks | None
    measured: int
    """How many of its runs were trained and measured already when this was planned."""


@cache
def _plans() -> TypeAdapter[tuple[PastPlan, ...]]:
    return TypeAdapter(tuple[PastPlan, ...])


def read_history(study: StudyFolder) -> tuple[PastPlan, ...]:
    """Return the plans of a study, the first one first; none of a study that was made before there were any.

    Raises:
        SlotlabError: if the file is damaged.
    """
    data = read_json(study.history)
    if not data:
        return ()
    try:
        return _plans().validate_python(data.get("plans"))
    except ValidationError:
        raise SlotlabError(f"{study.history} is damaged; it should list the plans of the study") from None


def note_plan(study: StudyFolder, plan: StudyPlan, measured: int) -> None:
    """Add a plan to the history, if it differs from the last one in more than what is measured.

    Raises:
        SlotlabError: if the history is damaged; it is not lost by writing it anew.
    """
    past = read_history(study)
    compare = plan.compare
    now = PastPlan(
        seeds=plan.seeds,
        arms=tuple(arm.name for arm in plan.arms),
        primary=compare.primary,
        baseline=compare.baseline,
        failed_below=compare.failed_below,
        sequential=compare.sequential,
        measured=measured,
    )
    if not past or _told(past[-1]) != _told(now):
        plans = [asdict(one) for one in (*past, now)]
        write_json(study.history, {"format": FORMAT, "plans": plans})


def _told(plan: PastPlan) -> Mapping[str, Any]:
    return {key: value for key, value in vars(plan).items() if key != "measured"}
