"""What a model is at a step is a function of spec, weights and step, wherever it is loaded or copied."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import slotlab.framework.model.anneal as anneal_module
from slotlab.framework.composition import Composer
from slotlab.framework.data.device_placement import Placement
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.loaders import evaluation_loader
from slotlab.framework.evaluation.conditions import own_condition
from slotlab.framework.evaluation.evaluate import evaluate
from slotlab.framework.jobs.evaluate import run_evaluations
from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.model.anneal import anneal, check_anneal, load_state, value_at
from slotlab.framework.model.build import build_metrics, build_model
from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.folder import MODEL, RunFolder
from slotlab.framework.spec.load import LoadedSpec, load_spec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training.loop import train
from slotlab.framework.training.state import Trainee
from slotlab.framework.training.validation import Validation

CPU = torch.device("cpu")
Specs = Callable[..., ExperimentSpec]
Loaders = Callable[..., Loader]
Trained = tuple[RunFolder, LoadedSpec]
STEPS = 6
PLUGIN = """
import torch
from torch import nn

from slotlab.framework.contracts import Slots
from slotlab.registry import Component, ComponentConfig, hookimpl

SLOTLAB_API = 1


class Config(ComponentConfig):
    pass


class Queries(nn.Module):
    fixed_num_slots = True
    schedulable = frozenset({"sigma", "scale"})

    def __init__(self, config, context):
        super().__init__()
        self.vectors_KD = nn.Parameter(torch.randn(context.num_slots, context.slot_dim))
        self.sigma = 5.0
        self.register_buffer("scale", torch.ones(()))

    def forward(self, tokens_BND, num_slots=None, *, generator=None):
        shape = (len(tokens_BND), *self.vectors_KD.shape)
        noise_BKD = torch.randn(shape, generator=generator, device=self.vectors_KD.device)
        return Slots(self.vectors_KD * self.scale + self.sigma * noise_BKD)


@hookimpl
def slotlab_initializers():
    yield Component(name="queries", config=Config, build=Queries, summary="learned vectors and annealed noise")
"""
SPEC = """
format: 1
name: annealed
plugins: [queries.py]
data:
  dataset: {name: scenes, min_objects: 2, max_objects: 3, num_train: 4, num_val: 3, textures: [plain]}
  protocol: {name: whole, image_size: 16}
model:
  slots: 3
  slot_dim: 8
  encoder: {name: cnn, channels: [4]}
  initializer: queries
  grouping: {name: slot_attention, iterations: 1}
  decoder: {name: spatial_broadcast, channels: [4], strides: [2]}
training:
  batch_size: 2
  phases: [{steps: 6, lr: 1e-2}]
  anneal:
    initializer.sigma: {start: 5.0, end: 0.5, steps: 6}
    initializer.scale: {start: 1.0, end: 3.0, steps: 12}
  checkpoint: {best: mse, keep: 9}
