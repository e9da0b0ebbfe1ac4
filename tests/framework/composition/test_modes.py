"""Rows of an album: which images and slots they are of, and with which seeds they are painted."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from slotlab.framework.composition.album import AlbumRow
from slotlab.framework.composition.composer import Composed
from slotlab.framework.composition.modes import MODES, ImageSlots, RowPainter, SlotChoice, choose_images
from slotlab.framework.contracts import Slots

Calls = list[tuple[list[float], int, list[int]]]


def choice(**changes: Any) -> SlotChoice:
    return SlotChoice(**{"split": "val", "count": 3, "seed": 7, **changes})


def row_of(mode: Any, number: int = 5, **changes: Any) -> tuple[AlbumRow, Calls]:
    """A row of images 4 and 9, whose slots are 100, 101 ... and 200, 201 ...; and what was decoded for it."""
    calls: Calls = []

    def decode(slots: Slots, *, seed: int, positions: list[int]) -> Composed:
        calls.append((slots.vectors_BKD[0, :, 0].tolist(), seed, positions))
        return Composed(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))

    picture, attention = torch.zeros(3, 2, 2, dtype=torch.uint8), torch.zeros(number, 2, 2)
    views = [
        ImageSlots(position, Slots(first + torch.arange(float(number))[None, :, None]), picture, attention)
        for position, first in ((4, 100.0), (9, 200.0))
    ]
    composer: Any = SimpleNamespace(decode=decode, part=lambda name: name)
    painter = RowPainter(composer, choice(**changes))
    of_one = mode in ("slots", "remove", "draws")
    stream = torch.Generator().manual_seed(0)
    return MODES[mode](painter, views[:1] if of_one else views, stream, "000"), calls


@pytest.mark.parametrize(("mode", "each"), [("slots", 1), ("mix", 2), ("duplicate", 2)])
@pytest.mark.parametrize("total", [1, 2, 5, 6])
def test_rows_are_of_different_images_as_many_as_there_are(mode: Any, each: int, total: int) -> None:
    rows = choose_images(mode, choice(count=3), total)
    used = [image for row in rows for image in row]
    assert {len(row) for row in rows} == {each}
    assert len(rows) == min(3, max(1, total // each))
    assert len(set(used)) == min(len(used), total), "a lone image stands beside itself"
    more = choose_images(mode, choice(count=99), 50)
    assert more[:3] == choose_images(mode, choice(count=3), 50), (
        "the first rows do not depend on their number"
    )
    assert sorted(image for row in more for image in row) == list(range(50))
    assert more != choose_images(mode, choice(count=99, seed=8), 50)


def test_given_images_make_a_row_each_or_one_of_two() -> None:
    assert choose_images("remove", choice(images=(4, 9)), 50) == [[4], [9]]
    assert choose_images("mix", choice(images=(4, 9)), 50) == [[4, 9]]
    assert choose_images("duplicate", choice(images=(4,)), 50) == [[4, 4]]


@pytest.mark.parametrize(("number", "of_a"), [(4, 2), (5, 3)])
def test_a_mix_takes_each_slot_of_one_of_the_two_images(number: int, of_a: int) -> None:
    row, [(slots, seed, positions)] = row_of("mix", number)
    first, second = [slot for slot in slots if slot < 200], [slot for slot in slots if slot >= 200]
    assert len(first) == of_a
    assert sorted([slot - 100 for slot in first] + [slot - 200 for slot in second]) == list(range(number))
    assert (seed, positions) == (7, [4]), "it is painted with the noise of the first"
    assert row[2].made_of["slots"] == [[slot - 100 for slot in first], [slot - 200 for slot in second]]
    _, [(chosen, _, _)] = row_of("mix", number, images=(4, 9), slots=(2, 0), slots_b=(1,))
    assert chosen == [102.0, 100.0, 201.0]


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_an_interpolation_goes_in_equal_steps_from_one_slot_to_the_other(steps: int) -> None:
    row, calls = row_of("interpolate", images=(4, 9), slots=(1,), slots_b=(3,), steps=steps)
    moved = [slots[1] for slots, _, _ in calls]
    assert moved == pytest.approx([101 + 102 * step / max(steps - 1, 1) for step in range(steps)])
    assert all(slots[:1] + slots[2:] == [100, 102, 103, 104] for slots, _, _ in calls)
    assert [tile.made_of["weight"] for tile in row[2:]] == pytest.approx([(one - 101) / 102 for one in moved])
    same, _ = row_of("interpolate", images=(4, 9), slots=(1,), steps=2)
    assert same[2].made_of["slots"] == [[1], [1]], "without a second slot the same one of the other image"


def test_each_slot_is_left_out_once_or_the_chosen_ones_together() -> None:
    _, [whole, *without] = row_of("remove")
    assert whole[0] == [100, 101, 102, 103, 104]
    assert [set(whole[0]) - set(slots) for slots, _, _ in without] == [{slot} for slot in whole[0]]
    _, [_, (left, _, _)] = row_of("remove", images=(4,), slots=(3, 1))
    assert left == [100, 102, 104]


def test_a_duplicate_goes_into_the_second_image_and_is_painted_with_its_noise() -> None:
    _, [(before, _, _), (after, seed, positions)] = row_of("duplicate", images=(4, 9), slots=(2,))
    assert (before, after) == ([200, 201, 202, 203, 204], [200, 201, 202, 203, 204, 102])
    assert (seed, positions) == (7, [9])


def test_the_first_of_several_draws_is_the_evaluations_and_the_others_differ() -> None:
    _, calls = row_of("draws", steps=4)
    seeds = [seed for _, seed, _ in calls]
    assert seeds[0] == 7
    assert len(set(seeds)) == 4
    assert all(positions == [4] for _, _, positions in calls)
    other = [seed for _, seed, _ in row_of("draws", steps=4, seed=8)[1]]
    assert not set(seeds) & set(other)
    assert all(one != after for one, after in pairwise(seeds))
