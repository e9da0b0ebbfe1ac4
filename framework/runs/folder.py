"""A run's folder: creating it, and writing and reading its files, which `paths.py` lists."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from slotlab.framework.plugin_loading.plugin_copies import copies, entries, read_codes
from slotlab.framework.runs.clear_run import BEGINNING, STATUS, clear_run, run_leavings
from slotlab.framework.runs.json_shapes import (
    Cost,
    LogLine,
    Means,
    Provenance,
    SpecFacts,
    Status,
    checked,
    read_stored,
)
from slotlab.framework.runs.paths import RunPaths
from slotlab.framework.spec.plain_settings import leaves, load_dumped
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
"""In the folder of an evaluation: statistics over the images, and one row per method and image."""

SUMMARY_FORMAT = 2
"""Version of the shape of summary.json."""
MODEL = "model"
"""The name of the trained model among the methods of an evaluation; the others are baselines."""

UNFINISHED = "unfinished"
"""A key of summary.json while the evaluation's figures are still being drawn."""

AVAILABLE = "available"
"""A key of summary.json: how many images, or clips, could be measured; `max_images` may take fewer."""

SAMPLES = "samples"
"""In the folder of an evaluation: pictures of single images, with an `index.json`."""


@dataclass(frozen=True)
class Weights:
    """The weights of a model after a number of training steps."""

    step: int
    model: "Mapping[str, Tensor]"
    complaints: tuple[str, ...] = ()
    """A message for each newer checkpoint that is damaged."""


@dataclass(frozen=True)
class RunFolder(RunPaths):
    """The files of one run."""

    @property
    def checkpoints(self) -> "Checkpoints":
        """The run's checkpoints, from which a training resumes."""
        from slotlab.framework.runs.checkpoints import Checkpoints

        return Checkpoints(self.path / "checkpoints")

    def evaluations(self) -> list[Path]:
        """Return the folders of all evaluations that have a summary, by name."""
        return sorted(path.parent for path in self.path.glob(f"evaluation/*/{SUMMARY}"))

    def probes(self) -> list[Path]:
        """Return the folders of all probes that have a summary, by name."""
        return sorted(path.parent for path in self.path.glob(f"probe/*/{SUMMARY}"))

    def read_summaries(self) -> dict[str, dict[str, Any]]:
        """Return the summary of each evaluation, in any format, by its folder's name.

        Raises:
            SlotlabError: if one is damaged.
        """
        return {folder.name: read_stored(Means, folder / SUMMARY) for folder in self.evaluations()}

    def read_spec(self) -> dict[str, Any]:
        """Return the resolved spec as plain data, without schema or plugins.

        Raises:
            SlotlabError: if the file is missing or damaged.
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
        """Return the small files from which the run's status is read, whether they exist or not."""
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
        """Create the folder, and write the resolved spec and copies of its plugins (None reads their files).

        Raises:
            SlotlabError: if the folder holds a run and `overwrite` is not given, or holds
                anything else.
        """
        run = cls(path)
        plugins = read_codes(spec.plugins) if plugins is None else plugins  # before the folder is cleared
        run._refuse(overwrite=overwrite)
        path.mkdir(parents=True, exist_ok=True)
        run.write_status(BEGINNING)
        run.clear_leavings()
        clear_run(path, keep=copies(plugins).files)
        run.write_spec(spec, plugins)
        return run

    def is_begun(self) -> bool:
        """Return whether the run was being created or cleared, and nothing is trained yet."""
        return self.read_status().get("state") == BEGINNING

    def has_saved(self) -> bool:
        """Return whether there is evidence that the run once had a checkpoint."""
        provenance = self.read_provenance()
        noted = "first_checkpoint" in provenance or bool(provenance.get("restarts"))
        return noted or self.read_status().get("state") == "done" or bool(self.evaluations())

    def clear_leavings(self) -> None:
        """Remove the temporary files that killed processes of slotlab left."""
        clear_leavings(run_leavings(self.path))

    def _refuse(self, *, overwrite: bool) -> None:
        """Refuse a folder that cannot hold a new run."""
        if not self.path.is_dir():
            free = not self.path.exists()
        else:  # a first file, left half-written by a kill, is slotlab's
            free = is_barely_begun(self.path, STATUS) or self.is_begun()
        if free:
            return
        if not self.spec.is_file():
            raise SlotlabError(f"{self.path} exists and is not a run folder; choose another with --run DIR")
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
            reason = "is not a run folder: it has no spec.yaml" if path.exists() else "does not exist"
            raise SlotlabError(f"{path} {reason}{known}")
        return run

    def write_provenance(self, facts: Mapping[str, Any]) -> None:
        """Write the run's provenance."""
        write_json(self.path / "provenance.json", dict(facts))

    def note_start(self, facts: Mapping[str, Any], step: int | None) -> None:
        """Note the provenance and that the run is running; `step` is the one it resumes from, if it does."""
        if step is None:
            self.write_provenance(facts)
        else:
            known = self.read_provenance()
            known.setdefault("first_checkpoint", step)
            known.setdefault("restarts", []).append({"step": step, **facts})
            self.write_provenance(known)
        self.write_status("running")

    def note_checkpoint(self, step: int) -> None:
        """Note the first checkpoint: a run whose checkpoints are lost is not silently started anew."""
        if self.is_begun():
            self.write_status("running")
        known = self.read_provenance()
        if "first_checkpoint" not in known:
            self.write_provenance(known | {"first_checkpoint": step})

    def note_replaced(self, plugins: Mapping[str, str]) -> None:
        """Note the plugins that replaced the run's own in an evaluation."""
        known = self.read_provenance()
        listed = entries(known, "evaluated_with")
        if dict(plugins) not in listed:
            self.write_provenance({**known, "evaluated_with": [*listed, dict(plugins)]})

    def read_provenance(self) -> dict[str, Any]:
        """Return the run's provenance; empty if it was never written.

        Raises:
            SlotlabError: if the file is damaged.
        """
        return read_stored(Provenance, self.path / "provenance.json")

    def write_status(self, state: str, reason: str = "") -> None:
        """Write the state of the run: running, done, failed or stopped."""
        write_json(self.path / STATUS, {"state": state, "reason": reason})

    def read_status(self) -> dict[str, str]:
        """Return the run's status; empty if it was never written.

        Raises:
            SlotlabError: if the file is damaged.
        """
        return read_stored(Status, self.path / STATUS)

    def read_state(self) -> str | None:
        """Return the state; `interrupted` if the status is `running` but no process trains the run."""
        state = self.read_status().get("state")
        return "interrupted" if state == "running" and not is_held(self.path) else state

    def read_cost(self) -> dict[str, Any]:
        """Return the training's time, memory and energy so far; empty if never written.

        Raises:
            SlotlabError: if the file is damaged.
        """
        return read_stored(Cost, self.cost)

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a line to the metrics."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(record), allow_nan=False) + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """Return all lines of the metrics.

        Raises:
            SlotlabError: for a line that is not a log entry.
        """
        lines = (read_file(self.metrics) or b"").split(b"\n")[:-1]  # the last line may be incomplete
        found = []
        for number, line in enumerate(lines, 1):
            where = f"{self.metrics}, line {number}"
            try:
                found.append(checked(LogLine, parse_json(line), where))
            except (ValueError, RecursionError) as error:
                raise SlotlabError(f"{where}: {fault(error)}") from None
        return found

    def load_weights(self, which: Literal["last", "best"] | int = "last") -> Weights:
        """Return the weights (averaged ones, if any) of the newest intact checkpoint, the best, or a step's.

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
