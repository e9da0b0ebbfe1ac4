"""Looks during a training: they change nothing, are made again after a kill, and end nothing by failing."""

import errno
import io
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from slotlab.framework.contracts import Model, Tracker
from slotlab.framework.data.clips import Clips
from slotlab.framework.data.loader import Loader
from slotlab.framework.evaluation.evaluate import evaluate
from slotlab.framework.figures.watched import tile_size
from slotlab.framework.jobs import watching as job
from slotlab.framework.jobs.watching import Looking, cut, look_at
from slotlab.framework.model.build import build_metrics, build_model
from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.folder import MODEL, RunFolder
from slotlab.framework.runs.metrics_log import MetricsLog
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.spec.training import WatchSpec
from slotlab.framework.training import watching
from slotlab.framework.training.loop import train
from slotlab.framework.training.plan import Progress
from slotlab.framework.training.trackers import Trackers
from slotlab.framework.training.watching import MOST_LOOKS, USUAL, Seen, forget_after, steps_between

Loaders = Callable[..., Loader]
Specs = Callable[..., ExperimentSpec]
Weights = Mapping[str, torch.Tensor]


class Killed(Exception):  # noqa: N818 - stands for a power cut
    """The training ends here, without a chance to save."""


def attempt(
    spec: ExperimentSpec, loader: Loader, run: RunFolder, *, kill_at: int | None = None, **options: Any
) -> Weights:
    """Train, or go on, as a new process would; looks are those of the spec unless another is given."""

    def report(progress: Progress) -> None:
        if progress.step == kill_at:
            raise Killed

    model = build_model(spec)
    saved, _ = run.checkpoints.newest()
    if saved is None:
        run = RunFolder.create(run.path, spec, overwrite=True)
    else:
        MetricsLog(run.metrics).restore(saved)
        forget_after(run, saved["step"])
    options.setdefault("look", look_at(spec, model, loader))
    engine = Engine.open(spec, torch.device("cpu"), warn=options.pop("warn", print))
    train(engine, model, loader, run, report=report, saved=saved, **options)
    return dict(run.load_weights().model)


def watched(tiny: Specs, every: int | None = 3, **training: Any) -> ExperimentSpec:
    watch = {"every_steps": every, "images": 2, "measured": 3}
    return tiny(training={"phases": [{"epochs": 3, "lr": 0.01}], "watch": watch, **training})


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def looks(run: RunFolder) -> list[dict[str, Any]]:
    return [line for line in run.read_log() if line["kind"] == "watch"]


@pytest.mark.parametrize("ema", [None, 0.5])
def test_weights_and_random_streams_are_the_same_bits_without_looks(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path, ema: float | None
) -> None:
    weights = []
    for every in (None, 1):
        spec = watched(tiny, every, ema_decay=ema)
        run = RunFolder.create(tmp_path / str(every), spec)
        random.seed(1), np.random.seed(2), torch.manual_seed(3)
        weights.append((attempt(spec, noise_loader(), run), random.random(), np.random.rand(), torch.rand(1)))
        assert len(looks(run)) == len(run.watched()) == (9 if every else 0)
    assert same(weights[0][0], weights[1][0])
    assert weights[0][1:] == weights[1][1:]


def test_a_look_that_draws_and_changes_modes_changes_nothing(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path
) -> None:
    def impolite(model: Model) -> Seen:
        model.encoder.train(not model.encoder.training)  # type: ignore[operator,union-attr]
        random.random(), np.random.rand(), torch.rand(1)
        return Seen({"mse": 1.0}, b"png")

    weights = []
    for look in (None, impolite):
        spec = watched(tiny, 1)
        run = RunFolder.create(tmp_path / str(look is None), spec)
        modes: list[list[bool]] = []
        model_of = build_model(spec)

        def seen(model: Model, look: Any = look, modes: list[list[bool]] = modes) -> Seen:
            modes.append([part.training for part in model.modules()])
            found: Seen = look(model)
            return found

        weights.append(attempt(spec, noise_loader(), run, look=None if look is None else seen))
        assert all(mode == [True] * len(list(model_of.modules())) for mode in modes)
    assert same(*weights)


