"""The pictures of generated data, and the fingerprint by which others are told apart."""

from typing import Any

import pytest
import torch

from slotlab.framework.contracts import DatasetContext, Sample
from slotlab.framework.data.preparation import Preparation
from slotlab.framework.data.selection import select
from slotlab.framework.data.source import Source, open_source
from slotlab.framework.data.store.format import store_name
from slotlab.framework.data.store.pack import pack
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.schema import ExperimentSpec

SMALL = (
    "data.dataset.num_train=3",
    "data.dataset.num_val=3",
    "data.dataset.num_test=3",
    "data.dataset.textures=[plain]",
)


def spec(*sets: str) -> ExperimentSpec:
    return load_spec("spec.yaml", sets=[*SMALL, *sets]).spec


def pictures(split: str, *sets: str) -> torch.Tensor:
    chosen = select(spec(*sets).data, split)
    return torch.stack([chosen[i].image_CHW for i in range(len(chosen))])


def fingerprint(split: str, *sets: str) -> str:
    found: str = select(spec(*sets).data, split).facts["fingerprint"]
    return found


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_seed_of_a_training_sees_the_same_pictures(base: str, split: str) -> None:
    assert torch.equal(pictures(split, "seed=0"), pictures(split, "seed=7"))
    assert fingerprint(split, "seed=0") == fingerprint(split, "seed=7")


def test_the_datas_own_seed_makes_others_and_another_run(base: str) -> None:
    assert not torch.equal(pictures("val"), pictures("val", "data.seed=1"))
    assert fingerprint("val") != fingerprint("val", "data.seed=1")
    assert run_id(spec()) == run_id(spec("data.seed=0")) != run_id(spec("data.seed=1"))


@pytest.mark.parametrize(
    "change",
    [
        "data.seed=1",
        "data.dataset.min_objects=4",
        "data.dataset.max_objects=5",
        "data.dataset.variant=camo",
        "data.dataset.sizes=[0.4]",
        "data.dataset.shapes=[cube]",
        "data.dataset.ground_textures=[dots]",
        "data.dataset.ground_colors=gray",
        "data.dataset.min_visible=0.02",
        "data.protocol.image_size=24",
    ],
)
def test_whatever_changes_a_picture_changes_the_fingerprint(base: str, change: str) -> None:
    assert pictures("val").tolist() != pictures("val", change).tolist()
    assert fingerprint("val") != fingerprint("val", change)


@pytest.mark.parametrize("change", ["data.dataset.num_train=2", "data.dataset.endless=true", "seed=1"])
def test_what_changes_no_picture_of_the_split_does_not(base: str, change: str) -> None:
    assert fingerprint("val") == fingerprint("val", change)


def test_splits_are_other_pictures(base: str) -> None:
    assert len({fingerprint(split) for split in ("train", "val", "test")}) == 3


def test_a_store_that_was_packed_before_there_was_a_seed_of_data_is_found(base: str, tmp_path: Any) -> None:
    """Its name and its identity are those of the seed 0, and its fingerprint is the plain word."""
    data = spec(f"data.stores={tmp_path / 'stores'}", "data.store=required").data
    source = open_source(data, "val")
    before = {"dataset": source.identity["dataset"], "settings": source.identity["settings"]}
    assert source.identity == {**before, "split": "val", "pixels": {"size": [16, 16], "seed": 0}}
    assert source.fingerprint() == "generated"
    store = pack(source, tmp_path / "stores", workers=1)
    assert store.path.name == store_name("scenes", "val", source.key, "generated")
    assert select(data, "val").facts["store"]["checksum"] == store.checksum
    assert select(data, "val").facts["fingerprint"] == fingerprint("val")


class Stranger:
    """A generated dataset of a stranger: pictures at their own size, from the seed that it is told."""

    def __init__(self, context: DatasetContext):
        self.context = context

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        stream = torch.Generator().manual_seed(1000 * self.context.seed + index)
        return Sample(str(index), torch.randint(0, 256, (3, 8, 8), generator=stream, dtype=torch.uint8))


def test_a_strangers_dataset_without_a_fingerprint_is_known_by_its_settings_and_seed(base: str) -> None:
    data = spec().data
    preparation = Preparation.of(data.settings)

    def content(seed: int, **settings: int) -> str:
        dataset = Stranger(DatasetContext(split="all", image_size=(8, 8), seed=seed))
        return Source("own", "all", dataset, preparation, {"settings": settings}, seed).content

    assert content(0) == content(0) != content(1)
    assert content(0).startswith("untold-")
    assert content(0) != content(0, width=3)
