"""Breakdowns: objects against a plain computation, groups that are all there, intervals by SciPy."""

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import linear_sum_assignment

from slotlab.framework.contracts import Outcome
from slotlab.framework.evaluation.breakdown import IOU, ResultRow, breakdowns, interval, object_rows

MATERIALS = ("rust", "marble")


def outcome(seed: int = 0, images: int = 4, **changes: Any) -> Outcome:
    stream = torch.Generator().manual_seed(seed)
    facts = tuple(
        {"objects": [{"index": k, "material": MATERIALS[(i + k) % 2], "size": 0.5 * k} for k in (3, 1, 2)]}
        for i in range(images)
    )
    settings: dict[str, Any] = {
        "images_BCHW": torch.zeros(images, 3, 9, 7),
        "true_BHW": torch.randint(0, 5, (images, 9, 7), generator=stream),
        "predicted_BHW": torch.randint(0, 6, (images, 9, 7), generator=stream),
        "attributes": facts,
    }
    return Outcome(**(settings | changes))


def names(images: int = 4) -> list[str]:
    return [f"i{place}" for place in range(images)]


def test_objects_as_the_official_evaluator_computes_them() -> None:
    found = outcome()
    assert found.true_BHW is not None
    assert found.predicted_BHW is not None
    for name, rows, true, predicted in zip(
        names(), object_rows(found, names()), found.true_BHW, found.predicted_BHW, strict=True
    ):
        table = np.zeros((6, 6))
        for t in range(6):
            for p in range(6):
                union = int(((true == t) | (predicted == p)).sum())
                table[t, p] = int(((true == t) & (predicted == p)).sum()) / union if union else 0
        partner = linear_sum_assignment(table, maximize=True)[1]
        seen = [k for k in range(1, 6) if (true == k).any()]
        assert [row["index"] for row in rows] == seen
        assert [row["id"] for row in rows] == [name] * len(seen)
        assert [row[IOU] for row in rows] == pytest.approx([table[k, partner[k]] for k in seen], abs=1e-12)
        assert [row["pixels"] for row in rows] == [int((true == k).sum()) for k in seen]


def test_an_objects_facts_are_those_of_its_mask_value() -> None:
    for i, rows in enumerate(object_rows(outcome(), names())):
        for row in rows:
            known = {"material": MATERIALS[(i + row["index"]) % 2], "size": 0.5 * row["index"]}
            assert {key: row[key] for key in ("material", "size") if key in row} == (
                known if row["index"] < 4 else {}
            )


@pytest.mark.parametrize("lacking", ["true_BHW", "predicted_BHW"])
def test_no_masks_no_objects(lacking: str) -> None:
    assert object_rows(outcome(**{lacking: None}), names()) == [[], [], [], []]


BOUNDS = {"ari": (-0.5, 1.0), "mbo": (0.0, 1.0)}


def test_every_object_is_in_one_group_and_order_changes_nothing() -> None:
    objects = [row for rows in object_rows(outcome(images=9), names(9)) for row in rows]
    images = [{"id": name, "objects": i % 3, "ari": 0.1 * i} for i, name in enumerate(names(9))]
    found = breakdowns(images, objects, BOUNDS)
    assert list(found) == ["objects", "material", "size", "occlusion"]
    assert [group["group"] for group in found["objects"]] == ["0", "1", "2"]
    assert [group["ari"]["mean"] for group in found["objects"]] == pytest.approx([0.3, 0.4, 0.5])
    assert [group["group"] for group in found["material"]] == ["marble", "rust"]
    assert [group["group"] for group in found["size"]] == ["0.5", "1", "1.5"]
    named = sum("material" in row for row in objects)
    assert sum(group[IOU]["count"] for group in found["material"]) == named < len(objects)
    assert sum(group[IOU]["count"] for group in found["occlusion"]) == len(objects)
    random.Random(0).shuffle(objects)
    random.Random(0).shuffle(images)
    assert breakdowns(images, objects, BOUNDS) == found, "to the bit"


