"""Estimates: counted where that can be, measured where not, scaled only with a warning."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slotlab.framework.contracts import Batch
from slotlab.framework.cost.flops import count_flops
from slotlab.framework.cost.tally import planned_images
from slotlab.framework.jobs import estimate as estimating
from slotlab.framework.jobs import evaluation_time as evaluation_times
from slotlab.framework.jobs.estimate import (
    StepCost,
    Trial,
    TrialTraining,
    count_images,
    estimate,
    largest,
    measure,
    warnings,
)
from slotlab.framework.jobs.evaluation_time import evaluation_time, untimed
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training.plan import Plan
from slotlab.registry import SlotlabError

Specs = Callable[..., ExperimentSpec]


def open_engine(spec: ExperimentSpec) -> Engine:
    return Engine.open(spec, torch.device("cpu"), warn=print)


def test_what_is_counted_and_what_is_measured(tiny: Specs) -> None:
    spec = tiny(training={"phases": [{"epochs": 3, "lr": 0.1}]})
    state = torch.get_rng_state()
    found = estimate(open_engine(spec), 5)
    assert torch.equal(torch.get_rng_state(), state)
    assert found["steps"] == Plan.of(spec, 5).total == 9
    assert found["images"] == planned_images(spec, 5) == 15
    assert found["flops"] == 15 * count_flops(spec).image_training
    assert found["measured_batch_size"] == found["batch_size"] == 2
    assert found["seconds"] == pytest.approx(15 / found["images_per_second"])
    weights = sum(tensor.nbytes for tensor in build_model(spec).state_dict().values())
    assert found["checkpoint_bytes"] > 3 * weights  # with Adam's two moments
    assert (found["largest_batch"], found["warnings"]) == (None, [])


def test_a_slow_device_is_measured_at_a_smaller_batch(tiny: Specs) -> None:
    spec = tiny(training={"batch_size": 64})
    found = estimate(open_engine(spec), 640, budget=0.0)
    assert found["measured_batch_size"] == 1
    assert found["warnings"] == ["measured at a batch of 1 and scaled to 64; larger batches are often faster"]


@pytest.mark.parametrize("settings", [{"accumulate": 2}, {"ema_decay": 0.9}, {"precision": "bfloat16"}])
def test_all_ways_to_train_can_be_estimated(tiny: Specs, settings: dict[str, Any]) -> None:
    assert estimate(open_engine(tiny(training=settings)), 5)["seconds"] > 0


# --- memory ------------------------------------------------------------------------------


@given(st.integers(0, 200), st.integers(1, 200))
def test_the_largest_batch_that_fits(most: int, below: int) -> None:
    assert largest(lambda batch: batch <= most, below) == min(most, below - 1)


class SmallGpu:
    """Stands for an engine on a GPU, whose memory ends at a batch size."""

    def __init__(self, spec: ExperimentSpec):
        self.engine = open_engine(spec)
        self.spec, self.device = spec, torch.device("meta")


@pytest.mark.parametrize("room", [5, 0])
def test_a_batch_that_does_not_fit(tiny: Specs, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    spec = tiny(training={"batch_size": 16})

    def step(batch: Batch) -> None:
        if len(batch.images_BCHW) > room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    whole = TrialTraining.of(open_engine(spec))
    device = SmallGpu(spec)

    class Limited(TrialTraining):
        @classmethod
        def of(cls, engine: Any) -> TrialTraining:
            return TrialTraining(whole.engine, whole.trainee, step)

    monkeypatch.setattr(estimating, "TrialTraining", Limited)
    whole.trainee.optimizer, whole.trainee.schedule = begun(whole.engine)
    found = measure(device)  # type: ignore[arg-type]
    assert found.largest_batch == room
    assert (found.trial is None) == (room == 0)
    if room:
        assert found.trial is not None
        assert found.trial.batch_size == room
        assert found.step_seconds == pytest.approx(found.trial.step_seconds * 16 / room)


def begun(engine: Engine) -> Any:
    from slotlab.framework.training.loop import begin_phase

    return begin_phase(engine, build_model(engine.spec), None, Plan.of(engine.spec, 5), 0)


def test_memory_that_will_not_do_is_said() -> None:
    hint = "lower training.batch_size, or set training.accumulate or training.speed.recompute"
    trial = Trial(5, 1.0, 100)
    scaled = "measured at a batch of 5 and scaled to 16; larger batches are often faster"
    assert warnings(StepCost(trial, 3.2, 100, 10, 5), 16) == [
        f"a batch of 16 does not fit into memory (5 at most); {hint}",
        scaled,
    ]
    assert warnings(StepCost(None, None, None, 10, 0), 16) == [
        f"a batch of 16 does not fit into memory (not even one image); {hint}"
    ]


def test_memory_of_a_processor_is_reckoned_not_tried(tiny: Specs, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def run(bench: TrialTraining, batch_size: int, *, steps: int = 3) -> Trial:
        sizes.append(batch_size)
        return Trial(batch_size, 0.0, 1000 + 100 * batch_size)

    monkeypatch.setattr(TrialTraining, "run", run)
    monkeypatch.setattr(estimating, "peak_memory", lambda device: 1000)
    monkeypatch.setattr(estimating, "free_memory", lambda device: 600)
    found = measure(open_engine(tiny(training={"batch_size": 16})))
    assert sizes == [1, 2, 4]  # eight would take 400 of the 600 that are left
    assert (found.memory, found.largest_batch) == (1000 + 16 * 100, 4 + 6)


# --- the number of images ----------------------------------------------------------------


def test_the_number_of_images() -> None:
    def fail() -> int:
        raise SlotlabError("there is no folder data")

    assert count_images(7, fail) == 7
    assert count_images(None, lambda: 9) == 9
    with pytest.raises(SlotlabError) as error:
        count_images(None, fail)
    text = "the number of training images is not known without the data; give --images N"
    assert str(error.value) == f"{text} (there is no folder data)"


# --- the evaluation ----------------------------------------------------------------------


def test_an_evaluation_takes_as_long_as_the_model_on_its_images(tiny: Specs) -> None:
    engine, state = open_engine(tiny()), torch.get_rng_state()
    found = evaluation_time(engine, 300)
    assert torch.equal(torch.get_rng_state(), state)
    assert found["evaluation_missing"] == ""
    assert found["evaluation_seconds"] == pytest.approx(300 / found["evaluation_images_per_second"])
    unknown = evaluation_time(engine, None)
    assert (unknown["evaluation_images"], unknown["evaluation_seconds"]) == (None, None)
    assert unknown["evaluation_images_per_second"] > 0


def test_why_an_evaluation_is_not_timed_is_said(tiny: Specs, monkeypatch: pytest.MonkeyPatch) -> None:
    class Painter(torch.nn.Module):
        def sample(self, slots: Any, *, generator: Any = None) -> Any:
            raise AssertionError("nothing is drawn")

    engine = open_engine(tiny())
    model = build_model(engine.spec)
    assert untimed(engine, model) == ""
    model.add_module("painter", Painter())
    assert untimed(engine, model) == "its decoder draws pictures in many steps, which can take long"
    monkeypatch.setattr(evaluation_times, "build_model", lambda spec: model)
    found = evaluation_time(engine, 5)
    assert (found["evaluation_images_per_second"], found["evaluation_seconds"]) == (None, None)
    assert found["evaluation_missing"].startswith("its decoder draws")
