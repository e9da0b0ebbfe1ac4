"""A run's folder: the only place that knows the names of its files.

RUN/spec.yaml            the resolved spec: all settings, a valid spec by itself
RUN/plugins/             copies of the single-file plugins it used (see `framework.plugin_loading.copies`)
RUN/provenance.json      versions, commit, hardware, command, sources of components
RUN/status.json          beginning, running, done, failed or stopped, and why
RUN/metrics.jsonl        one line for each log and each validation
RUN/cost.json            operations, speed, memory, time and energy of the training
RUN/trackers.json        what trackers (TensorBoard, MLflow, W&B) were told, if there are any
RUN/tensorboard/, mlruns/, wandb/  their own files
RUN/failure.json         where a loss that is no number began
RUN/checkpoints/         what a training needs to go on (see `framework.runs.checkpoints`)
RUN/compositions/        pictures composed of slots, one folder for each NAME: PNG, composition.json
RUN/cache/               what can be computed again: features of real images
RUN/evaluation/          one folder for each DATASET-SPLIT-PROTOCOL-MASKS: images.csv, summary.json, samples/
RUN/figures/             PNG and PDF: loss, learning_rate, and those of each evaluation (see docs/figures.md)
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from slotlab.framework.plugin_loading.copies import copies, entries, read_codes
from slotlab.framework.runs.clearing import BEGINNING, STATUS, clear_run, run_leavings
from slotlab.framework.runs.stored import (
    Cost,
    LogLine,
    Means,
    Provenance,
    SpecFacts,
    Status,
    checked,
    read_stored,
)
from slotlab.framework.spec.plain import leaves, load_dumped
from slotlab.framework.spec.tree import dump
from slotlab.framework.system.atomic import clear_leavings, is_barely_begun, write_atomically
from slotlab.framework.system.json_files import fault, parse_json, read_file, write_json
from slotlab.framework.system.locks import is_held
from slotlab.registry import PluginCode, SlotlabError

if TYPE_CHECKING:  # run folders are also read by commands that need no torch
    from torch import Tensor

    from slotlab.framework.runs.checkpoints import Checkpoints
    from slotlab.framework.spec.schema import ExperimentSpec

SUMMARY, IMAGES = "summary.json", "images.csv"
"""In the folder of an evaluation: statistics over the images, and one row a method and image."""

SUMMARY_FORMAT = 2
"""Of summary.json."""
MODEL = "model"
"""The method that stands for the trained model in an evaluation, beside the names of baselines."""

UNFINISHED = "unfinished"
"""In summary.json while what belongs to the evaluation is still being drawn."""

SAMPLES = "samples"
"""In the folder of an evaluation: pictures of single images, and their `index.json`."""


@dataclass(frozen=True)
class Weights:
    """The weights of a model, and the step they are of."""

    step: int
    model: "Mapping[str, Tensor]"
    complaints: tuple[str, ...] = ()
    """Newer checkpoints that are damaged, in words."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def spec(self) -> Path:
        """The resolved spec."""
        return self.path / "spec.yaml"

    @property
    def metrics(self) -> Path:
        """The log, JSON lines."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> "Checkpoints":
        """What a training goes on from, and its weights."""
        from slotlab.framework.runs.checkpoints import Checkpoints

        return Checkpoints(self.path / "checkpoints")

    @property
    def trackers(self) -> Path:
        """What trackers were told, JSON."""
        return self.path / "trackers.json"

    @property
    def failure(self) -> Path:
        """Where a loss that is no number began, JSON."""
        return self.path / "failure.json"

    @property
    def cost(self) -> Path:
        """What the training took, JSON."""
        return self.path / "cost.json"

    @property
    def figures(self) -> Path:
        """The folder of figures."""
        return self.path / "figures"

    @property
    def set_features(self) -> Path:
        """The folder of features of real images, kept between measurements."""
        return self.path / "cache" / "set_features"

    def composition(self, name: str) -> Path:
        """The folder of one set of composed pictures, such as `sample-val-seed0`."""
        return self.path / "compositions" / name

    def evaluations(self) -> list[Path]:
        """Return the folders of all evaluations that have a summary, by name."""
        return sorted(path.parent for path in self.path.glob(f"evaluation/*/{SUMMARY}"))

    def evaluation(self, name: str) -> Path:
        """The folder of one evaluation, such as `scenes-val-whole-decoder`."""
        return self.path / "evaluation" / name

    def read_summaries(self) -> dict[str, dict[str, Any]]:
        """Return the summary of each evaluation by its folder's name, of whatever format.

        Raises:
            SlotlabError: if one is damaged.
        """
        return {folder.name: read_stored(Means, folder / SUMMARY) for folder in self.evaluations()}

    def read_spec(self) -> dict[str, Any]:
        """Return the resolved spec as plain data, without schema or plugins.

        Raises:
            SlotlabError: if the file is not there, or damaged.
        """
        found: dict[str, Any] = checked(SpecFacts, load_dumped(self.spec), self.spec)
        for path, value in leaves(found):
            every = value if isinstance(value, list) else [value]
            if any(isinstance(item, float) and not isfinite(item) for item in every):
                raise SlotlabError(f"{self.spec}: {path}: expected a finite number")
        return found

    def read_summary(self, name: str) -> dict[str, Any] | None:
        """Return the summary of one evaluation; None if there is none that can be read."""
        with suppress(SlotlabError):
            return read_stored(Means, self.evaluation(name) / SUMMARY) or None
        return None

    def records(self) -> list[Path]:
        """Return the small files that say how the run is, there or not."""
        names = ("spec.yaml", "status.json", "metrics.jsonl", "provenance.json", "cost.json")
        return [*(self.path / name for name in names), *(folder / SUMMARY for folder in self.evaluations())]

    @classmethod
    def create(
        cls,
        path: Path,
        spec: "ExperimentSpec",
        *,
        overwrite: bool = False,
        plugins: Sequence[PluginCode] | None = None,
    ) -> "RunFolder":
        """Make the folder and write the resolved spec, and copies of its plugins (None reads their files).

        Raises:
            SlotlabError: if the folder holds a run and `overwrite` is not given, or holds
                anything else.
        """
        run = cls(path)
        plugins = read_codes(spec.plugins) if plugins is None else plugins  # they may lie in the folder
        run._refuse(overwrite=overwrite)
        path.mkdir(parents=True, exist_ok=True)
        run.write_status(BEGINNING)
        run.clear_leavings()
        clear_run(path, keep=copies(plugins).files)
        run.write_spec(spec, plugins)
        return run

    def is_begun(self) -> bool:
        """Return whether the run was being made, or cleared, and nothing is trained yet."""
        return self.read_status().get("state") == BEGINNING

    def has_saved(self) -> bool:
        """Return whether the run is known to have had a checkpoint."""
        provenance = self.read_provenance()
        noted = "first_checkpoint" in provenance or bool(provenance.get("restarts"))
        return noted or self.read_status().get("state") == "done" or bool(self.evaluations())

    def clear_leavings(self) -> None:
        """Remove temporary files of ours that killed processes left."""
        clear_leavings(run_leavings(self.path))

    def _refuse(self, *, overwrite: bool) -> None:
        """Refuse a folder that is not free for a new run."""
        if not self.path.is_dir():
            free = not self.path.exists()
        else:  # a first file that a kill left half-written is ours
            free = is_barely_begun(self.path, STATUS) or self.is_begun()
        if free:
            return
        if not self.spec.is_file():
            raise SlotlabError(f"{self.path} exists and is no run folder; choose another with --run DIR")
        if not overwrite:
            state = self.read_status().get("state", "of unknown state")
            raise SlotlabError(
                f"{self.path} holds a run already ({state}); give --overwrite to train it again, or --run DIR"
            )

    def write_spec(self, spec: "ExperimentSpec", plugins: Sequence[PluginCode] | None = None) -> None:
        """Write the resolved spec, and copies of its plugins (None reads their files)."""
        copied = copies(read_codes(spec.plugins) if plugins is None else plugins)
        for name, content in copied.files.items():
            write_atomically(self.path / name, content)
        data = spec.model_dump(mode="json")
        data["plugins"] = list(copied.plugins)
        write_atomically(self.spec, dump(data).encode())

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Return the folder of an existing run.

        Raises:
            SlotlabError: if there is none.
        """
        run = cls(path)
        if not run.spec.is_file():
            found = sorted(str(p.parent) for p in Path("runs").glob("*/spec.yaml"))
            known = f" (runs here: {', '.join(found)})" if found else ""
            reason = "is no run folder: it has no spec.yaml" if path.exists() else "does not exist"
            raise SlotlabError(f"{path} {reason}{known}")
        return run

    def write_provenance(self, facts: Mapping[str, Any]) -> None:
        """Write where the run came from."""
        write_json(self.path / "provenance.json", dict(facts))

    def note_start(self, facts: Mapping[str, Any], step: int | None) -> None:
        """Note where the run comes from, and that it is running; `step` is where it goes on, if it does."""
        if step is None:
            self.write_provenance(facts)
        else:
            known = self.read_provenance()
            known.setdefault("first_checkpoint", step)
            known.setdefault("restarts", []).append({"step": step, **facts})
            self.write_provenance(known)
        self.write_status("running")

    def note_checkpoint(self, step: int) -> None:
        """Note that the run has had a checkpoint, once: where they are missing, none is started anew."""
        if self.is_begun():
            self.write_status("running")
        known = self.read_provenance()
        if "first_checkpoint" not in known:
            self.write_provenance(known | {"first_checkpoint": step})

    def note_replaced(self, plugins: Mapping[str, str]) -> None:
        """Note that the run was evaluated with other plugins than its own, and which."""
        known = self.read_provenance()
        listed = entries(known, "evaluated_with")
        if dict(plugins) not in listed:
            self.write_provenance({**known, "evaluated_with": [*listed, dict(plugins)]})

    def read_provenance(self) -> dict[str, Any]:
        """Return where the run came from, or nothing if it was never written.

        Raises:
            SlotlabError: if the file is damaged.
        """
        return read_stored(Provenance, self.path / "provenance.json")

    def write_status(self, state: str, reason: str = "") -> None:
        """Write the state of the run: running, done, failed or stopped."""
        write_json(self.path / STATUS, {"state": state, "reason": reason})

    def read_status(self) -> dict[str, str]:
        """Return the state of the run, or nothing if it was never written.

        Raises:
            SlotlabError: if the file is damaged.
        """
        return read_stored(Status, self.path / STATUS)

    def read_state(self) -> str | None:
        """Return the state; `interrupted` for a run that says it is running while no process has it."""
        state = self.read_status().get("state")
        return "interrupted" if state == "running" and not is_held(self.path) else state

    def read_cost(self) -> dict[str, Any]:
        """Return what the training took so far, or nothing if it was never written.

        Raises:
            SlotlabError: if the file is damaged.
        """
        return read_stored(Cost, self.cost)

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to the metrics."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(record), allow_nan=False) + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """Return all lines of the metrics.

        Raises:
            SlotlabError: for a line that is none of a log.
        """
        lines = (read_file(self.metrics) or b"").split(b"\n")[:-1]  # the last may be being written
        found = []
        for number, line in enumerate(lines, 1):
            where = f"{self.metrics}, line {number}"
            try:
                found.append(checked(LogLine, parse_json(line), where))
            except (ValueError, RecursionError) as error:
                raise SlotlabError(f"{where}: {fault(error)}") from None
        return found

    def load_weights(self, which: Literal["last", "best"] | int = "last") -> Weights:
        """Return the (averaged) weights of the newest whole checkpoint, of the best one, or of a step.

        Raises:
            SlotlabError: if there is none, or it cannot be read.
        """
        complaints: list[str] = []
        if which == "best":
            best = self.checkpoints.best()
            loaded = None if best is None else best.read()
        elif isinstance(which, int):
            loaded = self.checkpoints.of_step(which).read()
        else:
            loaded, complaints = self.checkpoints.newest()
        if loaded is None:
            state = self.read_status().get("state", "of unknown state")
            kind = "best checkpoint" if which == "best" else "whole checkpoint"
            damage = f"; {'; '.join(complaints)}" if complaints else ""
            raise SlotlabError(f"{self.path} has no {kind} (the run is {state}){damage}; train it again")
        return Weights(loaded["step"], loaded["ema"] or loaded["model"], tuple(complaints))
