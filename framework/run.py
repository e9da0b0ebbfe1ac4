"""A run's folder: the only place that knows the names of its files.

RUN/spec.yaml            the resolved spec: all settings, a valid spec by itself
RUN/plugins/             copies of the single-file plugins it used
RUN/provenance.json      versions, commit, hardware, command, sources of components
RUN/status.json          running, done, failed or stopped, and why
RUN/metrics.jsonl        one line for each log and each validation
RUN/checkpoints/last.pt  weights, read back without executing code
RUN/evaluation/          one folder for each DATASET-SPLIT-PROTOCOL-MASKS: images.csv, summary.json
RUN/figures/             PNG: loss, learning_rate, and panels for each evaluation
"""

import io
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.spec.tree import dump
from slotlab.registry import SlotlabError

FORMAT = 1
"""Version of the checkpoint's shape."""

WRITTEN = (
    "spec.yaml",
    "plugins",
    "provenance.json",
    "status.json",
    "metrics.jsonl",
    "checkpoints",
    "evaluation",
    "figures",
)
"""Everything in a run's folder that is slotlab's own."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON atomically."""
    write_atomically(path, (json.dumps(data, indent=2, allow_nan=False) + "\n").encode())


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
    def checkpoint(self) -> Path:
        """The newest weights."""
        return self.path / "checkpoints" / "last.pt"

    @property
    def figures(self) -> Path:
        """The folder of figures."""
        return self.path / "figures"

    def evaluation(self, name: str) -> Path:
        """The folder of one evaluation, such as `scenes-val-whole-decoder`."""
        return self.path / "evaluation" / name

    @classmethod
    def create(cls, path: Path, spec: ExperimentSpec, *, overwrite: bool = False) -> "RunFolder":
        """Make the folder and write the resolved spec.

        Raises:
            SlotlabError: if the folder holds a run and `overwrite` is not given, or holds
                anything else.
        """
        run = cls(path)
        plugins = {file.name: file.read_bytes() for file in spec.plugins}  # which may lie in the folder
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
        for name, content in plugins.items():
            write_atomically(path / "plugins" / name, content)
        data = spec.model_dump(mode="json")
        data["plugins"] = [f"plugins/{name}" for name in plugins]
        write_atomically(run.spec, dump(data).encode())
        return run

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

    def write_status(self, state: str, reason: str = "") -> None:
        """Write the state of the run: running, done, failed or stopped."""
        write_json(self.path / "status.json", {"state": state, "reason": reason})

    def read_status(self) -> dict[str, str]:
        """Return the state of the run, or nothing if it was never written."""
        path = self.path / "status.json"
        status: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
        return status

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to the metrics."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(record), allow_nan=False) + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """Return all lines of the metrics."""
        if not self.metrics.is_file():
            return []
        return [json.loads(line) for line in self.metrics.read_text(encoding="utf-8").splitlines()]

    def save_weights(self, weights: Mapping[str, Any], *, step: int) -> None:
        """Write the checkpoint, atomically."""
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, "step": step, "model": dict(weights)}, buffer)
        write_atomically(self.checkpoint, buffer.getvalue())

    def load_weights(self, device: torch.device) -> dict[str, Any]:
        """Return the checkpoint's `step` and `model` weights.

        Raises:
            SlotlabError: if there is no checkpoint yet or it cannot be read.
        """
        if not self.checkpoint.is_file():
            state = self.read_status().get("state", "of unknown state")
            hint = "train it again with --overwrite"
            raise SlotlabError(f"{self.path} has no checkpoint (the run is {state}); {hint}")
        try:
            loaded: dict[str, Any] = torch.load(self.checkpoint, map_location=device, weights_only=True)
        except Exception as error:  # a damaged file fails in many ways
            facts = f"{self.checkpoint.stat().st_size} bytes, {type(error).__name__}"
            hint = "train the run again with --overwrite"
            raise SlotlabError(f"{self.checkpoint} is damaged ({facts}); {hint}") from error
        if not isinstance(loaded, dict) or loaded.get("format") != FORMAT:
            raise SlotlabError(f"{self.checkpoint} is no checkpoint of slotlab's format {FORMAT}")
        return loaded
