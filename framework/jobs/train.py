"""Train a spec into a run folder, and draw its curves; `framework.jobs.evaluate` evaluates it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from slotlab.framework.contracts import Model
from slotlab.framework.cost.tally import Tally, planned_images
from slotlab.framework.data.field_stores import with_field_stores
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.loaders import evaluation_loader, train_loader, with_fields
from slotlab.framework.figures.training_curves import draw_learning_rate, draw_loss
from slotlab.framework.jobs.failed_training import noting_errors
from slotlab.framework.jobs.watching import look_at
from slotlab.framework.model.check import check_parts
from slotlab.framework.model.cues import check_masks, cue_cautions
from slotlab.framework.model.engine import Engine, precise
from slotlab.framework.model.feature_stores import with_stores
from slotlab.framework.model.slot_stores import with_slots
from slotlab.framework.model.start import check_start, initial_model
from slotlab.framework.plugin_loading.trust import Code, Trusted
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.runs.measurement import GENERATED, is_generated
from slotlab.framework.runs.provenance import command_line, provenance
from slotlab.framework.spec.cautions import cautions
from slotlab.framework.spec.errors import PathProblem, Problem
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import LoadedSpec, load_spec
from slotlab.framework.spec.named_plugins import programs
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.allocator import keeping_memory
from slotlab.framework.system.locks import exclusive
from slotlab.framework.system.stop_signals import listening
from slotlab.framework.training.loop import ReportProgress, train
from slotlab.framework.training.plan import Progress
from slotlab.framework.training.rehearsal import rehearse
from slotlab.framework.training.resume import Start, open_run
from slotlab.framework.training.state import seeded
from slotlab.framework.training.trackers import Trackers, check_trackers
from slotlab.framework.training.validation import Validation
from slotlab.registry import SlotlabError


@dataclass(frozen=True)
class Prepared:
    """A valid spec whose parts fit together, with its warnings."""

    loaded: LoadedSpec
    warnings: Sequence[Problem]


def prepare(name: str | Path, *, trained: bool = False, **options: Any) -> Prepared:
    """Load a spec (see `load_spec` for the options) and check that its parts fit.

    With `trained` the spec is that of a trained run: only what matters to its evaluation is reported.

    Raises:
        SpecError: with every mistake found, each with file and line.
    """
    loaded = load_spec(name, **options)
    problems = check_parts(loaded.spec) + check_trackers(loaded.spec)
    if trained:  # checkpoints are not compared any more
        problems = [problem for problem in problems if problem.path != ("training", "checkpoint", "best")]
    else:
        problems += check_start(loaded.spec)
    if problems:
        raise loaded.error(problems)
    noticed = loaded.error(cautions(loaded.spec, trained=trained)).problems
    return Prepared(loaded, [*loaded.notes, *noticed])


def choose_device(name: str) -> torch.device:
    """Return the device: `auto` is the GPU if there is one.

    Raises:
        SlotlabError: if there is no such device.
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
    """Return the default folder of a run: its name and the beginning of its identity."""
    return runs / f"{loaded.spec.name}-{run_id(loaded.spec)[:8]}"


@dataclass(frozen=True)
class TrainingData:
    """The training split, and the split on which the model is validated."""

    train: Loader
    evaluation: Loader

    @classmethod
    def open(cls, loaded: LoadedSpec, engine: Engine) -> "TrainingData":
        """Open both splits, each process for its share.

        Raises:
            SpecError: if the data is not as the spec says.
            DataError: if files of the data are broken.
        """
        spec, placement = loaded.spec, engine.placement
        try:
            return cls(train_loader(spec, placement), evaluation_loader(spec, placement))
        except PathProblem as problem:
            raise loaded.error([problem]) from None

    def with_stores(self, loaded: LoadedSpec, model: Model) -> "TrainingData":
        """Return the same data with what the model reads: fields, stored features, targets and slots.

        Raises:
            SpecError: if a store is required and missing, or the data has no such field.
            SlotlabError: if a store does not hold what the model makes of the images.
        """
        try:
            read = [with_fields(one, model.fields) for one in (self.train, self.evaluation)]
            loaders = [with_field_stores(loaded.spec.data, one) for one in read]
            train, watched = with_stores(loaded.spec, model, *loaders)
            return TrainingData(with_slots(loaded.spec, model, train), watched)
        except PathProblem as problem:
            raise loaded.error([problem]) from None

    @property
    def facts(self) -> dict[str, Any]:
        """What the splits hold, as JSON-ready data for the run's provenance."""
        return {"train": self.train.selection.facts, "evaluation": self.evaluation.selection.facts}

    @property
    def notes(self) -> list[str]:
        """What the user should know about the data."""
        return [*self.train.selection.notes, *self.evaluation.selection.notes]


