"""Run folders as data to compare, read from their files only: no torch, no plugins.

What is large is read when it is asked for: a run's log, an evaluation's breakdowns and rows.
"""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from slotlab.framework.atomic import read_json
from slotlab.framework.compare.plans import PLAN, Plan, read_plan
from slotlab.framework.run import IMAGES, SUMMARY, RunFolder
from slotlab.framework.spec.plain import PATH, has_effect, leaves, load_dumped
from slotlab.registry import SlotlabError

MODEL = "model"
"""The method that stands for the trained model in an evaluation."""

FORMAT = 2
"""Of the summaries that can be compared."""


@dataclass(frozen=True)
class EvaluationRecord:
    """One evaluation of a run: under which protocol, and what came out."""

    folder: Path
    facts: Mapping[str, Any]
    """The summary without `methods`, `breakdowns` and `published` (see `summary` for those)."""
    values: Mapping[str, float | None]
    """The model's mean of each metric, and the value of each set metric; None where undefined."""
    higher_is_better: Mapping[str, bool]

    @property
    def name(self) -> str:
        """The folder's name, DATASET[-VARIANT]-SPLIT-PROTOCOL-MASKS."""
        return self.folder.name

    @property
    def dataset(self) -> str:
        """The dataset with its variant, such as `clevrtex-outd`."""
        variant = self.facts.get("variant")
        return f"{self.facts['dataset']}-{variant}" if variant else str(self.facts["dataset"])

    @property
    def split(self) -> str:
        """The split that was measured."""
        return str(self.facts["split"])

    @property
    def protocol(self) -> str:
        """The protocol as reports name it, with the settings that were changed."""
        return str(self.facts["protocol"])

    @property
    def mask_source(self) -> str:
        """`decoder` or `attention`."""
        return str(self.facts["mask_source"])

    @property
    def bounds(self) -> Mapping[str, tuple[float | None, float | None]]:
        """The least and greatest value of each metric that has bounds; None where there is none."""
        metrics = self.facts.get("metrics", {})
        return {name: tuple(item["bounds"]) for name, item in metrics.items() if item.get("bounds")}

    def summary(self) -> dict[str, Any]:
        """Read the whole summary, with `methods`, `breakdowns` and `published`."""
        whole: dict[str, Any] = read_json(self.folder / SUMMARY)
        return whole

    @property
    def breakdowns(self) -> dict[str, list[dict[str, Any]]]:
        """Read the metrics by number of objects and whatever else the summary has."""
        found: dict[str, list[dict[str, Any]]] = self.summary().get("breakdowns", {})
        return found

    def rows(self) -> list[dict[str, str]]:
        """Read the model's rows, one an image, in the order of the split.

        Raises:
            SlotlabError: if the file is not there.
        """
        path = self.folder / IMAGES
        if not path.is_file():
            raise SlotlabError(f"{path} is missing; evaluate the run again with 'slotlab evaluate'")
        with path.open(encoding="utf-8", newline="") as file:
            return [row for row in csv.DictReader(file) if row.get("method") == MODEL]


@dataclass(frozen=True)
class RunRecord:
    """One run: its identity, its settings, how it ended and what was measured."""

    path: Path
    """As it was found."""
    name: str
    """The spec's name."""
    run_id: str
    seed: int
    state: str
    """`done`, `running`, `failed`, `stopped`, or `unknown` where no status was written."""
    reason: str
    """Why it is in this state; empty if nothing is to be said."""
    settings: Mapping[str, Any]
    """Each setting that can change the weights, by its dotted path, without the seed; file paths as
    `(a path)`."""
    versions: Mapping[str, str]
    """Of each component, by `kind.name`: `version 2`, with the content's hash for a file's."""
    provenance: Mapping[str, Any]
    cost: Mapping[str, Any]
    evaluations: Mapping[str, EvaluationRecord]
    """By the name of their folder."""

    @property
    def log(self) -> list[dict[str, Any]]:
        """Read the log: the lines of metrics.jsonl, of `kind` train or validation.

        Raises:
            SlotlabError: for a line that is no JSON.
        """
        folder = RunFolder(self.path)
        try:
            return folder.read_log()
        except ValueError as error:
            raise SlotlabError(f"{folder.metrics}: not valid JSON lines: {error}") from None

    @cached_property
    def place(self) -> Path:
        """The folder with links resolved: two records of one place are one run."""
        return self.path.resolve()


@dataclass(frozen=True)
class Study:
    """A study's folder: its plan, and the runs that are there."""

    path: Path
    plan: Plan
    records: tuple[RunRecord, ...]
    """The planned runs that can be read, each folder once."""
    problems: Mapping[Path, str] = field(default_factory=dict)
    """Planned runs that were not begun or cannot be read, and why."""


@dataclass(frozen=True)
class Loaded:
    """What `load_all` found."""

    records: tuple[RunRecord, ...]
    """Each folder once."""
    studies: tuple[Study, ...]
    problems: Mapping[Path, str]
    """Run folders that were not begun or cannot be read, and why."""


