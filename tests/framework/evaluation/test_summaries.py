"""Statistics over images: those of NumPy, over the images that have a value."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotlab.framework.evaluation.rows import summarize

VALUES = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=6)


@given(values=VALUES, data=st.data())
def test_statistics_are_those_of_the_images_with_a_value(values, data):
    weights = data.draw(
        st.none() | st.lists(st.sampled_from([0.0, 1.0, 3.0]), min_size=len(values), max_size=len(values))
    )
    weight = np.ones(len(values)) if weights is None else np.array(weights)
    there = np.isfinite(values) & (weight > 0)
    known = np.array(values)[there]
    found = summarize(values, weights)
    assert (found["count"], found["undefined"]) == (len(known), len(values) - len(known))
    if not len(known):
        assert {found[name] for name in ("mean", "std", "median", "min", "max")} == {None}
        return
    assert found["mean"] == pytest.approx(np.average(known, weights=weight[there]), abs=1e-9)
    assert (found["median"], found["min"], found["max"]) == pytest.approx(
        (np.median(known), known.min(), known.max())
    )
    if len(known) > 1:
        assert found["std"] == pytest.approx(known.std(ddof=1), abs=1e-6)
    else:
        assert found["std"] is None
