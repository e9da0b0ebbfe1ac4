"""Auxiliary losses: what is minimized, when weights change, who is blamed, and what measurements see of them."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator

from slotlab.framework.contracts import Losses
from slotlab.framework.data.device_placement import Placement
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.loaders import evaluation_loader
from slotlab.framework.evaluation.evaluate import evaluate
from slotlab.framework.model.anneal import load_state, value_at
from slotlab.framework.model.build import build_metrics, build_model
from slotlab.framework.model.check import check_parts
from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training.loop import train
from slotlab.framework.training.validation import Validation, validation_loss
from slotlab.registry import SlotlabError

CPU = torch.device("cpu")
Specs = Callable[..., ExperimentSpec]
Loaders = Callable[..., Loader]
PLUGIN = """
import torch

from slotlab.contracts import AuxiliaryConfig, Losses
from slotlab.registry import Component, ComponentConfig, hookimpl

SLOTLAB_API = 1


class Config(AuxiliaryConfig):
    factor: float = 1.0
    traced: bool = False


class Size:
    def __init__(self, config, context):
        self.factor, self.traced = config.factor, config.traced

    def __call__(self, output):
        size = self.factor * output.grouped.slots.vectors_BKD.square().mean()
        return Losses(size, {"factor": torch.tensor(self.factor)})


class Silent:
    traced = False


class Bare:
    traced = False

    def __init__(self, config, context):
        pass

    def __call__(self, output):
        return output.grouped.slots.vectors_BKD.mean()


class Unweighted(ComponentConfig):
    pass


class Untraced(torch.nn.Module):
    def forward(self, tokens_BND, slots, *, generator=None):
        from slotlab.contracts import Grouped
        K, N = slots.vectors_BKD.shape[1], tokens_BND.shape[1]
        attention_BKN = torch.full((len(tokens_BND), K, N), 1 / K, device=tokens_BND.device)
        return Grouped(slots, attention_BKN)


@hookimpl
def slotlab_auxiliaries():
    yield Component(name="size", config=Config, build=Size, summary="the size of slots")
    yield Component(name="number", config=Config, build=lambda config, context: Silent(), summary="no loss")
    yield Component(name="blind", config=Config, build=lambda config, context: abs, summary="no traced")
    yield Component(name="bare", config=Config, build=Bare, summary="no Losses")
    yield Component(name="half", config=Config, build=Size, summary="the name of a method")
    yield Component(name="unweighted", config=Unweighted, build=Size, summary="no weight")


@hookimpl
def slotlab_groupings():
    yield Component(
        name="untraced", config=Unweighted, build=lambda config, context: Untraced(), summary="no trace"
    )
"""
SPEC = """
format: 1
name: small
plugins: [auxiliaries.py]
data:
  dataset: {name: scenes, min_objects: 2, max_objects: 2, num_train: 4, num_val: 4, textures: [plain]}
  protocol: {name: whole, image_size: 8}
model:
  slots: 3
  slot_dim: 8
  encoder: {name: cnn, channels: [4], kernel_size: 3}
  initializer: gaussian
  grouping: GROUPING
  decoder: {name: spatial_broadcast, broadcast_size: 4, channels: [4]}
auxiliary: AUXILIARY
training:
  batch_size: 2
  log_every: 1
  phases: [{steps: 4, lr: 0.01}]
TRAINING
evaluation: {baselines: [], metrics: [ari, mse]}
"""
ITERATED = "{name: slot_attention, iterations: 2}"


@pytest.fixture
def spec(tmp_path: Path) -> Specs:
    """Return a function that makes the small spec with auxiliary losses."""

    def make(auxiliary: str, *, grouping: str = ITERATED, training: str = "") -> ExperimentSpec:
        (tmp_path / "auxiliaries.py").write_text(PLUGIN)
        text = SPEC.replace("AUXILIARY", auxiliary).replace("GROUPING", grouping)
        (tmp_path / "spec.yaml").write_text(text.replace("TRAINING", training))
        return load_spec(tmp_path / "spec.yaml").spec

    return make


def first_batch(spec: ExperimentSpec) -> Any:
    loader = evaluation_loader(spec, Placement(CPU))
    return next(iter(loader.epoch(range(2), epoch=0)))


def losses(spec: ExperimentSpec) -> Losses:
    return build_model(spec).losses(first_batch(spec), generator=Generator().manual_seed(0))


def test_the_total_is_the_objectives_loss_and_each_weight_times_its_loss(spec: Specs) -> None:
    plain = losses(spec("[]"))
    found = losses(spec("[{name: size, weight: 0.5, factor: 3.0}, {name: self_distill, weight: 0.25}]"))
    terms = found.terms
    assert "objective" not in plain.terms
    assert torch.equal(terms["objective"], plain.total)
    torch.testing.assert_close(terms["size"], 0.5 * terms["size/raw"])
    torch.testing.assert_close(terms["self_distill"], 0.25 * terms["self_distill/raw"])
    assert terms["size/factor"] == 3.0
    torch.testing.assert_close(found.total, terms["objective"] + terms["size"] + terms["self_distill"])
    assert terms["size"] > 0
    assert terms["self_distill"] > 0


def test_a_gradient_is_the_sum_of_the_losses_gradients(spec: Specs) -> None:
    def gradient(auxiliary: str) -> torch.Tensor:
        chosen = spec(auxiliary)
        model = build_model(chosen)
        model.losses(first_batch(chosen), generator=Generator().manual_seed(0)).total.backward()
        found: torch.Tensor = model.grouping.to_q.weight.grad
        return found.clone()

    plain, heavy = gradient("[]"), gradient("[{name: size, weight: 2.0}]")
    light = gradient("[{name: size, weight: 1.0}]")
    torch.testing.assert_close(heavy - plain, 2 * (light - plain), rtol=1e-4, atol=1e-6)
    assert not torch.equal(light, plain)
    assert torch.equal(gradient("[{name: size, weight: 0.0}]"), plain)


ANNEALED = """
  ema_decay: 0.5
  checkpoint: {keep: 9}
  anneal: {auxiliary.size.weight: {start: 0.0, end: 1.0, steps: 4, shape: cosine}}
