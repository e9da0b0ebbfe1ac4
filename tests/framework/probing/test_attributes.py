"""Attributes of objects: which kind they are, and how their values become targets."""

from typing import Any

import numpy as np
import pytest
import torch

from slotlab.framework.probing.attributes import UNSEEN, Kind, choose_attributes, targets_of
from slotlab.framework.probing.settings import ProbeSettings


def stay(column: float, row: float) -> tuple[float, float]:
    return column, row


def kinds(values: list[Any], **settings: Any) -> Kind:
    facts = [{"x": value} for value in values]
    [one] = choose_attributes([facts], ProbeSettings(attributes=("x",), **settings), stay)[0]
    return one.kind


@pytest.mark.parametrize(
    ("different", "each", "kind"),
    [(2, 8, "categorical"), (3, 8, "categorical"), (32, 8, "categorical"), (33, 8, "numerical"), (33, 20, "numerical")],
)  # fmt: skip
def test_numbers_are_classes_if_few_are_used_eight_times_each(different: int, each: int, kind: Kind) -> None:
    values = [float(number) for number in range(different)] * each
    assert kinds(values) == kind
    assert kinds(values[:-1]) == "numerical", "one use short of eight each"


def test_what_is_named_is_of_the_kind_that_is_said() -> None:
    assert kinds([0.5, 1.5, 2.5], categorical=("x",)) == "categorical"
    assert kinds([1, 2] * 20, numerical=("x",)) == "numerical"
    assert kinds(["a", "b"], numerical=("x",)) == "categorical", "names are no numbers"
    assert kinds([True, False]) == "categorical"


def test_numerical_targets_are_standardized_by_the_objects_fitted_on() -> None:
    """By numpy's mean and standard deviation (n), component by component; one that is constant is 0."""
    values = np.random.default_rng(0).normal(3.0, 2.0, (5, 3))
    values[:, 1] = 7.0
    fitted = [[{"x": row.tolist()} for row in values[:2]], [{"x": row.tolist()} for row in values[2:]]]
    [one] = choose_attributes(fitted, ProbeSettings(), stay)[0]
    assert one.outputs == 3
    assert one.mean == pytest.approx(values.mean(0))
    assert one.std == pytest.approx([values[:, 0].std(), 1.0, values[:, 2].std()])
    there = torch.tensor([[True, False], [True, True]])
    other = [[{"x": [1.0, 7.0, 2.0]}], [{"x": [0.0, 8.0, 0.0]}, {"x": values[0].tolist()}]]
    found = targets_of(other, there, [one], stay).values["x"]
    assert found[0, 0].tolist() == pytest.approx(
        [
            (1.0 - values[:, 0].mean()) / values[:, 0].std(),
            0.0,
            (2.0 - values[:, 2].mean()) / values[:, 2].std(),
        ]
    )
    assert found[1, 0, 1] == 1.0
    assert not found[0, 1].any()


def test_classes_are_numbered_in_their_order_and_others_are_unseen() -> None:
    facts = [[{"x": "b"}, {"x": "a"}], [{"x": "c"}]]
    [one] = choose_attributes(facts, ProbeSettings(), stay)[0]
    assert (one.classes, one.outputs) == (("a", "b", "c"), 3)
    there = torch.tensor([[True, True], [True, False]])
    found = targets_of([[{"x": "c"}, {"x": "z"}], [{}]], there, [one], stay).values["x"]
    assert found.tolist() == [[2, UNSEEN], [UNSEEN, 0]]


def test_places_in_the_picture_are_those_in_the_prepared_one() -> None:
    """The column and the row move; what stands behind them, such as a depth, stays."""

    def move(column: float, row: float) -> tuple[float, float]:
        return column / 2, row + 1

    places = [[10.0, 20.0, 5.0], [30.0, 10.0, 7.0]]
    facts = [[{"pixel_coords": place} for place in places]]
    [one] = choose_attributes(facts, ProbeSettings(), move)[0]
    assert one.mean == pytest.approx((10.0, 16.0, 6.0))
    found = targets_of(facts, torch.tensor([[True, True]]), [one], move).values["pixel_coords"]
    assert found.tolist() == [[[-1.0, 1.0, -1.0], [1.0, -1.0, 1.0]]]