def pixels(*counts: int) -> list[ResultRow]:
    return [{"id": "a", "index": i, "pixels": count, IOU: 0.5} for i, count in enumerate(counts)]


@pytest.mark.parametrize(
    ("counts", "groups"),
    [
        (
            (5, 1, 2, 3, 4, 6, 8, 7),
            {"1 to 2 pixels": 2, "3 to 4 pixels": 2, "5 to 6 pixels": 2, "7 to 8 pixels": 2},
        ),
        ((4, 4, 4, 9), {"4 to 4 pixels": 3, "5 to 9 pixels": 1}),
        ((3,), {"3 to 3 pixels": 1}),
        ((1, 2), {"1 to 1 pixels": 1, "2 to 2 pixels": 1}),
        ((1, 2, 3, 4, 5), {"1 to 2 pixels": 2, "3 to 3 pixels": 1, "4 to 4 pixels": 1, "5 to 5 pixels": 1}),
    ],
)
def test_occlusion_by_visible_pixels(counts: tuple[int, ...], groups: dict[str, int]) -> None:
    found = breakdowns([], pixels(*counts), {})["occlusion"]
    assert {group["group"]: group[IOU]["count"] for group in found} == groups


def test_occlusion_by_the_visible_fraction_where_all_objects_have_one() -> None:
    objects = [
        row | {"visible_fraction": part} for row, part in zip(pixels(1, 2, 3), (1.0, 0.3, 0.25), strict=True)
    ]
    found = breakdowns([], objects, {})["occlusion"]
    assert {group["group"]: group[IOU]["count"] for group in found} == {
        "visible 25-50 %": 2,
        "visible 75-100 %": 1,
    }
    del objects[0]["visible_fraction"]
    assert breakdowns([], objects, {})["occlusion"][0]["group"] == "1 to 1 pixels"


# --- intervals ---------------------------------------------------------------------------

Numbers = st.lists(st.floats(-10, 10), min_size=2, max_size=30)


@given(Numbers)
def test_the_interval_is_scipys(values: list[float]) -> None:
    found = interval([*values, math.nan])
    error = stats.sem(values)
    low, high = (
        (np.mean(values),) * 2
        if error == 0
        else stats.t.interval(0.95, len(values) - 1, np.mean(values), error)
    )
    assert (found["mean"], found["low"], found["high"]) == pytest.approx(
        (np.mean(values), low, high), abs=1e-9
    )
    assert found["count"] == len(values)


@given(Numbers, st.floats(0.1, 10))
def test_equal_weights_are_no_weights(values: list[float], weight: float) -> None:
    plain, weighted = interval(values), interval(values, [weight] * len(values))
    assert [weighted[key] for key in ("mean", "low", "high")] == pytest.approx(
        [plain[key] for key in ("mean", "low", "high")], abs=1e-9
    )


def test_intervals_of_few() -> None:
    assert interval([]) == {"mean": None, "low": None, "high": None, "count": 0}
    assert interval([0.5]) == {"mean": 0.5, "low": None, "high": None, "count": 1}
    assert interval([1.0, 0.0, 9.0], [3.0, 1.0, 0.0])["mean"] == 0.75


def test_visible_fractions_are_grouped_by_quarters_each_from_its_lower_end() -> None:
    fractions = [0.0, 0.13, 0.249, 0.25, 0.49, 0.5, 0.74, 0.75, 0.88, 1.0]
    rows = [{"id": "a", "pixels": 5, "object_iou": one, "visible_fraction": one} for one in fractions]
    found = breakdowns([], rows, {})["occlusion"]
    parts = {
        "visible 0-25 %": (0, 3),
        "visible 25-50 %": (3, 5),
        "visible 50-75 %": (5, 7),
        "visible 75-100 %": (7, 10),
    }
    assert {one["group"]: one["object_iou"]["count"] for one in found} == {
        name: end - start for name, (start, end) in parts.items()
    }
    for one in found:
        start, end = parts[one["group"]]
        assert one["object_iou"]["mean"] == pytest.approx(sum(fractions[start:end]) / (end - start))
