"""Run folders and studies as data to compare, read from their files alone, without torch and plugins."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from slotlab.framework.compare.evaluation_record import EvaluationRecord, load_evaluation
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.plain_settings import ADDED, PATH, has_effect, leaves, with_added
from slotlab.framework.study.folder import PlannedRun, StudyFolder, StudyPlan
from slotlab.framework.study.history import PastPlan, read_history
from slotlab.framework.study.run_status import lies
from slotlab.framework.system.privacy import nameless_data
from slotlab.registry import SlotlabError

MEASURING = ("metric", "set_metric")
"""Kinds of components that do not affect training."""


Command = Literal["evaluate", "probe"]


@dataclass(frozen=True)
class RunRecord:
    """One run: its identity, its settings, how it ended, and its evaluations."""

    path: Path
    """The run's folder, as it was given or found."""
    name: str
    """The spec's name."""
    run_id: str
    seed: int
    state: str
    """`done`, `running`, `failed`, `stopped`, or `unknown` where no status was written."""
    reason: str
    """Why it is in this state; may be empty."""
    settings: Mapping[str, Any]
    """Each setting that can change the weights, except the seed, by its dotted path; file paths are
    written as `(a path)`."""
    versions: Mapping[str, str]
    """The version of each component used in training, by `kind.name`: `version 2`, with a hash of the
    content for plugin files. Each evaluation has the versions of its metrics."""
    provenance: Mapping[str, Any]
    cost: Mapping[str, Any]
    evaluations: Mapping[str, EvaluationRecord]
    """By the names of their folders; in a comparison of probes, the run's probes."""
    measured_by: Command = "evaluate"
    """The command that makes what is in `evaluations`."""

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, of `kind` train or validation, read on each access.

        Raises:
            SlotlabError: for a damaged line.
        """
        return RunFolder(self.path).read_log()

    def log_or_reason(self) -> tuple[list[dict[str, Any]], str]:
        """Return the log and an empty reason, or an empty log and the reason why it cannot be read."""
        try:
            return self.log, ""
        except SlotlabError as error:
            return [], str(error)

    @cached_property
    def place(self) -> Path:
        """The folder with links resolved: two records with the same place are the same run."""
        return self.path.resolve()


@dataclass(frozen=True)
class StudyRecord:
    """A study's folder: its plan, and those of its runs that exist."""

    path: Path
    plan: StudyPlan
    records: tuple[RunRecord, ...]
    """The planned runs that could be read, each folder once."""
    problems: Mapping[Path, str] = field(default_factory=dict)
    """The planned runs that have not begun or could not be read, and why."""
    history: tuple[PastPlan, ...] = ()
    """What was planned before, and at last."""

    def run(self, planned: PlannedRun) -> Path:
        """Return the folder of a planned run."""
        return where(self.path).run(planned)


@dataclass(frozen=True)
class Loaded:
    """The runs and studies that `load_all` found."""

    records: tuple[RunRecord, ...]
    """Each folder once."""
    studies: tuple[StudyRecord, ...]
    problems: Mapping[Path, str]
    """The run folders that have not begun or could not be read, and why."""


def load_run(path: Path, measured_by: Command = "evaluate") -> RunRecord:
    """Read one run folder, with its evaluations or its probes.

    Raises:
        SlotlabError: if it is not a run folder, or one of its files cannot be read.
    """
    run = RunFolder.open(path)
    spec = run.read_spec()
    # What is compared is shared; runs of older versions hold paths of those who made them.
    provenance, status = nameless_data(run.read_provenance()), nameless_data(run.read_status())
    folders = run.probes() if measured_by == "probe" else run.evaluations()
    evaluations = [load_evaluation(folder) for folder in folders]
    return RunRecord(
        path=path,
        name=spec["name"],
        run_id=provenance.get("run_id") or "",
        seed=spec.get("seed", 0),
        state=run.read_state() or "unknown",
        reason=status.get("reason", ""),
        settings=settings_of(spec),
        versions=versions_of(provenance),
        provenance=provenance,
        cost=run.read_cost(),
        evaluations={evaluation.name: evaluation for evaluation in evaluations},
        measured_by=measured_by,
    )


