"""A study's plan, as `slotlab ablate` writes it: arms, their runs, and what is compared."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotlab.framework.atomic import read_json
from slotlab.registry import SlotlabError

PLAN = "plan.json"
"""In a study's folder."""


@dataclass(frozen=True)
class PlannedRun:
    """A run that a study is made of, whether it was begun or not."""

    seed: int
    run_id: str
    path: Path


@dataclass(frozen=True)
class PlannedArm:
    """An arm as the study's plan names it."""

    name: str
    settings: Mapping[str, Any]
    """By spec path, as the axes give them."""
    runs: tuple[PlannedRun, ...]


@dataclass(frozen=True)
class Choice:
    """What is compared. Everything may be left open (None)."""

    metrics: tuple[str, ...] = ()
    primary: str | None = None
    baseline: str | None = None
    dataset: str | None = None
    protocol: str | None = None
    split: str | None = None
    mask_source: str | None = None
    failed_below: float | None = None


@dataclass(frozen=True)
class Plan:
    """What a study consists of."""

    name: str
    question: str
    """May be empty."""
    base: str
    """The spec that the arms change."""
    axes: tuple[Mapping[str, Any], ...]
    """`name`, `path` and `values` (labels) of each axis."""
    choice: Choice
    arms: tuple[PlannedArm, ...]


def read_plan(study: Path) -> Plan:
    """Read the plan in a study's folder.

    Raises:
        SlotlabError: if there is no plan, or it is none.
    """
    file = study / PLAN
    if not file.is_file():
        raise SlotlabError(f"{study} is no study: it has no {PLAN}")
    plan = read_json(file)
    try:
        arms = tuple(_planned_arm(arm, study) for arm in plan["arms"])
        chosen = {name: value for name, value in plan.get("compare", {}).items() if value is not None}
        chosen["metrics"] = tuple(chosen.get("metrics", ()))
        choice = Choice(**{name: value for name, value in chosen.items() if name in Choice.__match_args__})
    except (KeyError, TypeError) as error:
        raise SlotlabError(f"{file}: not a plan as 'slotlab ablate' writes it: {error!r}") from None
    return Plan(
        name=str(plan.get("name", study.name)),
        question=str(plan.get("question") or ""),
        base=str(plan.get("base") or ""),
        axes=tuple(plan.get("axes", ())),
        choice=choice,
        arms=arms,
    )


def _planned_arm(arm: Mapping[str, Any], study: Path) -> PlannedArm:
    runs = (PlannedRun(run["seed"], run["run_id"], _inside(study, run["run"])) for run in arm["runs"])
    return PlannedArm(arm["name"], arm.get("settings", {}), tuple(runs))


def _inside(study: Path, run: str) -> Path:
    """Return where a run lies, without `..`; a study's folder may be a link."""
    return Path(os.path.normpath(study.resolve() / run))
