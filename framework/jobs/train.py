"""The main job: a spec becomes a run folder, trained and drawn; `framework.jobs.evaluate` measures it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from slotlab.framework.cost.tally import Tally, planned_images
from slotlab.framework.data.loader import Loader, evaluation_loader, train_loader
from slotlab.framework.figures.training_curves import draw_learning_rate, draw_loss
from slotlab.framework.model.build import build_model
from slotlab.framework.model.check import check_parts
from slotlab.framework.model.engine import Engine, precise
from slotlab.framework.model.slot_model import SlotModel
from slotlab.framework.plugin_loading.trust import Code, Trusted
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.runs.measurement import GENERATED, is_generated
from slotlab.framework.runs.provenance import command_line, provenance
from slotlab.framework.spec.cautions import cautions
from slotlab.framework.spec.errors import PathProblem, Problem
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import LoadedSpec, load_spec
from slotlab.framework.spec.named import programs
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.allocator import keeping_memory
from slotlab.framework.system.interruptions import TrainingPreempted, TrainingStopped, listening
from slotlab.framework.system.locks import exclusive
from slotlab.framework.training.loop import Report, train
from slotlab.framework.training.plan import Progress
from slotlab.framework.training.rehearsal import rehearse
from slotlab.framework.training.resume import Start, open_run
from slotlab.framework.training.state import seeded
from slotlab.framework.training.trackers import Trackers, check_trackers
from slotlab.framework.training.validation import Validation
from slotlab.registry import SlotlabError


@dataclass(frozen=True)
class Prepared:
    """A spec that is valid and whose parts fit, with its warnings."""

    loaded: LoadedSpec
    warnings: Sequence[Problem]


def prepare(name: str | Path, *, trained: bool = False, **options: Any) -> Prepared:
    """Load a spec (see `load_spec` for the options) and check that its parts fit.

    `trained` says that it is a trained run's: mistakes and warnings are then about its evaluation alone.

    Raises:
        SpecError: with every mistake found, each with file and line.
    """
    loaded = load_spec(name, **options)
    problems = check_parts(loaded.spec) + check_trackers(loaded.spec)
    if trained:  # by what checkpoints were compared need not be measured any more
        problems = [problem for problem in problems if problem.path != ("training", "checkpoint", "best")]
    if problems:
        raise loaded.error(problems)
    noticed = loaded.error(cautions(loaded.spec, trained=trained)).problems
    return Prepared(loaded, [*loaded.notes, *noticed])


def choose_device(name: str) -> torch.device:
    """Return the device: `auto` is the GPU if there is one.

    Raises:
        SlotlabError: if the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SlotlabError(f"there is no device '{name}'; write auto, cpu, cuda or cuda:1") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SlotlabError(
            f"device '{name}' is not there: torch sees {torch.cuda.device_count()} CUDA device(s)"
        )
    return device


def default_folder(loaded: LoadedSpec, runs: Path) -> Path:
    """Return where a run goes unless told otherwise: by name and identity."""
    return runs / f"{loaded.spec.name}-{run_id(loaded.spec)[:8]}"


def run_training(
    loaded: LoadedSpec,
    folder: Path,
    *,
    device: torch.device,
    overwrite: bool = False,
    allow: Sequence[str] = (),
    report: Report,
    warn: Callable[[str], None] = lambda text: None,
    trackers: Trackers | None = None,
) -> RunFolder:
    """Train a spec into a run folder, or go on with the run that is there, and draw the curves.

    Trackers that are given are left open, to be told of an evaluation too.
    The run's status ends as done, stopped (Ctrl-C, SIGTERM) or failed, with the reason.

    Raises:
        SpecError: if the data is not as the spec says, or a component does not give what it promises.
        DataError: if files of the data are broken.
        SlotlabError: if the folder is taken or training fails.
    """
    if folder.exists() and not folder.is_dir():
        raise SlotlabError(f"{folder} is a file; choose another folder with --run DIR")
    spec = loaded.spec
    engine = Engine.open(spec, device, warn=warn)
    try:
        loader, watched = train_loader(spec, engine.placement), evaluation_loader(spec, engine.placement)
    except PathProblem as problem:
        raise loaded.error([problem]) from None
    notes = (*loader.selection.notes, *watched.selection.notes)
    data = {"train": loader.selection.facts, "evaluation": watched.selection.facts}
    facts = provenance(loaded, command=command_line(), device=device, data=data)
    model = rehearsed_model(engine, loaded, watched)
    ours = Trackers(warn) if trackers is None else nullcontext(trackers)
    with begin(engine, loaded, folder, overwrite=overwrite, allow=allow, facts=facts) as start, ours as told:
        run = start.run
        if engine.is_first:
            remember(loaded)
        other = changed_data(run, spec, data["train"]) if start.saved is not None else ()
        for text in dict.fromkeys((*start.notes, *notes, *other)):
            warn(text)
        tally = Tally.start(engine, run)

        def follow(progress: Progress) -> None:
            report(progress)
            tally.note()

        try:
            if engine.is_first:
                told.start(run, spec, None if start.saved is None else start.saved["step"])
            kept = keeping_memory(engine.device, enabled=spec.training.speed.keep_memory)
            with listening() as stop, precise(spec), kept, seeded(spec.seed + engine.rank):
                validation = Validation.of(spec, watched)
                train(
                    engine,
                    model,
                    loader,
                    run,
                    validation=validation,
                    report=follow,
                    saved=start.saved,
                    stop=stop,
                    trackers=told,
                )
                tally.finish(planned_images(spec, len(loader.dataset)))
        except BaseException as error:
            tally.note(always=True)
            note_end(engine, run, error)
            if isinstance(error, KeyboardInterrupt):  # the second Ctrl-C
                raise TrainingStopped(stop_message(run)) from None
            raise
        if engine.is_first:
            run.write_status("done")
            draw_curves(run)
    return run