@pytest.mark.parametrize("kills", [[1], [4, 7], [3, 6, 8], [9]])
def test_killed_and_gone_on_with_it_leaves_the_same_files(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path, kills: list[int]
) -> None:
    spec = watched(tiny, 2, checkpoint={"every_epochs": None, "every_steps": 3})
    whole, run = (RunFolder.create(tmp_path / name, spec) for name in ("whole", "run"))
    attempt(spec, noise_loader(), whole)
    for step in kills:
        with pytest.raises(Killed):
            attempt(spec, noise_loader(), run, kill_at=step)
    attempt(spec, noise_loader(), run)
    assert looks(run) == looks(whole)
    assert [path.name for path in whole.watched()] == [f"step-{step:09d}.png" for step in (2, 4, 6, 8)]
    for path in whole.watched():
        assert (run.watch / path.name).read_bytes() == path.read_bytes()


def test_a_run_that_goes_on_forgets_pictures_of_later_steps_alone(tiny: Specs, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", tiny())
    run.watch.mkdir()
    for step in (2, 10, 11, 1_000_000_000):
        run.picture(step).touch()
    (run.watch / "mine.png").touch()
    forget_after(run, 10)
    assert sorted(path.name for path in run.watch.iterdir()) == [
        "mine.png",
        "step-000000002.png",
        "step-000000010.png",
    ]


def test_its_values_are_those_of_an_evaluation_of_the_same_images(tiny: Specs, noise_loader: Loaders) -> None:
    spec = watched(tiny)
    model, loader = build_model(spec), noise_loader()
    look = look_at(spec, model, loader)
    assert look is not None
    few = spec.model_copy(update={"evaluation": spec.evaluation.model_copy(update={"max_images": 3})})
    metrics = build_metrics(spec)
    found = evaluate(few, model, noise_loader(batch_size=3), metrics, baselines=()).summary(metrics)[MODEL]
    assert dict(look(model).values) == pytest.approx({name: one["mean"] for name, one in found.items()})


def test_its_picture_shows_the_first_images(tiny: Specs, noise_loader: Loaders) -> None:
    spec, loader = watched(tiny), noise_loader()
    model = build_model(spec)
    look = look_at(spec, model, loader)
    assert look is not None
    picture = np.asarray(Image.open(io.BytesIO(look(model).picture)))
    rows, columns = tile_size(np.zeros((8, 8, 3), dtype=np.uint8))
    assert (rows, columns) == (128, 128)
    assert picture.shape == (16 + 2 * 132 - 4, 4 * 132 - 4, 3)
    for number in range(2):
        image = loader.dataset[number].image_CHW.permute(1, 2, 0).numpy()
        at = 16 + number * 132
        assert np.array_equal(picture[at : at + 128, :128], image.repeat(16, axis=0).repeat(16, axis=1))


def test_data_without_masks_is_looked_at(tiny: Specs, noise_loader: Loaders) -> None:
    spec = watched(tiny)
    model, loader = build_model(spec), noise_loader(unmasked=frozenset(range(5)))
    look = look_at(spec, model, loader)
    assert look is not None
    seen = look(model)
    assert list(seen.values) == ["mse"]
    assert np.asarray(Image.open(io.BytesIO(seen.picture))).shape[1] == 3 * 132 - 4  # no column for the truth


def test_one_that_fails_ends_the_looks_with_one_warning(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path
) -> None:
    calls, told = [], list[str]()

    def failing(model: Model) -> Seen:
        calls.append(model)
        if len(calls) == 2:
            raise ValueError("no picture\nat all")
        return Seen({}, b"png")

    spec = watched(tiny)
    run = RunFolder.create(tmp_path / "run", spec)
    weights = attempt(spec, noise_loader(), run, look=failing, warn=told.append)
    gone = "the model cannot be looked at any more, and the training goes on"
    assert told == [f"step 6: {gone}: ValueError: no picture"]
    assert [path.name for path in run.watched()] == ["step-000000003.png"]
    plain = attempt(spec, noise_loader(), RunFolder.create(tmp_path / "plain", spec), look=None)
    assert same(weights, plain)


def test_a_disk_that_is_full_ends_the_looks_and_not_the_training(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, told = watched(tiny), list[str]()
    run = RunFolder.create(tmp_path / "run", spec)

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(watching, "write_atomically", full)
    attempt(spec, noise_loader(), run, warn=told.append)
    assert len(told) == 1
    assert told[0].startswith("step 3: the model cannot be looked at any more")


@pytest.mark.parametrize("total", [1, 999, 100_000, 100_001, 250_000, 500_000, 3_000_001])
def test_how_often_it_looks_unless_told(total: int) -> None:
    every = steps_between(WatchSpec(), total)
    assert every is not None
    assert total // every <= MOST_LOOKS
    assert every % USUAL == 0
    assert every == USUAL or total // (every - USUAL) > MOST_LOOKS or total > MOST_LOOKS * (every - USUAL)
    assert steps_between(WatchSpec(every_steps=7), total) == 7
    assert steps_between(WatchSpec(every_steps=None), total) is None


def test_what_cannot_be_seen_is_not_looked_at(tiny: Specs, noise_loader: Loaders) -> None:
    class Blind(torch.nn.Module):
        """Neither segments nor reconstructs."""

    blind: Any = Blind()
    assert look_at(watched(tiny), blind, noise_loader()) is None
    assert look_at(watched(tiny, None), build_model(tiny()), noise_loader()) is None


def test_long_clips_are_cut_and_few_are_read(tiny: Specs, noise_loader: Loaders, monkeypatch: Any) -> None:
    clips = Clips(starts=[[list(range(start, start + 5000))] for start in range(40)])
    few = cut(clips, 32, 6)
    assert [few.frames(number) for number in range(len(few))] == [list(range(n, n + 32)) for n in range(6)]
    monkeypatch.setattr(job, "LONGEST", 2)
    loader = replace(
        noise_loader(size=9), clips=Clips(starts=[[[3 * n, 3 * n + 1, 3 * n + 2]] for n in range(3)])
    )
    look = look_at(watched(tiny), build_model(tiny()), loader)
    assert isinstance(look, Looking)
    assert (look.number, look.loader.length(0)) == (2, 2)


class Gallery:
    """A tracker that takes images."""

    forgets = False

    def __init__(self) -> None:
        self.images: list[tuple[str, int, str]] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def figure(self, name: str, path: Path) -> None:
        pass

    def image(self, name: str, step: int, path: Path) -> None:
        self.images.append((name, step, path.name))

    def close(self, *, failed: bool) -> None:
        pass


class Numbers:
    """A tracker from before there were images."""

    forgets = False

    def __init__(self) -> None:
        self.points: list[tuple[int, str]] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.points += [(step, name) for name in values if name.startswith("watch/")]

    def figure(self, name: str, path: Path) -> None:
        pass

    def close(self, *, failed: bool) -> None:
        pass


def test_trackers_get_pictures_if_they_take_them_and_numbers_always(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path
) -> None:
    spec, told = watched(tiny), list[str]()
    run = RunFolder.create(tmp_path / "run", spec)
    gallery, plain = Gallery(), Numbers()
    active: dict[str, Tracker] = {"gallery": gallery, "plain": plain}
    trackers = Trackers(told.append, run, active=active, told={"gallery": {}, "plain": {}})
    attempt(spec, noise_loader(), run, trackers=trackers)
    assert gallery.images == [("watch/pictures", step, f"step-{step:09d}.png") for step in (3, 6, 9)]
    assert {step for step, _ in plain.points} == {3, 6, 9}
    assert told == []
