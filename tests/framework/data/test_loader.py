"""Batches: the seed's order, torchvision's numbers, the same from any number of workers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import Compose, Normalize, ToTensor  # noqa: TID253

from slotlab.framework.contracts import Batch, Dataset, RawBatch, Sample
from slotlab.framework.data.collation import collate
from slotlab.framework.data.device_placement import Placement
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.loaders import evaluation_loader
from slotlab.framework.data.pixels import normalize, to_uint8
from slotlab.framework.data.selection import select
from slotlab.framework.randomness.seeds import permutation, streams
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError

Loaders = Callable[..., Loader]
Specs = Callable[..., ExperimentSpec]
ALL_VALUES = torch.arange(256, dtype=torch.uint8).repeat(3).view(3, 16, 16)


def test_normalize_is_torchvisions_bit_for_bit() -> None:
    picture = ALL_VALUES.permute(1, 2, 0).numpy()
    signed = Compose([ToTensor(), Normalize([0.5] * 3, [0.5] * 3)])(picture)
    assert torch.equal(normalize(ALL_VALUES, (-1.0, 1.0)), signed)
    assert torch.equal(normalize(ALL_VALUES, (0.0, 1.0)), ToTensor()(picture))


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 1.0)])
def test_images_survive_the_value_range(bounds: tuple[float, float]) -> None:
    floats = normalize(ALL_VALUES, bounds)
    assert (float(floats.min()), float(floats.max())) == bounds
    assert torch.equal(to_uint8(floats, bounds), ALL_VALUES)
    outside = torch.tensor([bounds[0] - 1, bounds[1] + 1])
    assert to_uint8(outside, bounds).tolist() == [0, 255]


@given(st.integers(0, 60), st.integers(0, 2**80), st.integers(0, 1000))
def test_permutation(length: int, seed: int, epoch: int) -> None:
    order = permutation(length, seed=seed, epoch=epoch)
    assert sorted(order) == list(range(length))
    assert order == permutation(length, seed=seed, epoch=epoch)


def test_permutations_differ_by_seed_and_epoch() -> None:
    orders = {tuple(permutation(50, seed=seed, epoch=epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_streams_belong_to_positions() -> None:
    def draws(seed: int, positions: Any) -> list[float]:
        return [torch.rand(1, generator=one).item() for one in streams(seed, positions, torch.device("cpu"))]

    assert draws(1, range(4)) == draws(1, [0, 1]) + draws(1, [2, 3])
    assert len({*draws(1, range(4)), *draws(2, range(4))}) == 8


# --- batches -----------------------------------------------------------------------------


def same(a: Batch, b: Batch) -> bool:
    assert a.masks_BHW is not None
    assert b.masks_BHW is not None
    return (
        a.ids == b.ids and torch.equal(a.images_BCHW, b.images_BCHW) and torch.equal(a.masks_BHW, b.masks_BHW)
    )


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_batches_hold_the_samples_in_order(noise_loader: Loaders, memory_format: torch.memory_format) -> None:
    loader = replace(noise_loader(batch_size=2), memory_format=memory_format)
    order = [3, 0, 4, 1, 2]
    batches = list(loader.epoch(order))
    assert [batch.ids for batch in batches] == [("n3", "n0"), ("n4", "n1"), ("n2",)]
    for batch, first in zip(batches, (3, 4, 2), strict=True):
        sample = loader.dataset[first]
        assert torch.equal(to_uint8(batch.images_BCHW, loader.bounds)[0], sample.image_CHW)
        assert batch.masks_BHW is not None
        assert sample.mask_HW is not None
        assert torch.equal(batch.masks_BHW[0], sample.mask_HW)
        assert batch.images_BCHW.is_contiguous(memory_format=memory_format)
    assert [batch.ids for batch in loader.epoch()] == [("n0", "n1"), ("n2", "n3"), ("n4",)]


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("batch_size", [2, 3, 4, 5])
def test_whatever_the_number_of_processes_each_image_of_a_batch_counts_once(
    noise_loader: Loaders, batch_size: int, processes: int
) -> None:
    loaders = [replace(noise_loader(batch_size), rank=rank, processes=processes) for rank in range(processes)]
    whole = list(noise_loader(batch_size).epoch())
    for batch, *parts in zip(whole, *(loader.epoch() for loader in loaders), strict=True):
        counts = dict.fromkeys(batch.ids, 0.0)
        for part in parts:
            for name in part.ids:
                counts[name] += part.share / len(part.ids)
        assert counts == pytest.approx(dict.fromkeys(batch.ids, 1 / len(batch.ids)))


def test_workers_change_nothing(noise_loader: Loaders) -> None:
    order = [4, 2, 0, 1, 3]
    alone, helped = noise_loader().epoch(order), noise_loader(workers=2).epoch(order)
    assert all(same(a, b) for a, b in zip(alone, helped, strict=True))


def test_an_epoch_leaves_the_global_generator_alone(noise_loader: Loaders) -> None:
    before = torch.get_rng_state()
    list(noise_loader().epoch())
    assert torch.equal(torch.get_rng_state(), before)


def test_data_without_masks(noise_loader: Loaders) -> None:
    batches = list(noise_loader(unmasked=frozenset(range(5))).epoch())
    assert [batch.masks_BHW for batch in batches] == [None] * 3


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize(
    ("unmasked", "text"),
    [
        ({3}, "n3 has no mask and samples before it have one; give all of them or none"),
        ({0, 1, 2}, "n3 has a mask and samples before it have none; give all of them or none"),
    ],
)
def test_masks_for_some(noise_loader: Loaders, batch_size: int, unmasked: set[int], text: str) -> None:
    with pytest.raises(SlotlabError) as error:
        list(noise_loader(batch_size=batch_size, unmasked=frozenset(unmasked)).epoch())
    assert str(error.value) == text


class Changed:
    """One good sample with some of its fields replaced."""

    def __init__(self, sample: Sample, **changes: Tensor):
        self.sample = replace(sample, **changes)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return self.sample


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"image_CHW": torch.zeros(3, 8, 8)},
            "the image of n0 is torch.float32; a dataset gives torch.uint8",
        ),
        (
            {"mask_HW": torch.zeros(8, 8)},
            "the mask of n0 is torch.float32; a dataset gives whole numbers",
        ),
    ],
)
def test_samples_that_break_the_contract(
    noise_loader: Loaders, changes: dict[str, Tensor], text: str
) -> None:
    sample = noise_loader().dataset[0]
    with pytest.raises(SlotlabError) as error:
        next(noise_loader(dataset=Changed(sample, **changes)).epoch())
    assert str(error.value) == text


class Together:
    """Another dataset's samples as whole batches, and rather more of them than a batch has."""

    def __init__(self, samples: Dataset, wanted: int):
        self.samples, self.wanted = samples, wanted
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def at_a_time(self, device: torch.device) -> int:
        return self.wanted

    def batch(self, indices: Sequence[int], device: torch.device, *, masks: bool = True) -> RawBatch:
        self.asked.append(len(indices))
        return collate([self[index] for index in indices], device)


