"""The benchmark's pictures: a recipe never changes under its name, and each has its own difficulty."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from slotlab.framework.contracts import DatasetContext
from slotlab.framework.scenes.bench import BENCH, BENCH_NAMES, BenchName
from slotlab.framework.scenes.recipe import HELD_OUT, Recipe
from slotlab.plugins.datasets.bench import MEASURED, SPLITS, BenchConfig, BenchDataset
from slotlab.registry import ComponentError, SlotlabError

CPU = torch.device("cpu")
DATA = Path(__file__).parent / "data"
RECORDED = DATA / "bench.json"
"""By recipe and split: a hash of the masks and of what the objects are, of the first pictures."""
SHEETS = DATA / "bench.png"
"""The first pictures: a row for each recipe and split, in order."""
FIRST = 3


def build(name: BenchName, split: str = "test", size: int = 32, **settings: Any) -> BenchDataset:
    context = DatasetContext(split=split, image_size=(size, size), seed=0)
    return BenchDataset(BenchConfig(variant=name, **settings), context)


def first(name: BenchName, split: str, device: torch.device = CPU) -> tuple[torch.Tensor, str]:
    """The first pictures, uint8 (3, 32, 3 x 32), and the hash of their content."""
    batch = build(name, split).batch(range(FIRST), device)
    assert batch.masks_BHW is not None
    objects = [
        (entry["shape"], entry["size"], entry["material"])
        for facts in batch.attributes
        for entry in facts["objects"]
    ]
    text = json.dumps([objects, [facts["ground_material"] for facts in batch.attributes]])
    content = batch.masks_BHW.cpu().numpy().tobytes() + text.encode()
    row_CHX = torch.cat(list(batch.images_BCHW.cpu()), dim=2)
    return row_CHX, hashlib.blake2b(content, digest_size=8).hexdigest()


def sheet() -> torch.Tensor:
    """The recorded pictures by recipe and split, uint8 (rows, 3, 32, 3 x 32)."""
    with Image.open(SHEETS) as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB")))
    return pixels.view(-1, 32, FIRST * 32, 3).permute(0, 3, 1, 2)


def differing(row: torch.Tensor, recorded: torch.Tensor) -> float:
    """The part of the values that differ by more than rounding."""
    return float(((row.int() - recorded.int()).abs() > 2).float().mean())


MEMBERS = [(name, split) for name in BENCH_NAMES for split in SPLITS]


@pytest.mark.parametrize(("place", "name", "split"), [(i, *member) for i, member in enumerate(MEMBERS)])
def test_a_recipe_never_changes_under_its_name(place: int, name: BenchName, split: str) -> None:
    # What fails here must not be recorded anew: a recipe of other pictures is a new name.
    row, content = first(name, split)
    assert content == json.loads(RECORDED.read_text())[f"{name} {split}"]
    assert differing(row, sheet()[place]) < 1e-3  # other processors may round otherwise


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(("place", "name", "split"), [(i, *member) for i, member in enumerate(MEMBERS)])
def test_a_gpu_draws_the_recorded_pictures(place: int, name: BenchName, split: str) -> None:
    row, _ = first(name, split, torch.device("cuda"))
    assert differing(row, sheet()[place]) < 1e-2


def test_names_have_versions_and_seeds_of_their_own() -> None:
    assert tuple(BENCH) == BENCH_NAMES
    assert all(name.rpartition("-")[2].isdecimal() for name in BENCH_NAMES)
    assert len({recipe.seed for recipe in BENCH.values()}) == len(BENCH)


@pytest.mark.parametrize("name", [name for name in BENCH_NAMES if name not in ("plain-1", "camouflage-1")])
def test_a_recipe_changes_one_thing_of_the_plain_one(name: BenchName) -> None:
    def changed(recipe: Recipe, other: Recipe) -> set[str]:
        mine, theirs = recipe.facts(), other.facts()
        return {key for key in mine | theirs if mine.get(key) != theirs.get(key)}

    found = changed(BENCH[name].seen, BENCH["plain-1"].seen)
    assert found - {"sizes"} <= {"counts", "hidden", "textures", "ground_textures", "lighting"}
    assert len(found - {"sizes"}) <= 1


def test_what_is_unseen_is_in_the_test_pictures_alone() -> None:
    seen, tested = BENCH["unseen-1"].seen, BENCH["unseen-1"].tested
    assert not set(seen.shapes) & set(tested.shapes)
    assert not set(seen.textures) & set(tested.textures)
    assert set(tested.textures) == set(HELD_OUT)
    assert all(build("unseen-1", split)._recipe is seen for split in ("train", "val"))
    assert build("unseen-1", "test")._recipe is tested


def test_others_hide_part_of_an_object_in_every_picture() -> None:
    batch = build("occluded-1").batch(range(40), CPU)
    least = [min(entry["visible_fraction"] for entry in facts["objects"]) for facts in batch.attributes]
    assert max(least) <= 0.8
    plain = build("plain-1").batch(range(40), CPU)
    assert max(min(o["visible_fraction"] for o in facts["objects"]) for facts in plain.attributes) == 1


def test_light_varies_more_than_in_a_studio() -> None:
    def spread(name: BenchName) -> float:
        images = build(name).batch(range(60), CPU).images_BCHW.float()
        return float(images.amax(dim=(1, 2, 3)).std())

    assert spread("lighting-1") > 1.5 * spread("plain-1")


def test_more_pictures_to_train_on_begin_with_the_same_ones() -> None:
    few, many = build("plain-1", "train", num_train=3), build("plain-1", "train", num_train=9)
    assert (len(few), len(many)) == (3, 9)
    assert torch.equal(few.batch([2], CPU).images_BCHW, many.batch([2], CPU).images_BCHW)
    assert all(len(build("plain-1", split)) == count for split, count in MEASURED.items())


def test_a_seed_of_the_data_is_refused() -> None:
    with pytest.raises(ComponentError, match=r"its pictures are fixed: leave data\.seed at 0, not 1"):
        BenchDataset(BenchConfig(), DatasetContext(split="val", image_size=(32, 32), seed=1))


def test_a_split_that_is_not_there_is_refused() -> None:
    with pytest.raises(ComponentError, match=r"no split 'tset'.*did you mean 'test'"):
        build("plain-1", "tset")


def test_pictures_too_small_for_the_recipe_are_refused() -> None:
    with pytest.raises(
        SlotlabError, match=r"found no scene of occluded-1 at 2x2 pixels \(split 'test', index"
    ):
        build("occluded-1", size=2).batch(range(2), CPU)
