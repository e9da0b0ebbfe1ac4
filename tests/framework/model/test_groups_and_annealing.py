"""Parameter groups, frozen parts and settings that change during training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from slotlab.framework.contracts import OptimizerContext
from slotlab.framework.data.loader import Loader
from slotlab.framework.model.anneal import anneal, check_anneal, value_at
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine
from slotlab.framework.model.parameter_groups import check_groups, depths_of, owner, parameter_groups
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.spec.training import AnnealSpec, GroupSpec
from slotlab.framework.training.loop import train

Specs = Callable[..., ExperimentSpec]
Loaders = Callable[..., Loader]


def test_every_weight_is_in_one_group(tiny: Specs) -> None:
    groups = [
        {"weights": ["encoder"], "lr_factor": 0.5, "weight_decay": 0.1},
        {"weights": ["decoder.layers", "encoder"], "lr_factor": 2},
        {"weights": ["initializer"], "frozen": True},
    ]
    spec = tiny(training={"groups": groups})
    model = build_model(spec)
    found = parameter_groups(spec, model, 0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    held = [sorted({names[id(p)].split(".")[0] for p in group["params"]}) for group in found]
    assert held == [["decoder", "grouping", "projection"], ["encoder"], ["decoder"]] or len(held) == 2
    assert found[1]["lr"] == 0.05
    assert found[1]["weight_decay"] == 0.1
    counted = [id(p) for group in found for p in group["params"]]
    assert len(counted) == len(set(counted))
    trained = {id(p) for p in model.parameters()} - {id(p) for p in model.initializer.parameters()}
    assert set(counted) == trained


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("blocks.1.weight", 1),
        ("blocks.1", 1),
        ("blocks.10.weight", 0),
        ("blocks.11.weight", None),
        ("blocks.1x", None),
        ("blocks", None),
    ],
)
def test_a_group_names_whole_parts(name: str, index: int | None) -> None:
    """Block 1 is not the beginning of block 10."""
    groups = [GroupSpec(weights=("blocks.10",)), GroupSpec(weights=("blocks.1", "blocks.10"))]
    assert owner(groups, name) == index


@pytest.mark.parametrize(("of_group", "expected"), [(None, 0.1), (0.0, 0.0), (0.3, 0.3)])
def test_a_group_decays_by_its_own_setting_which_may_be_none_at_all(
    tiny: Specs, of_group: float | None, expected: float
) -> None:
    group = {"weights": ["encoder"], "weight_decay": of_group}
    spec = tiny(training={"groups": [group], "optimizer": {"name": "adamw", "weight_decay": 0.1}})
    groups = parameter_groups(spec, build_model(spec), 0.1)
    optimizer = spec.training.optimizer.build(OptimizerContext(params=groups, lr=0.1))
    assert [entry["weight_decay"] for entry in optimizer.param_groups] == [0.1, expected]


def factors(found: list[dict[str, Any]], model: torch.nn.Module, lr: float) -> dict[str, float]:
    """The factor on the phase's rate of each weight, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group.get("lr", lr) / lr for group in found for p in group["params"]}


@pytest.mark.parametrize("final_norm", [False, True])
def test_layers_of_a_transformer_have_rates_that_fall_with_their_depth(tiny: Specs, final_norm: bool) -> None:
    """The plain rule of BEiT: the embedding is layer 0, block i layer i + 1, what follows layer L + 1."""
    group = {"weights": ["encoder"], "lr_factor": 0.125, "layer_decay": 0.85, "weight_decay": 0.01}
    encoder = {"name": "timm", "model": "test_vit", "final_norm": final_norm}
    image = {"dataset": {"name": "scenes"}, "protocol": {"name": "whole", "image_size": 32}}
    decoder = {"broadcast_size": 16}
    spec = tiny(data=image, model={"encoder": encoder, "decoder": decoder}, training={"groups": [group]})
    model = build_model(spec)
    found = parameter_groups(spec, model, 2.0)
    blocks = 6
    expected = {}
    for name, _ in model.named_parameters():
        if name.startswith("encoder.backbone.model.blocks."):
            layer = int(name.split(".")[4]) + 1
        else:
            layer = blocks + 1 if ".norm." in name else 0
        expected[name] = 0.125 * 0.85 ** (blocks + 1 - layer) if name.startswith("encoder") else 1.0
    assert factors(found, model, 2.0) == pytest.approx(expected, rel=1e-12)
    assert len(set(expected.values())) == blocks + 2 + final_norm
    of_encoder = [group for group in found if "lr" in group]
    assert all(group["weight_decay"] == 0.01 for group in of_encoder)
    assert len(of_encoder) == blocks + 1 + final_norm, "one entry for each layer"


def test_a_layer_decay_of_one_changes_no_rate(tiny: Specs) -> None:
    rates = []
    for decay in (None, 1.0):
        spec = tiny(training={"groups": [{"weights": ["encoder"], "lr_factor": 0.5, "layer_decay": decay}]})
        model = build_model(spec)
        rates.append(factors(parameter_groups(spec, model, 0.3), model, 0.3))
    assert rates[0] == rates[1]


@pytest.mark.parametrize("blocks", ["blocks.{}", "blocks_{}"])
def test_depths_are_counted_from_the_end(blocks: str) -> None:
    one, two = blocks.format(0), blocks.format(1)
    names = ["e.token", f"e.{one}.a", f"e.{two}.mlp.0.b", f"e.{two}.mlp.1.b", "e.norm"]
    assert depths_of(names) == {"e.token": 3, f"e.{one}.a": 2, names[2]: 1, names[3]: 1, "e.norm": 0}
    assert depths_of(["e.a", "e.b.c"]) == {}


