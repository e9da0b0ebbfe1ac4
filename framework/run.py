"""A run's folder: the only place that knows the names of its files.

RUN/spec.yaml            the resolved spec: all settings, a valid spec by itself
RUN/plugins/             copies of the single-file plugins it used (see `framework.plugin_copies`)
RUN/provenance.json      versions, commit, hardware, command, sources of components
RUN/status.json          running, done, failed or stopped, and why
RUN/metrics.jsonl        one line for each log and each validation
RUN/cost.json            operations, speed, memory, time and energy of the training
RUN/trackers.json        what trackers (TensorBoard, MLflow, W&B) were told, if there are any
RUN/tensorboard/, mlruns/, wandb/  their own files
RUN/failure.json         where a loss that is no number began
RUN/checkpoints/         what a training needs to go on (see `framework.checkpoint`)
RUN/compositions/        pictures composed of slots, one folder for each NAME: PNG, composition.json
RUN/cache/               what can be computed again: features of real images
RUN/evaluation/          one folder for each DATASET-SPLIT-PROTOCOL-MASKS: images.csv, summary.json, samples/
RUN/figures/             PNG and PDF: loss, learning_rate, and those of each evaluation (see docs/figures.md)
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from slotlab.framework.atomic import fault, is_held, read_json, write_atomically, write_json
from slotlab.framework.plugin_copies import copies, entries, read_codes
from slotlab.framework.spec.tree import dump
from slotlab.registry import PluginCode, SlotlabError

if TYPE_CHECKING:  # run folders are also read by commands that need no torch
    from torch import Tensor

    from slotlab.framework.checkpoint import Checkpoints
    from slotlab.framework.spec.schema import ExperimentSpec

WRITTEN = (
    "spec.yaml",
    "plugins",
    "provenance.json",
    "status.json",
    "metrics.jsonl",
    "cost.json",
    "trackers.json",
    "tensorboard",
    "mlruns",
    "wandb",
    "failure.json",
    "checkpoints",
    "compositions",
    "cache",
    "evaluation",
    "figures",
)
"""Everything in a run's folder that is slotlab's own."""


SUMMARY, IMAGES = "summary.json", "images.csv"
"""In the folder of an evaluation: statistics over the images, and one row a method and image."""

SUMMARY_FORMAT = 2
"""Of summary.json."""
MODEL = "model"
"""The method that stands for the trained model in an evaluation, beside the names of baselines."""

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
        from slotlab.framework.checkpoint import Checkpoints

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
        """Return the summary of each evaluation by its folder's name; damaged ones are left out."""
        found = {}
        for folder in self.evaluations():
            with suppress(OSError, ValueError):
                found[folder.name] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        return found

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
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            if not run.spec.is_file():
                raise SlotlabError(f"{path} exists and is no run folder; choose another with --run DIR")
            if not overwrite:
                state = run.read_status().get("state", "of unknown state")
                raise SlotlabError(
                    f"{path} holds a run already ({state}); give --overwrite to train it again, or --run DIR"
                )
            run._clear()
        path.mkdir(parents=True, exist_ok=True)
        run.write_spec(spec, plugins)
        return run

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

    def _clear(self) -> None:
        """Remove what a run writes, and nothing that a user may have put beside it."""
        for name in WRITTEN:
            entry = self.path / name
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)

    def write_provenance(self, facts: Mapping[str, Any]) -> None:
        """Write where the run came from."""
        write_json(self.path / "provenance.json", dict(facts))

    def note_start(self, facts: Mapping[str, Any], step: int | None) -> None:
        """Note where the run comes from, and that it is running; `step` is where it goes on, if it does."""
        if step is None:
            self.write_provenance(facts)
        else:
            known = self.read_provenance()
            known.setdefault("restarts", []).append({"step": step, **facts})
            self.write_provenance(known)
        self.write_status("running")

    def note_replaced(self, plugins: Mapping[str, str]) -> None:
        """Note that the run was evaluated with other plugins than its own, and which."""
        known = self.read_provenance()
        listed = entries(known, "evaluated_with")
        if dict(plugins) not in listed:
            self.write_provenance({**known, "evaluated_with": [*listed, dict(plugins)]})

    def read_provenance(self) -> dict[str, Any]:
        """Return where the run came from, or nothing if it was never written."""
        return read_json(self.path / "provenance.json")

    def write_status(self, state: str, reason: str = "") -> None:
        """Write the state of the run: running, done, failed or stopped."""
        write_json(self.path / "status.json", {"state": state, "reason": reason})

    def read_status(self) -> dict[str, str]:
        """Return the state of the run, or nothing if it was never written."""
        return read_json(self.path / "status.json")

    def read_state(self) -> str | None:
        """Return the state; `interrupted` for a run that says it is running while no process has it."""
        state = self.read_status().get("state")
        return "interrupted" if state == "running" and not is_held(self.path) else state

    def read_cost(self) -> dict[str, Any]:
        """Return what the training took so far, or nothing if it was never written."""
        return read_json(self.cost)

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to the metrics."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(record), allow_nan=False) + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """Return all lines of the metrics.

        Raises:
            SlotlabError: for a line that is no JSON.
        """
        if not self.metrics.is_file():
            return []
        lines = self.metrics.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]  # the last may be being written
        found = []
        for number, line in enumerate(whole, 1):
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise SlotlabError(f"{self.metrics}, line {number}: {fault(error)}") from None
        return found

    def log_bytes(self) -> int:
        """Return the length of the metrics, for `cut_log`."""
        return self.metrics.stat().st_size if self.metrics.is_file() else 0

    def cut_log(self, size: int) -> None:
        """Drop what was logged after a checkpoint that had `size` bytes of metrics before it."""
        if self.log_bytes() > size:
            with self.metrics.open("r+b") as file:
                file.truncate(size)

    def load_weights(self, which: Literal["last", "best"] = "last") -> Weights:
        """Return the weights of the newest whole checkpoint, or of the best one; averaged if it has such.

        Raises:
            SlotlabError: if there is none, or it cannot be read.
        """
        complaints: list[str] = []
        if which == "best":
            best = self.checkpoints.best()
            loaded = None if best is None else best.read()
        else:
            loaded, complaints = self.checkpoints.newest()
        if loaded is None:
            state = self.read_status().get("state", "of unknown state")
            kind = "best checkpoint" if which == "best" else "whole checkpoint"
            damage = f"; {'; '.join(complaints)}" if complaints else ""
            raise SlotlabError(f"{self.path} has no {kind} (the run is {state}){damage}; train it again")
        return Weights(loaded["step"], loaded["ema"] or loaded["model"], tuple(complaints))
