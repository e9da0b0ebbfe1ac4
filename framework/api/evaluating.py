"""Evaluates runs, with a progress bar; all are checked before any is measured."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slotlab.framework.api.choosing import check_masks
from slotlab.framework.api.console import error_console, warn
from slotlab.framework.api.failures import Failures
from slotlab.framework.api.frames import as_frame
from slotlab.framework.api.progress import open_bar
from slotlab.framework.evaluation.conditions import Condition, EvaluationRequest, conditions
from slotlab.framework.jobs.evaluate import run_evaluations
from slotlab.framework.jobs.train import Prepared, choose_device, prepare
from slotlab.framework.plugin_loading.trust import Ask
from slotlab.framework.runs.folder import IMAGES, MODEL, RunFolder
from slotlab.framework.runs.measurement import LAST
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.plain_settings import leaves
from slotlab.framework.study.run_status import lies
from slotlab.framework.system import processes
from slotlab.framework.system.privacy import GONE
from slotlab.registry import SlotlabError

if TYPE_CHECKING:
    from pandas import DataFrame

EvaluationSummary = dict[str, Any]


@dataclass(frozen=True, repr=False)
class Evaluations:
    """What was measured of a run: one evaluation for each protocol, variant and source of masks."""

    run: RunFolder
    summaries: tuple[EvaluationSummary, ...]
    """As `summary.json` holds them (docs/reference/evaluation.md), with `figures`, the paths of plots."""

    def rows(self, method: str = MODEL) -> "DataFrame":
        """Return one row for each image: the evaluation, the image's id and objects, and each metric.

        Args:
            method: `model`, or the name of a baseline.

        Raises:
            SlotlabError: if nothing was measured of the method, or pandas is not installed.
        """
        found = [row for summary in self.summaries for row in self._rows(summary["evaluation"], method)]
        if not found:
            known = ", ".join(dict.fromkeys(name for one in self.summaries for name in one["methods"]))
            raise SlotlabError(f"there are no rows of '{method}' (methods: {known})")
        return as_frame(found)

    def _rows(self, name: str, method: str) -> Iterator[dict[str, Any]]:
        with (self.run.evaluation(name) / IMAGES).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row.pop("method") == method:
                    values = {key: number(value) for key, value in row.items() if key != "id"}
                    yield {"evaluation": name, "id": row["id"], **values}

    def means(self, method: str = MODEL) -> dict[str, dict[str, float | None]]:
        """Return the mean of each metric by the name of the evaluation; None where it is not defined."""
        return {
            one["evaluation"]: {name: found["mean"] for name, found in one["methods"].get(method, {}).items()}
            for one in self.summaries
        }

    def __repr__(self) -> str:
        lines = []
        for name, means in self.means().items():
            numbers = (f"{key} {'-' if mean is None else f'{mean:.3f}'}" for key, mean in means.items())
            lines.append(f"{name}: {', '.join(numbers)}")
        return "\n".join(lines)


def number(text: str) -> int | float | None:
    """Return what a cell of a CSV says; None for an empty one."""
    if not text:
        return None
    return int(text) if text.lstrip("-").isdecimal() else float(text)


def evaluate_runs(
    paths: Sequence[Path],
    wanted: EvaluationRequest,
    *,
    sets: Sequence[str],
    plugins: Sequence[Path],
    trust: Ask,
    device: str,
    figures: bool,
    masks: bool,
) -> EvaluationSummary:
    """Evaluate existing runs, `--set` over their specs; all are checked before any is measured.

    Plugins that are given take the place of the runs' own with the same names. A run that cannot be
    evaluated is told under `failed`, and the others go on.

    Raises:
        SlotlabError: if no run can be evaluated, for the first one's reason.
    """
    checked, failed = [], Failures()
    for path in paths:
        if not lies(RunFolder(path).spec):  # a slip of the command, not a damaged run
            RunFolder.open(path)
    for path in dict.fromkeys(paths):
        with failed.collecting(path):
            checked.append(check_run(path, wanted, sets=sets, plugins=plugins, trust=trust))
    summaries: list[EvaluationSummary] = []
    for run, loaded, found in checked:
        with failed.collecting(run.path):
            summaries += evaluate_folder(run, loaded, found, device, figures=figures, masks=masks, noted=True)
    if not summaries and failed.first is not None:
        raise failed.first
    return {"format": 2, "evaluations": summaries, "failed": failed.reasons}


def check_run(
    path: Path, wanted: EvaluationRequest, *, sets: Sequence[str], plugins: Sequence[Path], trust: Ask
) -> tuple[RunFolder, LoadedSpec, list[Condition]]:
    """Return a run, its spec with `--set` over it, and the conditions that it is to be evaluated under.

    Raises:
        SlotlabError: if it is none, is damaged, or cannot be evaluated so.
    """
    run, prepared = open_folder(path, sets=sets, plugins=plugins, trust=trust)
    return run, prepared.loaded, check_conditions(prepared, wanted)


def open_folder(
    path: Path, *, sets: Sequence[str], plugins: Sequence[Path], trust: Ask
) -> tuple[RunFolder, Prepared]:
    """Return a run and its spec with `--set` over it; print what is to be known of both.

    Raises:
        SlotlabError: if it is none, or is damaged.
    """
    run = RunFolder.open(path)
    own = [*sets, "training.trackers=[]"]  # told of trainings alone
    prepared = prepare(run.spec, trained=True, sets=own, plugins=plugins, trust=trust, of_run=True)
    warn(prepared.warnings)
    warn(untold_places(prepared.loaded.spec.model_dump(mode="json")))
    state = run.read_state() or "of unknown state"
    if state != "done":
        of = "its last finished epoch"
        if prepared.loaded.spec.evaluation.checkpoint != LAST:
            of = f"checkpoint {prepared.loaded.spec.evaluation.checkpoint}"
        warn([f"{path}: the run is {state}; its weights are those of {of}"])
    return run, prepared


def untold_places(spec: Mapping[str, Any]) -> list[str]:
    """Return a message for each place of files that was left out when a run was pushed."""
    return [
        f"{path}: this place was left out when the run was pushed; name yours with --set {path}=FOLDER"
        for path, value in leaves(spec)
        if path.startswith("data.") and isinstance(value, str) and GONE in value.split("/")
    ]


def wanted_of(
    protocols: Sequence[str], variants: Sequence[str], split: str | None, masks: str | None
) -> EvaluationRequest:
    """Return what a run is to be evaluated under.

    Raises:
        SlotlabError: for masks that there are not.
    """
    check_masks(masks)
    return EvaluationRequest(protocols=protocols, variants=variants, split=split, masks=masks)  # type: ignore[arg-type]


def check_conditions(prepared: Prepared, wanted: EvaluationRequest) -> list[Condition]:
    """Return the conditions that a run is to be evaluated under; print what of them is rarely meant.

    Raises:
        SlotlabError: with everything that cannot be.
    """
    found = conditions(prepared.loaded, wanted)
    known = [str(warning) for warning in prepared.warnings]
    every = dict.fromkeys(text for condition in found for text in condition.warnings)
    warn([text for text in every if text not in known])
    return found


def evaluate_folder(
    run: RunFolder,
    loaded: LoadedSpec,
    wanted: Sequence[Condition],
    device: str,
    *,
    figures: bool = True,
    masks: bool = False,
    noted: bool = False,
) -> list[EvaluationSummary]:
    """Evaluate with a progress bar, on stderr so that stdout is free for JSON.

    `noted` says what is odd about the data, which a training has said before it is evaluated.
    """
    bar = open_bar("evaluate", error_console(quiet=not processes.is_first()))
    task = bar.add_task("evaluate", total=None, facts="")

    def report(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    def composing(what: str, done: int, total: int) -> None:
        bar.update(task, facts=f"compose: {what} {done}/{total}")

    try:
        found = run_evaluations(
            run,
            loaded,
            wanted,
            device=choose_device(device),
            figures=figures,
            masks=masks,
            report=report,
            composing=composing,
            warn=(lambda text: warn([text])) if noted else (lambda text: None),
        )
    finally:
        if bar.live.is_started:  # else it would print an empty line
            bar.stop()
    return [
        {**one, "run": str(run.path), "figures": figures_of(run, one) if figures else []} for one in found
    ]


def figures_of(run: RunFolder, summary: EvaluationSummary) -> list[str]:
    """Return the figures that were drawn of an evaluation: none of another's."""
    name: str = summary["evaluation"]
    base, _, ending = name.rpartition(f"-{summary['mask_source']}")
    found = []
    for path in sorted(run.figures.glob("*.png")):
        kind, _, of = path.stem.partition("-")
        if of in (name, base + ending) and kind not in summary.get("figures_left_out", {}):
            found.append(str(path))
    return found
