"""A study's folder: what was planned. The results lie in the run folders alone.

STUDY/study.yaml   the ablation, with all its settings: a valid ablation by itself
STUDY/plan.json    arms, seeds and runs, for comparisons
STUDY/history.json what was planned before, and how many runs were measured then
STUDY/specs/       RUN_ID.yaml, the resolved spec of each run
STUDY/logs/        RUN_ID.log, what each run printed

Runs lie in a pool that studies share, one folder per run id. Torch is not imported.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from slotlab.framework.spec.errors import dotted
from slotlab.framework.spec.messages import say
from slotlab.framework.system.atomic import clear_leavings, is_barely_begun, leavings
from slotlab.framework.system.json_files import read_json, write_json
from slotlab.registry import SlotlabError

FORMAT = 1
"""Version of the plan's shape."""


@dataclass(frozen=True)
class PlannedAxis:
    """One thing that is varied."""

    name: str
    path: str | None
    """The spec path that it sets; None if it sets several."""
    values: tuple[str, ...]
    """The labels of its values."""


@dataclass(frozen=True)
class PlannedRun:
    """One training of an arm."""

    seed: int
    run_id: str
    run: str
    """The run's folder, relative to the study's; absolute if it lies on another drive."""


@dataclass(frozen=True)
class PlannedArm:
    """One combination of the axes' values, trained once for each seed."""

    name: str
    settings: Mapping[str, Any]
    """Value by spec path, of what the axes set."""
    runs: tuple[PlannedRun, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    """Label by axis."""
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    """How its runs are evaluated: `split`, `protocol`, `mask_source`, `slots`, `metrics`, ..."""


@dataclass(frozen=True)
class PlannedLooks:
    """When one looks at a growing study, and how strict each look is."""

    rule: str
    looks: tuple[int, ...]
    """After how many of the seeds one looks, rising."""
    alpha: float


@dataclass(frozen=True)
class PlannedComparison:
    """What a study compares, and under which evaluation."""

    metrics: tuple[str, ...]
    primary: str
    baseline: str
    """An arm's name."""
    protocol: str | None
    """As reports name it; None if the arms differ in it, such as by the size of images."""
    split: str
    mask_source: str
    failed_below: float | None = None
    """A run whose primary metric is worse than this counts as failed to bind; None for no such limit."""
    checkpoint: str | None = None
    """Whose weights are evaluated: `last`, `best` or `step 300`; None for plans without this key."""
    sequential: PlannedLooks | None = None
    """The rule for looking before all seeds are there; None for one look at the end."""
    equivalent_within: float | None = None
    """Arms that differ from the baseline by less than this count as equivalent; None for no such test."""


@dataclass(frozen=True)
class PlannedSearch:
    """By what the arms were chosen, one after the other."""

    sampler: str
    trials: int
    seed: int


@dataclass(frozen=True)
class PlannedHalving:
    """By which rule arms are stopped early, and which were."""

    rungs: tuple[int, ...]
    keep: float
    metric: str
    stopped: Mapping[str, int] = field(default_factory=dict)
    """The step at which each arm was stopped, by its name."""


@dataclass(frozen=True)
class StudyPlan:
    """All that a study is made of, as data that JSON can hold."""

    name: str
    question: str
    base: str
    axes: tuple[PlannedAxis, ...]
    compare: PlannedComparison
    arms: tuple[PlannedArm, ...]
    search: PlannedSearch | None = None
    """By what the arms were chosen; None if they were all named beforehand."""
    halving: PlannedHalving | None = None
    """By which rule arms are stopped early; None for no such rule."""

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The ids of all runs, each once: arms that differ in their evaluation alone share their runs."""
        return tuple(dict.fromkeys(run.run_id for arm in self.arms for run in arm.runs))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, in the order in which they are trained."""
        return tuple(dict.fromkeys(run.seed for arm in self.arms for run in arm.runs))

    def to_json(self) -> dict[str, Any]:
        """Return the content of plan.json."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "StudyPlan":
        """Read the content of plan.json; unknown keys are ignored.

        Raises:
            ValidationError: if it is not a plan.
        """
        return _plan().validate_json(json.dumps(data), strict=True)


@cache
def _plan() -> TypeAdapter[StudyPlan]:
    return TypeAdapter(StudyPlan)


@dataclass(frozen=True)
class StudyFolder:
    """The files of one study."""

    path: Path

    @property
    def history(self) -> Path:
        """What was planned before, and how many runs were measured then, JSON."""
        return self.path / "history.json"

    @property
    def study(self) -> Path:
        """The resolved ablation."""
        return self.path / "study.yaml"

    @property
    def plan(self) -> Path:
        """The plan, JSON."""
        return self.path / "plan.json"

    def spec(self, run_id: str) -> Path:
        """The resolved spec of a run."""
        return self.path / "specs" / f"{run_id}.yaml"

    def log(self, run_id: str) -> Path:
        """The file of what a run printed."""
        return self.path / "logs" / f"{run_id}.log"

    def run(self, planned: PlannedRun) -> Path:
        """The folder of a run."""
        return Path(os.path.normpath(self.path / planned.run))

    @classmethod
    def open(cls, path: Path) -> "StudyFolder":
        """Return the folder of an existing study.

        Raises:
            SlotlabError: if there is none.
        """
        study = cls(path)
        if not study.plan.is_file():
            reason = "is not a study: it has no plan.json" if path.exists() else "does not exist"
            found = sorted(str(p.parent) for p in Path("studies").glob("*/plan.json"))
            known = f" (studies here: {', '.join(found)})" if found else ""
            raise SlotlabError(f"{path} {reason}{known}; 'slotlab ablate FILE' makes one")
        return study

    def is_free(self) -> bool:
        """Return whether a study may be written here: there is no folder, or a study, or one just begun."""
        if not self.path.is_dir():
            return not self.path.exists()
        return self.plan.is_file() or is_barely_begun(self.path, self.plan.name)

    def clear_leavings(self) -> None:
        """Remove the temporary files that killed processes left."""
        for file in (self.plan, self.study, self.history):
            clear_leavings(leavings(self.path, of=file.name))
        clear_leavings(leavings(self.path / "specs"))

    def write_plan(self, plan: StudyPlan) -> None:
        """Write the plan, atomically."""
        write_json(self.plan, plan.to_json())

    def read_plan(self) -> StudyPlan:
        """Return the plan.

        Raises:
            SlotlabError: if it is damaged, or of another format.
        """
        data = read_json(self.plan)
        if (found := data.get("format")) not in (None, FORMAT):
            raise SlotlabError(f"{self.plan} is of format {found}, and this slotlab reads format {FORMAT}")
        try:
            return StudyPlan.from_json(data)
        except ValidationError as error:
            detail = next(iter(error.errors(include_url=False)))
            place = dotted(tuple(detail["loc"]))
            raise SlotlabError(f"{self.plan} is damaged ({place}: {say(detail)}); plan it again") from None


def sharing(study: StudyFolder, run_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return, for each run, the names of the other studies beside this one that share it."""
    found: dict[str, list[str]] = {run_id: [] for run_id in run_ids}
    for path in sorted(study.path.parent.glob("*/plan.json")):
        if path.parent.resolve() == study.path.resolve():
            continue
        try:
            other = StudyFolder(path.parent).read_plan()
        except SlotlabError:  # damaged, or of another version: its runs are not known
            continue
        for run_id in other.run_ids:
            if run_id in found:
                found[run_id].append(other.name)
    return found
