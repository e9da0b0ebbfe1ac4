"""SlotDiffusion's way of composing: slot i of a group's picture b is slot i of its image (b + i) mod B."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from slotlab.framework.composition.composer import Composed
from slotlab.framework.composition.library import Library
from slotlab.framework.composition.shift import Shifted, members
from slotlab.framework.contracts import Slots
from slotlab.registry import SlotlabError


@pytest.mark.parametrize(("count", "group", "slots"), [(6, 3, 2), (8, 4, 4), (5, 5, 3)])
def test_slots_are_those_of_neighbors_in_the_group(count: int, group: int, slots: int) -> None:
    found = members(count, group, slots)
    for picture in range(count):
        start = picture - picture % group
        for slot in range(slots):
            image = start + (picture - start + slot) % group
            assert found[picture, slot] == image * slots + slot


def test_every_slot_is_used_once() -> None:
    assert members(12, 4, 3).flatten().sort().values.tolist() == list(range(36))


def shifted(images: int, group: int, slots: int = 2) -> tuple[Shifted, list[Any]]:
    seen: list[Any] = []

    def decode(slots: Slots, *, seed: int, positions: Any) -> Composed:
        seen.append((slots.vectors_BKD[..., 0].tolist(), seed, list(positions)))
        return Composed(torch.zeros(len(slots.vectors_BKD), 3, 2, 2, dtype=torch.uint8))

    composer: Any = SimpleNamespace(
        spec=SimpleNamespace(evaluation=SimpleNamespace(batch_size=3)),
        engine=SimpleNamespace(device=torch.device("cpu")),
        decode=decode,
    )
    vectors = torch.arange(images * slots, dtype=torch.float32).view(images, slots, 1)
    library = Library("test", range(images), images, Slots(vectors))
    return Shifted(composer, library, group, seed=7), seen


def test_pictures_do_not_depend_on_the_batch_they_are_made_in() -> None:
    sampling, seen = shifted(7, 3)
    assert [start for start, _ in sampling.batches()] == [0, 3]
    assert sampling.count == 6  # an image is left over
    assert [row for batch, _, _ in seen for row in batch] == [
        [0, 3], [2, 5], [4, 1], [6, 9], [8, 11], [10, 7],
    ]  # fmt: skip
    assert [places for _, _, places in seen] == [[0, 1, 2], [3, 4, 5]]
    assert {seed for _, seed, _ in seen} == {7}


def test_facts_tell_what_pictures_are_made_of() -> None:
    sampling, _ = shifted(7, 3)
    assert sampling.facts == {
        "library": {"split": "test", "images": 7, "of": 7},
        "shift": {"group": 3},
        "count": 6,
        "seed": 7,
    }
    assert shifted(4, 9)[0].count == 4


@pytest.mark.parametrize(("images", "group"), [(7, 2), (2, 4)])
def test_fewer_images_than_slots_are_refused(images: int, group: int) -> None:
    with pytest.raises(
        SlotlabError, match=r"3 slots of a picture need as many images, each of which gives one"
    ):
        shifted(images, group, slots=3)
