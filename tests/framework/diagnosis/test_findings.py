"""Masks that were made to fail, each in its way, and what is said of them."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from slotlab.framework.diagnosis.findings import (
    ADVICE,
    Kind,
    findings,
    spread_of_runs,
)
from slotlab.framework.diagnosis.measures import MaskMeasures, measure_masks

IMAGES, SIZE, OBJECTS, SLOTS = 24, 32, 3, 4


def scenes() -> Tensor:
    """True labels (B, H, W): three squares at random places of a 3x3 grid, so that they never overlap."""
    generator = torch.Generator().manual_seed(0)
    true_BHW = torch.zeros(IMAGES, SIZE, SIZE, dtype=torch.int64)
    for image in true_BHW:
        for label, cell in enumerate(torch.randperm(9, generator=generator)[:OBJECTS].tolist(), start=1):
            row, column = divmod(cell, 3)
            top, left = 1 + 10 * row, 1 + 10 * column
            image[top : top + 8, left : left + 8] = label
    return true_BHW


def grid() -> Tensor:
    """Labels of quarters (B, H, W), the same in every image."""
    rows, columns = torch.arange(SIZE)[:, None] >= SIZE // 2, torch.arange(SIZE) >= SIZE // 2
    return (2 * rows.long() + columns.long()).expand(IMAGES, SIZE, SIZE).clone()


def soft(labels_BHW: Tensor, slots: int = SLOTS, sureness: float = 0.97) -> Tensor:
    """Masks (B, K, H, W) whose largest are those of the labels."""
    hard_BKHW = one_hot(labels_BHW, slots).movedim(3, 1).float()
    return hard_BKHW * sureness + (1 - hard_BKHW) * (1 - sureness) / (slots - 1)


def measured(labels_BHW: Tensor, slots: int = SLOTS, sureness: float = 0.97) -> MaskMeasures:
    masks_BKHW = soft(labels_BHW, slots, sureness)
    return measure_masks(masks_BKHW, masks_BKHW.argmax(dim=1), scenes())


def kinds(found: MaskMeasures) -> list[Kind]:
    return [finding.kind for finding in findings(found)]


def bound() -> Tensor:
    return scenes()


def split_ground() -> Tensor:
    """Each slot has its object, and the quarter of the ground that lies in its place."""
    true_BHW = scenes()
    shift_B11 = torch.arange(IMAGES)[:, None, None]
    ground_BHW = (grid() + shift_B11) % SLOTS
    return torch.where(true_BHW > 0, true_BHW, ground_BHW)


def split_objects() -> Tensor:
    """Every other row of an object has the next slot."""
    true_BHW = scenes()
    odd_H1 = (torch.arange(SIZE) % 2)[:, None]
    return torch.where(true_BHW > 0, (true_BHW - 1 + odd_H1) % OBJECTS + 1, true_BHW)


def merged() -> Tensor:
    return scenes().clamp(max=1)


def lost() -> Tensor:
    true_BHW = scenes()
    return torch.where(true_BHW > 1, 0, true_BHW)


FAILURES: dict[Kind, Callable[[], Tensor]] = {
    "by_position": grid,
    "one_slot": lambda: torch.zeros_like(scenes()),
    "split_ground": split_ground,
    "split_objects": split_objects,
    "merged_objects": merged,
    "lost_objects": lost,
}


@pytest.mark.parametrize("kind", FAILURES)
def test_masks_made_to_fail_are_said_to_fail_so(kind: Kind) -> None:
    found = measured(FAILURES[kind]())
    assert kind in kinds(replace(found, ari=0.0))  # some would pass by their ARI


def test_one_slot_alone_is_the_whole_diagnosis() -> None:
    assert kinds(measured(FAILURES["one_slot"]())) == ["one_slot"]


def test_slots_that_share_all_are_undecided() -> None:
    assert "undecided" in kinds(measured(split_ground(), sureness=0.3))
    assert "undecided" not in kinds(measured(split_ground(), sureness=0.9))


def test_slots_that_bind_are_said_to_bind() -> None:
    found = measured(bound())
    assert kinds(found) == ["binds"]
    assert (found.ari, found.ground, found.objects, found.merged, found.lost) == (1, 1, 1, 0, 0)
    assert found.sameness is not None
    assert found.sameness < 0.4


def test_slots_that_hold_nothing_are_counted_beside_the_verdict() -> None:
    found = measured(bound(), slots=7)
    assert (found.dead, found.used) == (3, 4)
    assert kinds(found) == ["binds", "dead_slots"]
    assert "3 of 7 slots hold nothing in any image; 4.0 are used" in findings(found)[1].what


def test_measures_do_not_depend_on_the_order_of_slots_or_objects() -> None:
    # In every image another order: nothing may rest on a slot's number.
    labels_BHW, true_BHW = split_ground(), scenes()
    generator = torch.Generator().manual_seed(1)
    orders = [torch.randperm(SLOTS, generator=generator) for _ in range(IMAGES)]
    mixed_BHW = torch.stack([order[labels] for order, labels in zip(orders, labels_BHW, strict=True)])
    objects = torch.tensor([0, 3, 1, 2])
    before = measure_masks(soft(labels_BHW), labels_BHW, true_BHW)
    after = measure_masks(soft(mixed_BHW), mixed_BHW, objects[true_BHW])
    for name in (
        "certainty",
        "largest",
        "sameness",
        "used",
        "ari",
        "ground",
        "ground_slots",
        "objects",
        "merged",
    ):
        assert getattr(after, name) == pytest.approx(getattr(before, name), abs=1e-9), name


def test_without_true_masks_what_can_be_seen_is_said_and_nothing_else() -> None:
    masks_BKHW = soft(grid())
    assert kinds(measure_masks(masks_BKHW, grid(), None)) == ["by_position"]
    unknown = findings(measure_masks(soft(bound()), bound(), None))
    assert [one.kind for one in unknown] == ["unclear"]
    assert "without true masks" in unknown[0].what


def test_pixels_that_nobody_knows_change_nothing() -> None:
    true_BHW = scenes()
    true_BHW[:, :1] = -1
    wrong_BHW = scenes()
    wrong_BHW[:, :1] = 3
    found = measure_masks(soft(wrong_BHW), wrong_BHW, true_BHW)
    assert (found.ari, found.ground, found.objects) == (1, 1, 1)


def test_each_sentence_has_its_measure_and_its_threshold() -> None:
    [first, *_] = findings(measured(grid()))
    assert first.what == (
        "Slots go by position: segmentations of different images agree with an ARI of 1.00 (from 0.6 on)."
    )
    split = next(one for one in findings(measured(split_ground())) if one.kind == "split_ground")
    assert "(below 0.8)." in split.what
    assert split.advice
    assert split.evidence.endswith("#split-ground")


@pytest.mark.parametrize(
    ("scores", "two"),
    [
        ([0.76, 0.45, 0.78, 0.74], True),
        ([0.1, 0.12, 0.7, 0.71], True),
        ([0.70, 0.72, 0.75], False),
        ([0.1, 0.4, 0.7], False),  # even steps are no heaps
        ([0.1, 0.7], False),  # two runs are too few
        ([], False),
    ],
)
def test_runs_in_two_heaps(scores: list[float], two: bool) -> None:
    found = spread_of_runs(scores)
    assert (found is not None) == two
    assert spread_of_runs(scores[::-1]) == found
    if found is not None:
        assert found.kind == "spread"


def test_every_failure_has_advice() -> None:
    assert set(ADVICE) == {*FAILURES, "undecided", "dead_slots", "spread"}