def remember(loaded: LoadedSpec) -> None:
    """Remember the code of a run that this user makes, so that it is not asked about later."""
    named = [read() for _, read in programs(loaded.spec)]
    Trusted.user().remember([*map(Code.of, loaded.registry.files), *named])


def changed_data(run: RunFolder, spec: ExperimentSpec, now: Mapping[str, Any]) -> list[str]:
    """Warn of a training that goes on with other pictures than it began with."""
    before = run.read_provenance().get("data", {}).get("train", {}).get("fingerprint")
    # Earlier versions generated pictures from the training's seed, and did not tell which.
    same = before == GENERATED and is_generated({"data": now}) and spec.seed == spec.data.seed
    if before is None or same or before == now["fingerprint"]:
        return []
    text = f"the training data has fingerprint {now['fingerprint']}, and had {before} when the run began"
    return [f"{run.path}: {text}; give --overwrite to train it on one data set"]


def rehearsed_model(engine: Engine, loaded: LoadedSpec, watched: Loader) -> SlotModel:
    """Build the model of a spec, on the engine's device, and see that its components keep their promises.

    Raises:
        SpecError: at the component that does not.
        SlotlabError: naming it, where that is not one of the spec's lines.
    """
    model = engine.place(build_model(loaded.spec))
    try:
        rehearse(engine, model, watched)
    except PathProblem as problem:
        raise loaded.error([problem]) from None
    return model


@contextmanager
def begin(
    engine: Engine,
    loaded: LoadedSpec,
    folder: Path,
    *,
    overwrite: bool,
    allow: Sequence[str],
    facts: dict[str, Any],
) -> Iterator[Start]:
    """Open the run's folder in the first process, and tell the others where to start."""
    with ExitStack() as stack:
        start: Start | SlotlabError | None = None
        if engine.is_first:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(exclusive(folder, f"{folder} is being trained by another process"))
                start = open_run(loaded, folder, overwrite=overwrite, allow=allow)
                start.run.note_start(facts, None if start.saved is None else start.saved["step"])
            except SlotlabError as error:
                start = error
        start = engine.from_first(start)
        if isinstance(start, SlotlabError):
            raise start
        assert start is not None
        yield start


def note_end(engine: Engine, run: RunFolder, error: BaseException) -> None:
    """Write how an error ended a run. One process of several may fail alone: the first to fail says why."""
    state, reason = ending(error)
    first_to_fail = state == "failed" and run.read_status().get("state") == "running"
    if first_to_fail or (engine.is_first and state != "failed"):
        run.write_status(state, reason)


def ending(error: BaseException) -> tuple[str, str]:
    """Return the state of a run that an error ended, and the reason."""
    if isinstance(error, KeyboardInterrupt | TrainingStopped):
        return "stopped", "by Ctrl-C"
    if isinstance(error, TrainingPreempted):
        return "stopped", "by SIGTERM"
    return "failed", str(error) or type(error).__name__


def stop_message(run: RunFolder) -> str:
    """Say what is left of a training that was stopped at once."""
    saved = run.checkpoints.all()
    if not saved:
        return f"training stopped before anything was saved in {run.path}"
    return f"training stopped at once; the same command goes on from step {saved[0].step} ({run.path})"


def draw_curves(run: RunFolder) -> None:
    """Draw the loss and the learning rate from the run's log."""
    log = run.read_log()
    draw_loss(log, run.figures / "loss")
    draw_learning_rate(log, run.figures / "learning_rate")