def settings_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return, by dotted path, the settings of a spec that can change the weights, except the seed."""
    flat = dict(ADDED) | {path: value for path, value in leaves(with_added(spec)) if has_effect(path)}
    return {path: _plain(value) for path, value in flat.items() if path not in ("seed", "format")}


def _plain(value: Any) -> Any:
    """Return a setting's value for comparison. Absolute paths depend on the machine and become a constant."""
    if isinstance(value, list):
        return tuple(_plain(item) for item in value)
    if isinstance(value, dict):  # an empty one: others have leaves of their own
        return ()
    return PATH if isinstance(value, str) and value.startswith(os.sep) else value


def versions_of(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return the version of each component used in training, with a hash of the content for plugin files."""
    found = {}
    for item in provenance.get("components", ()):
        if item["kind"] in MEASURING:
            continue
        source = f" ({item['source']})" if "@" in str(item["source"]) else ""
        found[f"{item['kind']}.{item['name']}"] = f"version {item['version']}{source}"
    return found


def find_runs(folder: Path) -> Iterator[Path]:
    """Yield the run folders below a folder, at any depth, in the order of their names."""
    for place, inner, files in os.walk(folder):
        if RunFolder(Path(place)).spec.name in files:
            inner.clear()  # nothing in a run folder is another run
            yield Path(place)
        inner.sort()


def load_study(path: Path, measured_by: Command = "evaluate") -> StudyRecord:
    """Read a study's plan and those of its runs that exist.

    Raises:
        SlotlabError: if the plan is missing or cannot be read.
    """
    plan = StudyFolder.open(path).read_plan()
    folders = (where(path).run(run) for arm in plan.arms for run in arm.runs)
    found = _load_folders(folders, measured_by)
    history = read_history(StudyFolder(path))
    return StudyRecord(path=path, plan=plan, records=found.records, problems=found.problems, history=history)


def where(study: Path) -> StudyFolder:
    """Return a study's folder with links resolved, since the paths of its runs lead out of it."""
    real = study.resolve()
    return StudyFolder(study if study.absolute() == real else real)


def load_all(paths: Sequence[Path], measured_by: Command = "evaluate") -> Loaded:
    """Read runs, folders of runs and studies, with the evaluations or the probes of each run.

    Raises:
        SlotlabError: for a path that does not exist or holds no run, and for a plan that cannot be read.
    """
    folders: list[Path] = []
    studies: list[StudyRecord] = []
    unread: dict[Path, str] = {}
    for path in paths:
        if StudyFolder(path).plan.is_file():
            try:
                studies.append(load_study(path, measured_by))
            except SlotlabError as error:
                if len(paths) == 1:
                    raise
                unread[path] = str(error)
            continue
        found = list(find_runs(path))
        if not found:
            reason = "there is no run in it (no spec.yaml)" if path.exists() else "it does not exist"
            raise SlotlabError(f"{path}: {reason}; give run folders, folders of runs or a study")
        folders += found
    single = _load_folders(folders, measured_by)
    records = {record.place: record for study in studies for record in study.records}
    for record in single.records:
        records.setdefault(record.place, record)
    problems = {path: text for study in studies for path, text in study.problems.items()}
    return Loaded(tuple(records.values()), tuple(studies), {**unread, **problems, **single.problems})


def _load_folders(paths: Iterable[Path], measured_by: Command) -> Loaded:
    """Read run folders, each once, and collect the reasons why some could not be read."""
    records: dict[Path, RunRecord] = {}
    problems: dict[Path, str] = {}
    for path in paths:
        try:
            if path.resolve() in records:
                continue
            if lies(RunFolder(path).spec):
                records[path.resolve()] = load_run(path, measured_by)
            else:
                problems[path] = "not begun"
        except SlotlabError as error:
            problems[path] = str(error)
        except (OSError, RuntimeError) as error:  # RuntimeError: a link that leads to itself
            problems[path] = getattr(error, "strerror", None) or str(error)
    return Loaded(tuple(records.values()), (), problems)