def run_training(
    loaded: LoadedSpec,
    folder: Path,
    *,
    device: torch.device,
    overwrite: bool = False,
    allow: Sequence[str] = (),
    report: ReportProgress,
    warn: Callable[[str], None] = lambda text: None,
    trackers: Trackers | None = None,
    until: int | None = None,
) -> RunFolder:
    """Train a spec into a run folder, or resume the run that is in it, and draw the curves.

    The run's status ends as done, stopped (Ctrl-C, SIGTERM, at step `until`) or failed. Given trackers stay
    open.

    Raises:
        SpecError: if the data is not as the spec says, or a component breaks its promise.
        DataError: if files of the data are broken.
        SlotlabError: if the folder is taken or training fails.
        TrainingHalted: if it was trained until step `until`.
    """
    refuse_file(folder)
    engine = Engine.open(loaded.spec, device, warn=warn)
    data = TrainingData.open(loaded, engine)
    model = rehearsed_model(engine, loaded, data)
    data = data.with_stores(loaded, model)
    facts = provenance(loaded, command=command_line(), device=device, data=data.facts)
    opened = Trackers(warn) if trackers is None else nullcontext(trackers)
    with (
        begin(engine, loaded, folder, overwrite=overwrite, allow=allow, facts=facts) as start,
        opened as kept,
    ):
        if engine.is_first:
            remember(loaded)
        changed = () if start.saved is None else changed_data(start.run, loaded.spec, data.facts["train"])
        few = cue_cautions(model, loaded.spec, loaded.spec.slots, data.train)
        for text in dict.fromkeys((*start.notes, *data.notes, *few, *changed)):
            warn(text)
        train_to_the_end(engine, model, data, start, report, kept, until)
        if engine.is_first:
            start.run.write_status("done")
            draw_curves(start.run)
    return start.run


def refuse_file(folder: Path) -> None:
    """Refuse a run folder that is a file.

    Raises:
        SlotlabError: if it is.
    """
    if folder.exists() and not folder.is_dir():
        raise SlotlabError(f"{folder} is a file; choose another folder with --run DIR")


def train_to_the_end(
    engine: Engine,
    model: Model,
    data: TrainingData,
    start: Start,
    report: ReportProgress,
    trackers: Trackers,
    until: int | None = None,
) -> None:
    """Train, and keep account of time and energy, also of a training that an error ends.

    Raises:
        SlotlabError: if training fails.
        TrainingStopped, TrainingPreempted: if the user or the system stopped it.
        TrainingHalted: after step `until`.
    """
    spec, run = engine.spec, start.run
    tally = Tally.start(engine, run)

    def follow(progress: Progress) -> None:
        report(progress)
        tally.note()

    with noting_errors(engine, run, tally):
        if engine.is_first:
            trackers.start(run, spec, None if start.saved is None else start.saved["step"])
        memory = keeping_memory(engine.device, enabled=spec.training.speed.keep_memory)
        with listening() as stop, precise(spec), memory, seeded(spec.seed + engine.rank):
            stop.until = until
            train(
                engine,
                model,
                replace(data.train, masks=model.supervised),
                run,
                validation=Validation.of(spec, data.evaluation),
                report=follow,
                saved=start.saved,
                stop=stop,
                trackers=trackers,
                look=look_at(spec, model, data.evaluation),
            )
            tally.finish(planned_images(spec, data.train.total))


def remember(loaded: LoadedSpec) -> None:
    """Trust the code of a run that this user makes, so that the user is not asked about it later."""
    named = [read() for _, read in programs(loaded.spec)]
    Trusted.user().remember([*map(Code.of, loaded.registry.files), *named])


def changed_data(run: RunFolder, spec: ExperimentSpec, now: Mapping[str, Any]) -> list[str]:
    """Return a warning if a training is resumed with other images than it began with."""
    before = run.read_provenance().get("data", {}).get("train", {}).get("fingerprint")
    # Earlier versions generated images from the training's seed, with a fingerprint that says no more.
    same = before == GENERATED and is_generated({"data": now}) and spec.seed == spec.data.seed
    if before is None or same or before == now["fingerprint"]:
        return []
    text = f"the training data has fingerprint {now['fingerprint']}, and had {before} when the run began"
    return [f"{run.path}: {text}; give --overwrite to train it on one data set"]


def rehearsed_model(engine: Engine, loaded: LoadedSpec, data: TrainingData) -> Model:
    """Build the model on the engine's device, and check that its components keep their promises.

    Raises:
        SpecError: at the line of the component that breaks one, or is told of masks that the data lacks.
        SlotlabError: with the name of the component, if it has no line in the spec.
    """
    model = engine.place(initial_model(loaded.spec))
    try:
        for one in (data.train, data.evaluation):
            check_masks(model, one.selection)
        rehearse(engine, model, with_fields(data.evaluation, model.fields))
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
    """Open the run's folder in the first process; every process receives where the training starts."""
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


def draw_curves(run: RunFolder) -> None:
    """Draw the loss and the learning rate from the run's log."""
    log = run.read_log()
    draw_loss(log, run.figures / "loss")
    draw_learning_rate(log, run.figures / "learning_rate")