evaluation: {metrics: [ari, mse, mbo_per_object], baselines: []}
"""


@pytest.fixture(scope="module", params=[None, 0.5], ids=["plain", "averaged"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("annealed")
    (folder / "queries.py").write_text(PLUGIN)
    decay = "" if request.param is None else f"  ema_decay: {request.param}\n"
    (folder / "spec.yaml").write_text(SPEC.replace("  checkpoint:", f"{decay}  checkpoint:"))
    prepared = prepare(folder / "spec.yaml")
    return run_training(prepared.loaded, folder / "run", device=CPU, report=lambda progress: None)


@pytest.fixture
def trained(run: RunFolder) -> Trained:
    return run, load_spec(run.spec)


def values(model: Any) -> tuple[float, float]:
    return model.initializer.sigma, float(model.initializer.scale)


def expected(spec: ExperimentSpec, step: int) -> tuple[float, float]:
    ways = spec.training.anneal
    return value_at(ways["initializer.sigma"], step), value_at(ways["initializer.scale"], step)


def validated(run: RunFolder) -> dict[int, dict[str, Any]]:
    return {line["step"]: line for line in run.read_log() if line["kind"] == "validation"}


def test_validation_checkpoint_and_evaluation_give_the_same_number(trained: Trained) -> None:
    run, loaded = trained
    lines = validated(run)
    assert sorted(lines) == [2, 4, 6]
    engine = Engine.open(loaded.spec, CPU, warn=print)
    loader = evaluation_loader(loaded.spec, engine.placement)
    measured = {}
    for one in run.checkpoints.all():
        state = one.read()
        model = engine.place(build_model(loaded.spec))  # the memory layout changes the last digit
        load_state(loaded.spec, model, state["ema"] or state["model"], state["step"])
        found = evaluate(loaded.spec, model, loader, build_metrics(loaded.spec))
        measured[one.step] = found.summary(build_metrics(loaded.spec))[MODEL]["mse"]["mean"]
    assert {step: line["mse"] for step, line in lines.items()} == measured
    facts = run.checkpoints.best_facts()
    assert facts is not None
    assert facts["value"] == measured[facts["step"]] == min(measured.values())
    [summary] = run_evaluations(run, loaded, [own_condition(loaded)], device=CPU)
    assert summary["methods"][MODEL]["mse"]["mean"] == lines[STEPS]["mse"]


def test_the_step_changes_the_numbers(trained: Trained) -> None:
    run, loaded = trained
    loader = evaluation_loader(loaded.spec, Placement(CPU))
    model, found = build_model(loaded.spec), []
    for step in (0, STEPS):
        load_state(loaded.spec, model, run.load_weights().model, step)
        rows = evaluate(loaded.spec, model, loader, build_metrics(loaded.spec)).rows[MODEL]
        found.append([row["mse"] for row in rows])
    assert found[0] != found[1]


def test_composition_and_studio_have_the_values_of_the_checkpoint(run: RunFolder) -> None:
    composer = Composer.open(run.path, device=CPU)
    assert values(composer.model) == expected(composer.spec, STEPS) == (0.5, 2.0)


def test_a_best_value_is_the_mean_that_an_evaluation_reports(tiny: Specs, noise_loader: Loaders) -> None:
    spec = tiny(
        evaluation={"metrics": ["mbo_per_object"]}, training={"checkpoint": {"best": "mbo_per_object"}}
    )
    model, loader, metrics = build_model(spec), noise_loader(size=5), build_metrics(spec)
    value = Validation.of(spec, loader).measure(spec, model)["mbo_per_object"]
    found = evaluate(spec, model, loader, metrics).summary(metrics)[MODEL]["mbo_per_object"]
    assert value == found["mean"]


class Annealed(torch.nn.Module):
    """An initializer around another whose scale is annealed, as a float and as two kinds of tensors."""

    schedulable = frozenset({"sigma", "scale", "bare"})

    def __init__(self, inner: Any):
        super().__init__()
        self.inner, self.sigma, self.bare = inner, 9.0, torch.tensor(9.0)
        self.register_buffer("scale", torch.tensor(9.0))
        self.seen: list[tuple[bool, float, float, float]] = []

    def forward(self, *args: Any, **options: Any) -> Any:
        self.seen.append((self.training, self.sigma, float(self.get_buffer("scale")), float(self.bare)))
        return self.inner(*args, **options)


WAYS = {f"initializer.{name}": {"start": 1.0, "end": 0.0, "steps": 8} for name in Annealed.schedulable}


def with_annealing(spec: ExperimentSpec) -> Any:
    model = build_model(spec)
    model.initializer = Annealed(model.initializer)
    return model


@pytest.mark.parametrize("decay", [None, 0.5])
def test_each_step_and_each_validation_has_the_values_of_its_step(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path, decay: float | None
) -> None:
    spec = tiny(training={"anneal": WAYS, "ema_decay": decay, "phases": [{"steps": 4, "lr": 0.01}]})
    model = with_annealing(spec)
    watched: list[Any] = []

    class Watching(Validation):
        def measure(self, spec: Any, measured: Any, **options: Any) -> dict[str, float | None]:
            watched.append((measured is model, *values(measured), float(measured.initializer.bare)))
            return super().measure(spec, measured, **options)

    run = RunFolder.create(tmp_path / "run", spec)
    engine = Engine.open(spec, CPU, warn=print)
    train(engine, model, noise_loader(size=4), run, validation=Watching(noise_loader(size=2)))
    assert [seen[1:] for seen in model.initializer.seen if seen[0]] == [(1 - n / 8,) * 3 for n in range(4)]
    assert watched == [(decay is None, *(1 - n / 8,) * 3) for n in (2, 4)]
    saved, _ = run.checkpoints.newest()
    assert saved is not None
    assert float(saved["model"]["initializer.scale"]) == 0.5


def test_a_training_that_goes_on_has_the_values_of_its_step(tiny: Specs, noise_loader: Loaders) -> None:
    spec = tiny(training={"anneal": WAYS, "ema_decay": 0.5})
    trainee = Trainee.of(spec, with_annealing(spec), CPU)
    weights = trainee.model.state_dict()
    state = {"step": 4, "phase": 0, "epoch": 2, "batch": 0, "lowest_loss": 1.0, "pending": []}
    trainee.restore({**state, "model": weights, "ema": trainee.measured.state_dict(), "ema_updates": 4})
    assert trainee.measured is not trainee.model
    for model in (trainee.model, trainee.measured):
        assert values(model) == (0.5, 0.5)


def test_a_model_is_built_as_it_is_before_its_first_step(tmp_path: Path) -> None:
    (tmp_path / "queries.py").write_text(PLUGIN)
    (tmp_path / "spec.yaml").write_text(SPEC)
    sets = ["training.anneal={initializer.sigma: {start: 0.25, end: 1, steps: 3}}"]
    spec = load_spec(tmp_path / "spec.yaml", sets=sets).spec
    model: Any = build_model(spec)
    assert values(model) == (0.25, 1.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("much", "it is a str"),
        (True, "it is a bool"),
        (torch.ones(2), "it is a Tensor"),
        (torch.ones((), dtype=torch.int64), "it is a Tensor"),
        (None, "there is none"),
    ],
)
def test_an_attribute_that_holds_no_number(tiny: Specs, value: Any, text: str) -> None:
    spec = tiny(training={"anneal": {"initializer.sigma": {"start": 1, "end": 0.5, "steps": 3}}})
    model: Any = with_annealing(spec)
    model.initializer.sigma = value
    if value is None:
        del model.initializer.sigma
    must = "'sigma' is declared as schedulable and must be a float or a tensor of one float"
    message = f"training.anneal.initializer.sigma: {must}; {text}"
    assert [str(problem) for problem in check_anneal(spec, model)] == [message]
    with pytest.raises(Exception, match="is declared as schedulable") as error:
        anneal(spec, model, 0)
    assert str(error.value) == message


def test_weights_are_loaded_in_one_place() -> None:
    """Optimizers, schedules and heads of probes aside: whoever loads a run's weights also sets what depends on the step."""
    framework = Path(anneal_module.__file__).parents[1]
    found = set()
    for path in framework.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "load_state_dict" and path.name != "heads.py":
                found.add((path.name, ast.unparse(node.value)))
    others = {owner for name, owner in found if name in ("state.py", "learning_rates.py")}
    apart = (
        "state.py",
        "learning_rates.py",
        "perceptual.py",
        "saving.py",
    )  # of a network of LPIPS, of a law's copy
    assert {pair for pair in found if pair[0] not in apart} == {("anneal.py", "model")}
    assert others <= {"optimizer", "self.optimizer", "self.schedule", "self.scaler"}
