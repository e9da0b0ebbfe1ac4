"""`mbo_class` against masks of classes that are made pixel by pixel."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.plugin_loading.discovery import load_registry

ITEM: Any = load_registry().find("metric", "mbo_class")
METRIC: Any = ITEM.component.build(ITEM.component.config(), MetricContext(value_range=(0.0, 1.0)))
KINDS = {1: "cat", 2: "dog", 3: "cat", 4: "bus"}


def facts(kinds: Mapping[int, str]) -> dict[str, Any]:
    return {"objects": [{"index": index, "category": kind} for index, kind in kinds.items()]}


def random_outcome(seed: int) -> Outcome:
    stream = torch.Generator().manual_seed(seed)
    true = torch.randint(-1, 5, (4, 9, 7), generator=stream)
    predicted = torch.randint(0, 3, (4, 9, 7), generator=stream)
    attributes = tuple(facts(KINDS) for _ in range(4))
    images = torch.zeros(4, 3, 9, 7)
    return Outcome(images_BCHW=images, true_BHW=true, predicted_BHW=predicted, attributes=attributes)


def by_pixels(true_HW: NDArray[Any], predicted_HW: NDArray[Any]) -> float:
    """The definition: a mask of names, every class against every segment, void pixels out of all."""
    names = np.array([KINDS.get(int(label), "") for label in true_HW.flat]).reshape(true_HW.shape)
    known, bests = true_HW >= 0, []
    for name in sorted(set(names[known].tolist()) - {""}):
        one = (names == name) & known
        overlaps = []
        for segment in range(3):
            other = (predicted_HW == segment) & known
            overlaps.append((one & other).sum() / (one | other).sum())
        bests.append(max(overlaps))
    return float(np.mean(bests))


@pytest.mark.parametrize("seed", range(5))
def test_classes_are_what_their_objects_are_together(seed: int) -> None:
    found = random_outcome(seed)
    assert found.true_BHW is not None
    assert found.predicted_BHW is not None
    pairs = zip(found.true_BHW.numpy(), found.predicted_BHW.numpy(), strict=True)
    assert METRIC(found).tolist() == pytest.approx([by_pixels(*pair) for pair in pairs], rel=1e-14)


def test_with_a_class_for_each_object_it_is_mbo() -> None:
    item: Any = load_registry().find("metric", "mbo")
    mbo = item.component.build(item.component.config(), MetricContext(value_range=(0.0, 1.0)))
    found = random_outcome(7)
    apart = replace(found, attributes=tuple(facts({i: f"kind {i}" for i in KINDS}) for _ in range(4)))
    assert torch.allclose(METRIC(apart), mbo(apart), rtol=1e-14, atol=0)
    assert not torch.allclose(METRIC(found), mbo(found))


def test_without_a_category_there_is_no_value() -> None:
    """Only what is seen needs one; an image without attributes has none."""
    found = random_outcome(1)
    unknown = facts({1: "cat", 2: "dog", 3: "cat"})
    assert found.true_BHW is not None
    seen = found.true_BHW.clamp(max=3)
    values = METRIC(replace(found, attributes=(unknown,) * 4))
    assert all(math.isnan(one) for one in values.tolist())
    assert METRIC(replace(found, true_BHW=seen, attributes=(unknown,) * 4)).isfinite().all()
    beside = torch.cat([found.true_BHW[:1], seen[1:]])  # the table of the batch has a row for the bus
    assert (
        METRIC(replace(found, true_BHW=beside, attributes=(facts(KINDS), *(unknown,) * 3))).isfinite().all()
    )
    assert METRIC(replace(found, attributes=())).isnan().all()
    assert METRIC(replace(found, true_BHW=torch.zeros_like(seen))).isnan().all(), "nothing but background"