def test_layer_decay_without_blocks(tiny: Specs) -> None:
    spec = tiny(training={"groups": [{"weights": ["initializer"], "layer_decay": 0.9}]})
    assert problems(check_groups, spec) == [
        (
            "training.groups.0.layer_decay: none of its weights is in a numbered block, such as "
            "encoder.blocks.0; leave it out"
        )
    ]


def test_frozen_parts_do_not_move(tiny: Specs, noise_loader: Loaders, tmp_path: Path) -> None:
    spec = tiny(
        training={"groups": [{"weights": ["encoder"], "frozen": True}], "phases": [{"epochs": 2, "lr": 0.1}]}
    )
    model = build_model(spec)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    engine = Engine.open(spec, torch.device("cpu"), warn=print)
    train(engine, model, noise_loader(), RunFolder.create(tmp_path / "run", spec))
    moved = {
        name.split(".")[0]
        for name, tensor in model.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert "encoder" not in moved
    assert {"decoder", "grouping"} <= moved


def test_a_group_that_is_not_scheduled_has_its_whole_rate_in_a_warm_up(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path
) -> None:
    warm = {"steps": 1, "lr": 0.1, "schedule": {"name": "half_life", "half_life": 9, "warmup": 9}}  # from 0
    spec = tiny(training={"groups": [{"weights": ["encoder"], "scheduled": False}], "phases": [warm]})
    model = build_model(spec)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    engine = Engine.open(spec, torch.device("cpu"), warn=print)
    run = RunFolder.create(tmp_path / "run", spec)
    train(engine, model, noise_loader(), run)
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name in before if name.startswith("encoder.")}


def problems(check: Any, spec: ExperimentSpec) -> list[str]:
    return [str(problem) for problem in check(spec, build_model(spec))]


def test_groups_that_name_nothing(tiny: Specs) -> None:
    spec = tiny(training={"groups": [{"weights": ["encodr"]}]})
    assert problems(check_groups, spec) == [
        (
            "training.groups.0.weights.0: no weight's name is 'encodr' or starts with it; "
            "did you mean 'encoder'? (parts: decoder, encoder, grouping, initializer, projection)"
        )
    ]
    everything = ["decoder", "encoder", "grouping", "initializer", "projection"]
    spec = tiny(training={"groups": [{"weights": everything, "frozen": True}]})
    assert problems(check_groups, spec) == [
        "training.groups: all weights are frozen: nothing is left to train"
    ]


# --- annealing ---------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "middle"), [("linear", 2.5), ("cosine", 2.5), ("exponential", 2.0)])
def test_values_go_from_start_to_end(shape: Any, middle: float) -> None:
    spec = AnnealSpec(start=4.0, end=1.0, steps=10, shape=shape)
    values = [value_at(spec, step) for step in range(13)]
    assert values[0] == 4.0
    assert values[5] == pytest.approx(middle)
    assert values[10:] == pytest.approx([1.0] * 3)
    assert values == sorted(values, reverse=True)


class Noisy(torch.nn.Module):
    """Stands for a component with settings that may change."""

    schedulable = frozenset({"sigma", "temperature"})

    def __init__(self) -> None:
        super().__init__()
        self.sigma = 1.0
        self.register_buffer("temperature", torch.ones(()))


def test_attributes_are_set_for_each_step(tiny: Specs) -> None:
    ways = {
        "initializer.sigma": {"start": 1.0, "end": 0.0, "steps": 4},
        "initializer.temperature": {"start": 2.0, "end": 1.0, "steps": 2},
    }
    spec = tiny(training={"anneal": ways})
    model = build_model(spec)
    noisy = Noisy()
    model.initializer = noisy
    assert list(check_anneal(spec, model)) == []
    seen = []
    for step in range(6):
        anneal(spec, model, step)
        seen.append((noisy.sigma, float(noisy.get_buffer("temperature"))))
    assert seen == [(1.0, 2.0), (0.75, 1.5), (0.5, 1.0), (0.25, 1.0), (0.0, 1.0), (0.0, 1.0)]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("initializer.sigme", "'sigme' cannot change during training; did you mean 'sigma'? (schedulable here: sigma, temperature)"),
        ("encoder.width", "'width' cannot change during training (schedulable here: nothing)"),
        ("sigma", "the model has no part ''; write a path such as 'initializer.sigma'"),
        ("encodr.sigma", "the model has no part 'encodr'; write a path such as 'initializer.sigma'"),
    ],
)  # fmt: skip
def test_paths_that_lead_nowhere(tiny: Specs, path: str, text: str) -> None:
    spec = tiny(training={"anneal": {path: {"start": 1, "end": 0.5, "steps": 3}}})
    model = build_model(spec)
    model.initializer = Noisy()
    assert [str(problem) for problem in check_anneal(spec, model)] == [f"training.anneal.{path}: {text}"]


def test_exponential_needs_one_sign(tiny: Specs) -> None:
    way = {"start": 1, "end": 0, "steps": 3, "shape": "exponential"}
    spec = tiny(training={"anneal": {"initializer.sigma": way}})
    model = build_model(spec)
    model.initializer = Noisy()
    assert [str(problem) for problem in check_anneal(spec, model)] == [
        "training.anneal.initializer.sigma: exponential goes between two values of one sign that are not 0; take linear or cosine"
    ]
