"""Composed pictures against real images, as a spec declares them."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from slotlab.framework.composition import Composer
from slotlab.framework.composition.evaluate import (
    NOTHING,
    evaluate_composition,
    prepare_sampling,
    real_images,
)
from slotlab.framework.metrics.image_sets.feature_cache import Cache
from slotlab.framework.model.build import build_model
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.schema import CompositionSpec, ExperimentSpec

Specs = Callable[..., ExperimentSpec]
PLAIN = {"textures": ["plain"], "ground_textures": ["plain"], "max_objects": 2, "min_objects": 1}
DATASET = {"name": "scenes", "num_train": 9, "num_val": 6, **PLAIN}


def composer_of(spec: ExperimentSpec) -> Composer:
    loaded = LoadedSpec(spec, None, None, Path("spec.yaml"))  # type: ignore[arg-type]
    return Composer.of(loaded, build_model(spec), device=torch.device("cpu"))


@pytest.fixture
def small(tiny: Specs) -> Specs:
    """Return a function that makes the small spec on a few plain scenes."""

    def make(*, dataset: dict[str, Any] | None = None, **changes: Any) -> ExperimentSpec:
        data = {"dataset": DATASET | (dataset or {}), **changes.pop("data", {})}
        return tiny(data=data, **changes)

    return make


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A set metric by a small network in a file."""
    path = tmp_path_factory.mktemp("net") / "net.pt"
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layers = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        torch.jit.save(torch.jit.script(layers), str(path))
    return {"name": "frechet_torchscript", "weights": str(path), "size": 8}


@pytest.mark.parametrize("value_range", ["signed", "unit"])
def test_real_images_are_those_of_the_data(small: Specs, value_range: str) -> None:
    protocol = {"name": "whole", "image_size": 8, "value_range": value_range}
    composer = composer_of(small(data={"protocol": protocol}, evaluation={"batch_size": 4}))
    dataset = composer.loader("val").dataset
    expected = torch.stack([dataset[index].image_CHW for index in range(6)])
    assert torch.equal(torch.cat(list(real_images(composer, "val", 6).read())), expected)
    assert torch.equal(torch.cat(list(real_images(composer, "val", 4).read())), expected[:4])
    train = composer.loader("train").dataset
    spread = torch.stack([train[index].image_CHW for index in (0, 3, 6)])
    assert torch.equal(torch.cat(list(real_images(composer, "train", 3).read())), spread)
    assert len(torch.cat(list(real_images(composer, "train", 99).read()))) == 9


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": {"ground_colors": "gray"}},
        {"data": {"seed": 1}},
        {"data": {"protocol": {"name": "whole", "image_size": 8, "value_range": "unit"}}},
    ],
    ids=["settings", "seed", "protocol"],
)
def test_other_data_has_other_features(small: Specs, tmp_path: Path, changes: dict[str, Any]) -> None:
    def place(spec: ExperimentSpec, split: str = "val", number: int = 6) -> Path | None:
        return Cache(tmp_path).path(real_images(composer_of(spec), split, number), "x")

    first = place(small())
    assert first is not None
    assert place(small(evaluation={"batch_size": 1}, name="other", seed=1)) == first
    assert place(small(**changes)) != first
    assert place(small(), number=5) != first
    assert place(small(), split="train") != first


def test_a_sampling_is_as_the_spec_says(small: Specs) -> None:
    composer = composer_of(small(seed=4))
    sampling = prepare_sampling(composer, CompositionSpec())
    assert sampling.facts == {
        "library": {"split": "val", "images": 6, "of": 6},
        "clusters": {"sizes": sampling.clusters.sizes, "inertia": sampling.clusters.inertia},
        "count": 6,
        "seed": 4,
    }
    assert len(sampling.clusters.sizes) == 3
    other = CompositionSpec(library="train", library_images=5, clusters=2, count=11, seed=9)
    facts = prepare_sampling(composer, other).facts
    assert facts["library"] == {"split": "train", "images": 5, "of": 9}
    assert (len(facts["clusters"]["sizes"]), facts["count"], facts["seed"]) == (2, 11, 9)
    limited = composer_of(small(evaluation={"max_images": 4}))
    assert prepare_sampling(limited, CompositionSpec()).count == 4


def test_pictures_are_numbered_over_batches(small: Specs) -> None:
    sampling = prepare_sampling(composer_of(small(evaluation={"batch_size": 4})), CompositionSpec(count=9))
    assert [(start, len(made.images_BCHW)) for start, made in sampling.batches()] == [(0, 4), (4, 4), (8, 1)]


def test_what_is_declared_is_measured(small: Specs, net: dict[str, Any], tmp_path: Path) -> None:
    missing = {"name": "fid", "weights": str(tmp_path)}
    composition = {"set_metrics": [net, missing], "floor": "train", "count": 8}
    calls: list[tuple[str, int, int]] = []
    found = evaluate_composition(
        composer_of(small(evaluation={"composition": composition})),
        lambda what, done, total: calls.append((what, done, total)),
    )
    result = found.set_metrics["frechet_torchscript"]
    assert (result["images"], result["real_images"]) == (8, 6)
    assert (result["floor"]["of"], result["floor"]["images"]) == ("real images of 'train'", 6)
    assert result["composition"]["count"] == 8
    assert list(found.left_out) == ["fid"]
    assert calls == [("find slots", 6, 6), ("paint", 8, 8)]


def test_what_is_not_declared_or_cannot_be_costs_nothing(small: Specs, tmp_path: Path) -> None:
    assert evaluate_composition(composer_of(small())) == NOTHING
    missing = {"set_metrics": [{"name": "kid", "weights": str(tmp_path)}]}
    calls: list[str] = []
    found = evaluate_composition(
        composer_of(small(evaluation={"composition": missing})), lambda what, done, total: calls.append(what)
    )
    assert (dict(found.set_metrics), list(found.left_out), calls) == ({}, ["kid"], [])


def test_a_composition_that_fails_is_left_out_with_its_reason(small: Specs, net: dict[str, Any]) -> None:
    composition = {"set_metrics": [net], "clusters": 50}
    found = evaluate_composition(composer_of(small(evaluation={"composition": composition})))
    reason = "18 slots cannot make 50 clusters; take more images or fewer clusters"
    assert (dict(found.set_metrics), found.left_out) == ({}, {"frechet_torchscript": reason})
