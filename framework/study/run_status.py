"""The status of a run, read from its folder alone. Torch is not imported."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from slotlab.framework.runs.folder import AVAILABLE, MODEL, SUMMARY, UNFINISHED, RunFolder
from slotlab.framework.runs.json_shapes import Means, read_stored
from slotlab.framework.runs.measurement import BEST, LAST
from slotlab.framework.spec.phase_length import PhaseLength
from slotlab.registry import SlotlabError

State = Literal["waiting", "running", "interrupted", "stopped", "failed", "trained", "done", "damaged"]
"""An `interrupted` run was killed; a `stopped` one ended when asked to; a `trained` one lacks its evaluation;
the files of a `damaged` one cannot be read."""


@dataclass(frozen=True)
class WantedEvaluation:
    """The evaluation that a run should have, compared with the summaries in its folder."""

    split: str
    protocol: str
    mask_source: str
    slots: int | None
    metrics: tuple[str, ...]
    baselines: tuple[str, ...] = ()
    max_images: int | None = None
    checkpoint: str | int = LAST
    filter: str | None = None
    clip_frames: int | None = None
    """Of videos: how many frames are measured at a time; None for whole videos."""
    from_frame: int = 0

    def is_met(self, summary: Mapping[str, Any], step: int | None) -> bool:
        """Return whether a summary is of this evaluation, and of the weights of `step` if that is given."""
        facts: dict[str, str | int | None] = {"split": self.split, "protocol": self.protocol}
        facts |= {"mask_source": self.mask_source, "slots": self.slots, "filter": self.filter}
        summary = {"checkpoint": LAST, **summary}
        facts["checkpoint"] = self.checkpoint
        changed = [path for path in summary.get("changes") or () if path.startswith("data.")]
        methods = summary.get("methods", {})
        measured = {*methods.get(MODEL, {}), *(summary.get("left_out") or {})}
        clip = summary.get("clip") or {}
        # In a summary of videos, `data` counts frames.
        listed = summary.get(AVAILABLE, None if clip else summary.get("data", {}).get("images"))
        images = listed if self.max_images is None else min(self.max_images, listed or self.max_images)
        return (
            UNFINISHED not in summary
            and all(summary.get(key) == value for key, value in facts.items())
            and not changed
            and (clip.get("frames"), clip.get("from", 0)) == (self.clip_frames, self.from_frame)
            and measured.issuperset(self.metrics)
            and set(methods).issuperset(self.baselines)
            and (images is None or summary.get("images") == images)
            and (step is None or summary.get("step") == step)
        )


@dataclass(frozen=True)
class Glance:
    """The status of a run."""

    state: State
    reason: str = ""
    step: int = 0
    total_steps: int | None = None
    """None while the number of training images is not known."""
    loss: float | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None
    summary: Mapping[str, Any] | None = None
    """The summary of the wanted evaluation; None if there is none."""
    watched: Sequence[Mapping[str, Any]] = ()
    """The lines of the log that tell of looks during the training."""
    picture: Path | None = None
    """The latest picture from during the training."""

    def value(self, metric: str) -> float | None:
        """Return the model's mean of a metric, if it was evaluated."""
        if self.summary is None:
            return None
        found: float | None = self.summary["methods"].get(MODEL, {}).get(metric, {}).get("mean")
        return found

    def to_json(self, metrics: Sequence[str]) -> dict[str, Any]:
        """Return the facts, with the means of some metrics, and their values while the run was trained."""
        facts = {key: value for key, value in vars(self).items() if key not in ("summary", "watched")}
        looks = [{name: line.get(name) for name in ("step", *metrics)} for line in self.watched]
        picture = None if self.picture is None else str(self.picture)
        values = {name: self.value(name) for name in metrics}
        return {**facts, "metrics": values, "watched": looks, "picture": picture}


def glance(folder: Path, wanted: WantedEvaluation | None) -> Glance:
    """Return the status of a run. Without `wanted` a trained run is done; an unreadable one is damaged."""
    run = RunFolder(folder)
    try:
        return _look(run, wanted) if lies(run.spec) else Glance("waiting")
    except SlotlabError as error:
        return Glance("damaged", str(error))
    except OSError as error:
        return Glance("damaged", f"{error.filename or folder}: {error.strerror or error}")


def reached(now: Glance, step: int) -> bool:
    """Return whether a run was trained until a step, or beyond it."""
    looked = max((line["step"] for line in now.watched), default=0)
    return now.state in ("trained", "done") or max(now.step, looked) >= step


def lies(path: Path) -> bool:
    """Return whether anything exists at a path, be it a file, a folder or a broken link."""
    try:
        return path.lstat() is not None
    except (FileNotFoundError, NotADirectoryError):
        return False


def _look(run: RunFolder, wanted: WantedEvaluation | None) -> Glance:
    status = run.read_status()
    log = run.read_log()
    lines = [line for line in log if line.get("kind") == "train"]
    last = lines[-1] if lines else {}
    step, speed = last.get("step", 0), last.get("images_per_second")
    total, batch = total_steps(run)
    left = (total - step) * batch / speed if total is not None and speed and speed > 1e-9 else None
    trained = status.get("state") == "done"
    summary = None
    if trained and wanted is not None:
        summary = _wanted(run, wanted, measured_step(run, wanted, last.get("step")))
    state = state_of(run.read_state(), evaluated=wanted is None or summary is not None)
    return Glance(
        state,
        status.get("reason", ""),
        step,
        step if trained else total,
        last.get("loss"),
        speed,
        left if state == "running" else None,
        summary,
        [line for line in log if line.get("kind") == "watch"],
        next(reversed(run.watched()), None),
    )


def measured_step(run: RunFolder, wanted: WantedEvaluation, last: int | None) -> int | None:
    """Return the step whose weights the wanted evaluation uses; None if it is not known."""
    if isinstance(wanted.checkpoint, int):
        return wanted.checkpoint
    if wanted.checkpoint == BEST:
        return (run.checkpoints.best_facts() or {}).get("step")
    return last


def state_of(noted: str | None, *, evaluated: bool) -> State:
    """Return the state of a run whose folder notes the state `noted`."""
    if noted == "done":
        return "done" if evaluated else "trained"
    known: Mapping[str | None, State] = {name: name for name in get_args(State)}
    return known.get(noted, "waiting")


def _wanted(run: RunFolder, wanted: WantedEvaluation, step: int | None) -> Mapping[str, Any] | None:
    """Return the summary of the wanted evaluation; None if there is none, or it is damaged."""
    for folder in run.evaluations():
        with suppress(SlotlabError):
            summary = read_stored(Means, folder / SUMMARY)
            if wanted.is_met(summary, step):
                return summary
    return None


def total_steps(run: RunFolder) -> tuple[int | None, int]:
    """Return all steps of a training, None if its images were not counted yet; and its batch size."""
    training = run.read_spec()["training"]
    images: int | None = run.read_provenance().get("data", {}).get("train", {}).get("images")
    batch: int = training["batch_size"]
    lengths = [PhaseLength(phase.get("steps"), phase.get("epochs")) for phase in training["phases"]]
    if images is None and any(length.depends_on_images for length in lengths):
        return None, batch
    return sum(length.in_steps(images or 0, batch) for length in lengths), batch