def load_run(path: Path) -> RunRecord:
    """Read one run folder.

    Raises:
        SlotlabError: if it is none, or one of its files cannot be read.
    """
    run = RunFolder.open(path)
    spec = load_dumped(run.spec)
    if not isinstance(spec, dict):
        raise SlotlabError(f"{run.spec}: a spec is a mapping, and this is none")
    provenance, status = run.read_provenance(), run.read_status()
    evaluations = [load_evaluation(folder) for folder in run.evaluations()]
    return RunRecord(
        path=path,
        name=str(spec.get("name", path.name)),
        run_id=str(provenance.get("run_id", "")),
        seed=spec.get("seed", 0),
        state=status.get("state", "unknown"),
        reason=status.get("reason", ""),
        settings=settings_of(spec),
        versions=versions_of(provenance),
        provenance=provenance,
        cost=run.read_cost(),
        evaluations={evaluation.name: evaluation for evaluation in evaluations},
    )


def settings_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a resolved spec to the settings that can change the weights, without the seed."""
    flat = {path: value for path, value in leaves(spec) if has_effect(path)}
    return {path: _plain(value) for path, value in flat.items() if path not in ("seed", "format")}


def _plain(value: Any) -> Any:
    """Return a setting's value for comparing: paths are absolute in a resolved spec, and say nothing."""
    if isinstance(value, list):
        return tuple(_plain(item) for item in value)
    if isinstance(value, dict):  # an empty one: others have leaves of their own
        return ()
    return PATH if isinstance(value, str) and value.startswith(os.sep) else value


def versions_of(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return the version of each component that a run used; a file's content is part of it."""
    found = {}
    for item in provenance.get("components", ()):
        source = f" ({item['source']})" if "@" in str(item["source"]) else ""
        found[f"{item['kind']}.{item['name']}"] = f"version {item['version']}{source}"
    return found


def load_evaluation(folder: Path) -> EvaluationRecord:
    """Read the summary of one evaluation.

    Raises:
        SlotlabError: if it is no JSON, or an older slotlab wrote it.
    """
    summary = read_json(folder / SUMMARY)
    if summary.get("format") != FORMAT:
        text = f"summary of format {summary.get('format', 1)}, and {FORMAT} is needed"
        raise SlotlabError(f"{folder / SUMMARY}: {text}; evaluate the run again with 'slotlab evaluate'")
    model, sets = summary["methods"][MODEL], summary.get("set_metrics", {})
    values = {name: item["mean"] for name, item in model.items()}
    values |= {name: item["value"] for name, item in sets.items()}
    directions = {**summary["metrics"], **sets}
    dropped = {"methods", "breakdowns", "published"}
    return EvaluationRecord(
        folder=folder,
        facts={name: value for name, value in summary.items() if name not in dropped},
        values=values,
        higher_is_better={name: bool(item["higher_is_better"]) for name, item in directions.items()},
    )


def find_runs(folder: Path) -> Iterator[Path]:
    """Yield the run folders in a folder, at any depth, in the order of their names."""
    for place, inner, files in os.walk(folder):
        if RunFolder(Path(place)).spec.name in files:
            inner.clear()  # nothing in a run folder is another run
            yield Path(place)
        inner.sort()


def load_study(path: Path) -> Study:
    """Read a study's plan and those of its runs that are there.

    Raises:
        SlotlabError: if there is no plan, or it cannot be read.
    """
    plan = read_plan(path)
    found = _load_folders(run.path for arm in plan.arms for run in arm.runs)
    return Study(path=path, plan=plan, records=found.records, problems=found.problems)


def load_all(paths: Sequence[Path]) -> Loaded:
    """Read runs, folders of runs and studies.

    Raises:
        SlotlabError: for a path that is not there or holds no run, or a plan that cannot be read.
    """
    folders: list[Path] = []
    studies: list[Study] = []
    for path in paths:
        if (path / PLAN).is_file():
            studies.append(load_study(path))
            continue
        found = list(find_runs(path))
        if not found:
            reason = "there is no run in it (no spec.yaml)" if path.exists() else "it does not exist"
            raise SlotlabError(f"{path}: {reason}; give run folders, folders of runs or a study")
        folders += found
    single = _load_folders(folders)
    records = {record.place: record for study in studies for record in study.records}
    for record in single.records:
        records.setdefault(record.place, record)
    problems = {path: text for study in studies for path, text in study.problems.items()}
    return Loaded(tuple(records.values()), tuple(studies), {**problems, **single.problems})


def _load_folders(paths: Iterable[Path]) -> Loaded:
    """Read run folders, each once, and collect what cannot be read."""
    records: dict[Path, RunRecord] = {}
    problems: dict[Path, str] = {}
    for path in paths:
        if path.resolve() in records:
            continue
        if not RunFolder(path).spec.is_file():
            problems[path] = "not begun"
            continue
        try:
            records[path.resolve()] = load_run(path)
        except SlotlabError as error:
            problems[path] = str(error)
    return Loaded(tuple(records.values()), (), problems)
