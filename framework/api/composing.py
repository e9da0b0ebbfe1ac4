"""Composes pictures of a run's slots, with a progress bar."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import TaskID
from torch import Tensor

from slotlab.framework.api import trained
from slotlab.framework.api.console import warn
from slotlab.framework.api.progress import open_bar
from slotlab.framework.composition.album import AlbumPicture, refuse_foreign, writing
from slotlab.framework.composition.composer import Composer
from slotlab.framework.composition.evaluate import (
    ReportStage,
    Sampling,
    find_library,
    measure_sampling,
    prepare_sampling,
    prepare_shift,
)
from slotlab.framework.composition.modes import MODES, STEPPED, RowPainter, SlotChoice, rows_of
from slotlab.framework.composition.shift import Shifted
from slotlab.framework.evaluation.result_folders import Places
from slotlab.framework.jobs.train import choose_device
from slotlab.framework.metrics.image_sets.compare_sets import Lacking, usable
from slotlab.framework.model.build import build_set_metrics
from slotlab.framework.plugin_loading.trust import Ask
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.merge import Option
from slotlab.framework.spec.schema import CompositionSpec
from slotlab.registry import SlotlabError
from slotlab.registry.component import suggest

SAMPLE = "sample"
SHIFT = "shift"
NEW = (SAMPLE, SHIFT)
"""Modes that make new pictures of the slots of many images."""
SECTION = "evaluation.composition"
ROWS = 8
"""Rows of the modes that take images, unless told otherwise."""
STEPS = 7
"""Pictures of an interpolation, unless told otherwise."""
COLUMNS = 10
"""Sampled pictures in a row of the sheet."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be composed, and of which weights."""

    mode: str
    split: str | None
    images: Sequence[int]
    slots: Sequence[int]
    slots_b: Sequence[int]
    steps: int | None
    count: int | None
    seed: int | None
    library: str | None
    clusters: int | None
    metrics: Sequence[str]
    checkpoint: str | None
    out: Path | None
    sets: Sequence[str]
    trust: Ask
    device: str


@dataclass(frozen=True)
class Composition:
    """Pictures that were composed and written."""

    folder: Path
    record: Mapping[str, Any]
    """What `composition.json` holds: mode, seeds, pictures, and what set metrics measured."""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Composition":
        """Return what `compose_run` wrote."""
        return cls(Path(record["folder"]), record)

    @property
    def sheet(self) -> Path:
        """A picture of all pictures, PNG."""
        return self.folder / str(self.record["sheet"])

    def _repr_png_(self) -> bytes:
        return self.sheet.read_bytes()


def compose_run(path: Path, request: Request) -> dict[str, Any]:
    """Compose pictures of a run, write them, and return the record with the folder.

    Raises:
        SlotlabError: for options that do not go together, and for all that cannot be composed.
    """
    check_request(request)
    run = RunFolder.open(path)
    if request.out is not None:
        refuse_foreign(request.out)  # before the work
    state = run.read_state() or "of unknown state"
    if state != "done":
        warn([f"{path}: the run is {state}; its weights are those of its last checkpoint"])
    composer = Composer.open(
        path,
        device=choose_device(request.device),
        sets=assignments(run, request),
        trust=request.trust,
    )
    spec = composer.spec
    wanted = spec.evaluation.composition or CompositionSpec()
    facts: dict[str, Any] = {
        "mode": request.mode,
        "run": str(run.path),
        "run_id": run_id(spec),
        "checkpoint": spec.evaluation.checkpoint,
        "step": composer.step,
        "protocol": spec.data.protocol_name,
        "image_size": spec.data.settings.image_size,
    }
    places = Places.of(run, composer.loaded)
    facts["changes"], ending = places.changes(spec), places.suffix(spec)
    make = sample if request.mode in NEW else show
    with reporting() as report:
        return make(composer, wanted, request, ending, facts, report)


def show(
    composer: Composer,
    wanted: CompositionSpec,
    request: Request,
    ending: str,
    facts: dict[str, Any],
    report: ReportStage,
) -> dict[str, Any]:
    """Write the rows of a mode that takes images."""
    spec = composer.spec
    choice = SlotChoice(
        split=request.split or spec.evaluation.split,
        count=request.count or ROWS,
        seed=spec.seed if wanted.seed is None else wanted.seed,
        images=tuple(request.images),
        slots=tuple(request.slots),
        slots_b=tuple(request.slots_b),
        steps=request.steps or STEPS,
    )
    mode = next(mode for mode in MODES if mode == request.mode)
    which = "_".join(map(str, choice.images)) or f"seed{choice.seed}"
    folder = request.out or composer.folder(f"{mode}-{choice.split}-{which}{ending}")
    painter = RowPainter(composer, choice)
    with writing(folder) as album:
        for row in rows_of(mode, painter):
            album.add(row)
        notes = list(painter.notes)
        record = album.close({**facts, "split": choice.split, "seed": choice.seed, "notes": notes})
    warn(notes)
    return {"folder": str(folder), **record}