@pytest.mark.parametrize(("wanted", "asked"), [(1, [2, 2, 2, 1]), (5, [4, 3]), (99, [7])])
def test_batches_made_together_are_the_same(noise_loader: Loaders, wanted: int, asked: list[int]) -> None:
    order = [3, 0, 6, 1, 2, 5, 4]
    together = Together(noise_loader(size=7).dataset, wanted)
    found = noise_loader(dataset=together).epoch(order)
    assert all(same(a, b) for a, b in zip(found, noise_loader(size=7).epoch(order), strict=True))
    assert together.asked == asked


# --- from a spec -------------------------------------------------------------------------


def test_the_loader_of_a_spec(tiny: Specs) -> None:
    scenes = {"name": "scenes", "num_val": 3, "textures": ["plain"], "ground_textures": ["plain"]}
    protocol = {"name": "whole", "image_size": 24, "value_range": "unit"}
    evaluation = {"batch_size": 2}
    cpu = torch.device("cpu")
    spec = tiny(data={"dataset": scenes, "protocol": protocol}, seed=4, evaluation=evaluation)
    loader = evaluation_loader(spec, Placement(cpu))
    images = torch.cat([batch.images_BCHW for batch in loader.epoch()])
    assert images.shape == (3, 3, 24, 24)
    assert 0 <= images.min() < images.max() <= 1
    data = spec.data.model_dump(mode="json")
    same_spec = tiny(data=data, seed=5, evaluation=evaluation)
    same = evaluation_loader(same_spec, Placement(cpu))
    assert np.array_equal(next(loader.epoch()).images_BCHW, next(same.epoch()).images_BCHW)
    other_spec = tiny(data={**data, "seed": 5}, seed=4, evaluation=evaluation)
    other = evaluation_loader(other_spec, Placement(cpu))
    assert not np.array_equal(next(loader.epoch()).images_BCHW, next(other.epoch()).images_BCHW)


def test_a_split_that_is_not_there(tiny: Specs) -> None:
    with pytest.raises(PathProblem) as error:
        select(tiny().data, "validation")
    assert str(error.value).startswith("data.dataset: scenes: there is no split 'validation'")
    assert error.value.path == ("data", "dataset")


def test_a_setting_that_does_not_fit(tiny: Specs, tmp_path: Path) -> None:
    spec = tiny(data={"dataset": {"name": "clevrtex", "root": str(tmp_path / "none")}})
    with pytest.raises(PathProblem) as error:
        select(spec.data, "train")
    assert error.value.path == ("data", "dataset", "root")
    assert error.value.text.startswith(f"clevrtex: there is no folder {tmp_path / 'none'}; ")


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
@pytest.mark.parametrize("positions", [[0, 1, 2, 3, 4], [4, 2, 0]])
def test_each_image_is_evaluated_by_one_process(
    noise_loader: Loaders, processes: int, positions: list[int]
) -> None:
    loader = noise_loader(batch_size=2)
    seen: list[int] = []
    for rank in range(processes):
        for group, batch in replace(loader, rank=rank, processes=processes).share(positions):
            assert batch.ids == tuple(f"n{position}" for position in group)
            seen += group
    assert sorted(seen) == sorted(positions)


class Endless:
    """Ever new samples; five of them are an epoch."""

    endless = True

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Sample:
        return Sample(id=f"e{index}", image_CHW=torch.zeros(3, 8, 8, dtype=torch.uint8))


def test_every_epoch_of_endless_data_shows_new_samples(noise_loader: Loaders) -> None:
    loader, plain = noise_loader(dataset=Endless()), noise_loader()
    orders = [loader.order(seed=3, epoch=epoch) for epoch in range(4)]
    assert [sorted(order) for order in orders] == [list(range(5 * e, 5 * e + 5)) for e in range(4)]
    assert all(sorted(plain.order(seed=3, epoch=epoch)) == list(range(5)) for epoch in range(4))