"""


def test_a_weight_changes_with_the_step_and_is_the_same_wherever_the_model_is(
    spec: Specs, tmp_path: Path
) -> None:
    chosen = spec("[{name: size, weight: 7.0}]", training=ANNEALED)
    way = chosen.training.anneal["auxiliary.size.weight"]
    model = build_model(chosen)
    assert model.auxiliary["size"].weight == 0.0
    run = RunFolder.create(tmp_path / "run", chosen)
    engine = Engine.open(chosen, CPU, warn=print)
    loader = evaluation_loader(chosen, engine.placement)
    train(engine, model, loader, run, validation=Validation(loader))
    lines = [line for line in run.read_log() if line["kind"] == "validation"]
    assert len(lines) == 4
    for line, saved in zip(lines, reversed(run.checkpoints.all()), strict=True):
        state = saved.read()
        again = engine.place(build_model(chosen))
        load_state(chosen, again, state["ema"], state["step"])
        assert again.auxiliary["size"].weight == value_at(way, state["step"])
        assert validation_loss(chosen, again, loader) == line["loss"]
    assert model.auxiliary["size"].weight == value_at(way, 4) == 1.0


def test_rows_of_an_evaluation_do_not_see_auxiliary_losses(spec: Specs) -> None:
    def rows(auxiliary: str) -> Any:
        chosen = spec(auxiliary)
        engine = Engine.open(chosen, CPU, warn=print)
        loader = evaluation_loader(chosen, engine.placement)
        return evaluate(chosen, build_model(chosen), loader, build_metrics(chosen)).rows

    assert rows("[{name: size, weight: 9.0}, self_distill]") == rows("[]")


@pytest.mark.parametrize(
    ("auxiliary", "grouping", "text"),
    [
        ("[size, size]", ITERATED, "auxiliary.1: the auxiliary loss 'size' is given twice; keep one"),
        (
            "[number]",
            ITERATED,
            "auxiliary.0: number: what it builds should be called with a ModelOutput, and cannot be called",
        ),
        (
            "[half]",
            ITERATED,
            (
                "auxiliary.0: an auxiliary loss cannot be called 'half', as something in torch's modules is; "
                "rename it in its plugin"
            ),
        ),
        ("[blind]", ITERATED, "auxiliary.0: blind: what it builds lacks the attribute 'traced'"),
        (
            "[bare]",
            ITERATED,
            "auxiliary.0: bare: forward should return Losses, not Tensor",
        ),
        (
            "[{name: size, traced: true}]",
            "untraced",
            (
                "model.grouping: untraced: an auxiliary loss reads the grouping's trace, and this grouping makes none; "
                "take one that does, such as slot_attention"
            ),
        ),
        (
            "[self_distill]",
            "{name: slot_attention, iterations: 1}",
            "auxiliary.0: self_distill: the grouping makes one iteration, which has nothing to learn from itself",
        ),
        (
            "[sparsity]",
            ITERATED,
            "auxiliary.0: sparsity: the grouping drops no slots; take one that does, such as 'adaptive_slots'",
        ),
    ],
)
def test_mistakes_are_found_before_a_training(spec: Specs, auxiliary: str, grouping: str, text: str) -> None:
    found = [str(problem) for problem in check_parts(spec(auxiliary, grouping=grouping))]
    assert found == [text]


def test_losses_without_a_weight_are_refused_at_their_line(spec: Specs) -> None:
    with pytest.raises(SlotlabError) as error:
        spec("\n  - unweighted")
    assert str(error.value).endswith(
        "spec.yaml:15: auxiliary: the Config of 'unweighted' must be a slotlab.contracts.AuxiliaryConfig, "
        "with its weight"
    )


class Spoiled:
    """A loss that is no number."""

    traced = False

    def __init__(self, inner: Any):
        self.inner = inner

    def __call__(self, output: Any) -> Losses:
        return Losses(self.inner(output).total * math.nan)


def test_a_loss_that_is_no_number_is_blamed_on_the_auxiliary(spec: Specs, tmp_path: Path) -> None:
    chosen = spec("[self_distill, size]")
    model = build_model(chosen)
    inner = model.auxiliary["size"].loss
    model.auxiliary["size"].loss = Spoiled(inner)
    run = RunFolder.create(tmp_path / "run", chosen)
    engine = Engine.open(chosen, CPU, warn=print)
    with pytest.raises(SlotlabError, match=r"; it began in the auxiliary\.size; there is no checkpoint yet"):
        train(engine, model, evaluation_loader(chosen, engine.placement), run)
    assert json.loads(run.failure.read_text())["component"] == "auxiliary.size"