def sample(
    composer: Composer,
    wanted: CompositionSpec,
    request: Request,
    ending: str,
    facts: dict[str, Any],
    report: ReportStage,
) -> dict[str, Any]:
    """Sample pictures, write and measure them; metrics that were asked for must lack nothing."""
    metrics, left_out = usable(build_set_metrics(composer.spec, composer.engine.device))
    if request.metrics and left_out:
        raise Lacking(left_out)
    library = find_library(composer, wanted, report)
    sampling: Sampling | Shifted = (
        prepare_sampling(composer, wanted, report, library)
        if request.mode == SAMPLE
        else prepare_shift(composer, wanted, library)
    )
    folder = request.out or composer.folder(f"{request.mode}-{wanted.library}-seed{sampling.seed}{ending}")
    with writing(folder, columns=COLUMNS) as album:

        def written() -> Iterator[Tensor]:
            for start, composed in sampling.batches():
                numbered = enumerate(composed.images_BCHW, start)
                album.add([AlbumPicture(f"{number:06d}", image_CHW) for number, image_CHW in numbered])
                yield composed.images_BCHW

        found = measure_sampling(sampling, metrics, written(), floor=wanted.floor, report=report)
        measured = {"set_metrics": found, "left_out": left_out}
        record = album.close({**facts, **sampling.facts, **measured})
    return {"folder": str(folder), **record}


def check_request(request: Request) -> None:
    """Refuse modes that there are not, and options of another mode.

    Raises:
        SlotlabError: that says what would be right.
    """
    known = [*MODES, *NEW]
    if request.mode not in known:
        hint = suggest(request.mode, known)
        raise SlotlabError(f"there is no mode '{request.mode}'{hint} (modes: {', '.join(known)})")
    of_images = ("image", "slot", "slot-b", "split")
    of_sample = ("library", "clusters", "metric")
    given = {
        "image": request.images,
        "slot": request.slots,
        "slot-b": request.slots_b,
        "split": request.split,
        "library": request.library,
        "clusters": request.clusters,
        "metric": request.metrics,
    }
    wrong = of_images if request.mode in NEW else of_sample
    for name in wrong:
        if given[name]:
            fit = "modes that take images" if request.mode in NEW else f"--mode {SAMPLE}"
            raise SlotlabError(f"--{name} goes with {fit}, not with --mode {request.mode}")
    if request.steps is not None and request.mode not in STEPPED:
        fit = "--mode interpolate, draws or denoise"
        raise SlotlabError(f"--steps goes with {fit}, not with --mode {request.mode}")
    if request.mode == SHIFT and (request.clusters or request.count):
        name = "clusters" if request.clusters else "count"
        text = "every slot of the library is used once, in groups of neighboring images"
        raise SlotlabError(f"--{name} goes with --mode {SAMPLE}, not with --mode {SHIFT}: {text}")
    if request.count is not None and request.images:
        text = "it is the number of rows from random images, and --image names the images"
        raise SlotlabError(f"--count goes without --image: {text}; leave one of them out")


def assignments(run: RunFolder, request: Request) -> list[str]:
    """Return the options as assignments over the run's spec, those of `--set` last."""
    sets = trained.assignments(request.sets, request.checkpoint)
    values = {
        "library": request.library,
        "clusters": request.clusters,
        "count": request.count if request.mode == SAMPLE else None,
        "seed": request.seed,
    }
    given = [
        Option(f"{SECTION}.{key}={value}", f"--{key} {value}")
        for key, value in values.items()
        if value is not None
    ]
    if request.metrics:
        written = " ".join(f"--metric {metric}" for metric in request.metrics)
        given.append(Option(f"{SECTION}.set_metrics=[{', '.join(request.metrics)}]", written))
    declared = load_spec(run.spec, trust=request.trust, of_run=True).spec.evaluation.composition
    return [*([f"{SECTION}={{}}"] if declared is None else []), *given, *sets]


@contextmanager
def reporting() -> Iterator[ReportStage]:
    """Show on stderr how far the work is, once there is something to wait for."""
    bar = open_bar("compose")
    tasks: dict[str, TaskID] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            bar.start()
            tasks[what] = bar.add_task(what, total=total, facts=what)
        bar.update(tasks[what], completed=done)

    try:
        yield report
    finally:
        if tasks:
            bar.stop()
