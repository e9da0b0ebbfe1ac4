"""Curves over seeds against a slow and plain reference, and shortened ones against their sums."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotlab.framework.report.curves import epochs_by_step, over_seeds, phase_starts

VALUES = st.floats(-1e3, 1e3, allow_nan=False)
RUNS = st.lists(st.dictionaries(st.integers(0, 60), VALUES, min_size=1, max_size=30), min_size=1, max_size=4)


@given(RUNS)
def test_short_curves_are_mean_least_and_greatest_at_each_step(runs):
    line = over_seeds(runs, 100)
    steps = sorted({step for run in runs for step in run})
    there = [[run[step] for run in runs if step in run] for step in steps]
    assert line.x == steps
    assert line.mean == pytest.approx([math.fsum(values) / len(values) for values in there], abs=1e-9)
    assert line.low == [min(values) for values in there]
    assert line.high == [max(values) for values in there]


@given(RUNS, st.integers(2, 12))
def test_long_curves_have_few_points_in_order_and_stay_within_the_values(runs, points):
    line = over_seeds(runs, points)
    assert len(line.x) <= points
    assert list(line.x) == sorted(set(line.x))
    every = [value for run in runs for value in run.values()]
    slack = 1e-9
    for low, mean, high in zip(line.low, line.mean, line.high, strict=True):
        assert min(every) - slack <= low <= mean + slack
        assert mean - slack <= high <= max(every) + slack


@given(st.permutations(range(3)), RUNS.filter(lambda runs: len(runs) == 3))
def test_the_order_of_seeds_changes_nothing(order, runs):
    first, second = over_seeds(runs, 8), over_seeds([runs[i] for i in order], 8)
    assert first.x == second.x
    assert first.low == second.low
    assert first.high == second.high
    assert first.mean == pytest.approx(second.mean, abs=1e-9)


def test_a_straight_line_stays_straight_when_it_is_shortened():
    line = over_seeds([{step: 2.0 * step for step in range(0, 5000, 5)}], 50)
    assert 40 <= len(line.x) <= 50
    assert line.mean == pytest.approx([2 * x for x in line.x])


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(1, 9))
def test_phases_begin_where_the_one_before_was_logged_last(lengths, per_epoch):
    steps = range(1, sum(lengths) + 1)
    phases = [phase for phase, length in enumerate(lengths) for _ in range(length)]
    log = [
        {"kind": "train", "step": step, "epoch": step // per_epoch, "phase": phase, "loss": 0.5}
        for step, phase in zip(steps, phases, strict=True)
    ]
    log.append({"kind": "validation", "step": sum(lengths), "epoch": 99, "loss": 0.5})
    assert phase_starts(log) == [sum(lengths[:number]) for number in range(1, len(lengths))]
    at, epochs = epochs_by_step(log)
    assert epochs == sorted({step // per_epoch for step in steps})
    assert at == [max(1, epoch * per_epoch) for epoch in epochs]
