"""Send what a training logs to trackers (TensorBoard, MLflow, W&B): everything once, despite restarts.

RUN/trackers.json holds the name under which they know the training, and the last step that was sent, by
tracker and value. A tracker that fails receives nothing more, and the training goes on without it.
"""

import math
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from slotlab.framework.contracts import TakesImages, Tracker, TrackerContext
from slotlab.framework.model.build import Builder
from slotlab.framework.runs.folder import MODEL, RunFolder
from slotlab.framework.runs.json_shapes import Told, read_stored
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.json_files import write_json
from slotlab.framework.system.privacy import nameless_data
from slotlab.framework.training.state import random_state, set_random_state
from slotlab.registry import SlotlabError
from slotlab.registry.errors import describe


def check_trackers(spec: ExperimentSpec) -> list[PathProblem]:
    """Return the problems with building the spec's trackers."""
    return _build(spec, TrackerContext(folder=Path(), name=spec.name, run_id="", settings={})).problems


@dataclass(frozen=True)
class _Built:
    trackers: dict[str, Tracker]
    problems: list[PathProblem]


def _build(spec: ExperimentSpec, context: TrackerContext) -> _Built:
    builder, found = Builder(spec), {}
    for index, ref in enumerate(spec.training.trackers):
        path = ("training", "trackers", index)
        if ref.name in found:
            text = f"the tracker '{ref.name}' is given twice; keep one"
            builder.problems.append(PathProblem(path, text))
        found[ref.name] = builder.part(ref, context, *path, attributes=("forgets",))
    return _Built(found, builder.problems)


@dataclass
class Trackers:
    """All trackers of one training; empty before `start`, and in every process but the first.

    A context manager, whose end sends the figures and closes the trackers.
    """

    warn: Callable[[str], None] = lambda text: None
    run: RunFolder | None = None
    step: int = 0
    """The last step that was sent."""
    active: dict[str, Tracker] = field(default_factory=dict)
    told: dict[str, dict[str, int]] = field(default_factory=dict)
    """The last step that was sent, by tracker and name."""
    known_as: str = ""

    def start(self, run: RunFolder, spec: ExperimentSpec, resumed_from: int | None) -> None:
        """Build the trackers that the spec names.

        Raises:
            SlotlabError: if one cannot be built; `check_trackers` reports that beforehand.
        """
        if not spec.training.trackers:
            return
        ledger = read_stored(Told, run.trackers)
        self.run, self.step = run, resumed_from or 0
        self.known_as = ledger.get("known_as") or f"{run_id(spec)}-{secrets.token_hex(3)}"
        context = TrackerContext(
            folder=run.path.absolute(),
            name=spec.name,
            run_id=self.known_as,
            settings=nameless_data(spec.model_dump(mode="json")),
            resumed_from=resumed_from,
        )
        built = _build(spec, context)
        if built.problems:
            raise SlotlabError("\n".join(str(problem) for problem in built.problems))
        self.active, self.told = built.trackers, ledger.get("told", {})
        for name, tracker in self.active.items():
            before = self.told.setdefault(name, {})
            if tracker.forgets:
                self.told[name] = {key: min(step, self.step) for key, step in before.items()}

    def log(self, record: Mapping[str, Any]) -> None:
        """Send the numbers of a line of the metrics, named `kind/name`."""
        self.step = record["step"]
        values = numbers(record)
        for name, new in self._note(values).items():
            self._tell(name, "log", self.step, {key: values[key] for key in new})

    def evaluated(self, summary: Mapping[str, Any]) -> None:
        """Send the means of an evaluation."""
        means = {
            metric if method == MODEL else f"{method}.{metric}": statistics["mean"]
            for method, metrics in summary["methods"].items()
            for metric, statistics in metrics.items()
        }
        self.log({"kind": "evaluation", "step": summary["step"], **means})

    def image(self, name: str, path: Path) -> None:
        """Send a picture of the last logged step to those that take some."""
        for tracker, new in self._note([name]).items():
            if new and isinstance(self.active.get(tracker), TakesImages):
                self._tell(tracker, "image", name, self.step, path)

    def figures(self) -> None:
        """Send the figures in the run's folder."""
        if self.run is None:
            return
        paths = {f"figures/{path.stem}": path for path in sorted(self.run.figures.glob("*.png"))}
        for name, new in self._note(paths).items():
            for key in new:
                self._tell(name, "figure", key, paths[key])

    def close(self, *, failed: bool) -> None:
        """Close every tracker."""
        for name in list(self.active):
            self._tell(name, "close", failed=failed)
        self.active.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.figures()
        self.close(failed=kind is not None)

    def _note(self, keys: Iterable[str]) -> dict[str, list[str]]:
        # Return the names that are new to each tracker at this step. They are recorded before they are
        # sent: a process that is killed in between sends a value never, but not twice.
        found = {}
        keys = tuple(keys)
        for name in self.active:
            told = self.told[name]
            found[name] = [key for key in keys if told.get(key, -1) < self.step]
            told.update(dict.fromkeys(found[name], self.step))
        found = {name: new for name, new in found.items() if new}
        if found and self.run is not None:
            try:
                write_json(self.run.trackers, {"known_as": self.known_as, "told": self.told})
            except OSError as error:
                for name in list(self.active):
                    self._end(name, error)
                return {}
        return found

    def _tell(self, name: str, method: str, *words: Any, **options: Any) -> None:
        tracker = self.active.get(name)
        if tracker is None:
            return
        try:
            with undisturbed():
                getattr(tracker, method)(*words, **options)
        except Exception as error:  # an unreachable server, a full disk, a bug in a plugin
            self._end(name, error)

    def _end(self, name: str, error: Exception) -> None:
        del self.active[name]
        reason = describe(error).partition("\n")[0]
        self.warn(f"the tracker '{name}' has ended, and the training goes on without it: {reason}")


def numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a line of the metrics, named `kind/name`."""
    kind = record["kind"]
    plain = {name: value for name, value in record.items() if name not in ("kind", "step")}
    # One slash per name: in some stores `train/loss` cannot be both a value and a folder of values.
    return {
        f"{kind}/{name.replace('/', '.')}": value
        for name, value in plain.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


@contextmanager
def undisturbed() -> Iterator[None]:
    """Restore every global random stream, since a tracker's library may draw from them."""
    before = random_state()
    try:
        yield
    finally:
        set_random_state(before)


def journal(run: RunFolder, trackers: Trackers, *, first: bool) -> Callable[[Mapping[str, Any]], None]:
    """Return a function that writes a line of the metrics and sends it, in the first process only."""
    return partial(_write, run, trackers) if first else lambda record: None


def _write(run: RunFolder, trackers: Trackers, record: Mapping[str, Any]) -> None:
    run.log(record)
    trackers.log(record)
