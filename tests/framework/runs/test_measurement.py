"""Which evaluation is a run's own: the one that its spec declares, by everything that was measured."""

from typing import Any

import pytest

from slotlab.framework.runs.measurement import covers, is_own

SPEC = {
    "data": {
        "dataset": {"name": "scenes", "variant": "full"},
        "protocol": {"name": "whole", "value_range": "signed"},
        "value_range": None,
    },
    "evaluation": {"split": "val", "mask_source": "decoder", "checkpoint": "last"},
}
OWN = {
    "dataset": "scenes",
    "variant": "full",
    "split": "val",
    "protocol": "whole (image_size 16)",
    "value_range": "signed",
    "mask_source": "decoder",
    "checkpoint": "last",
    "changes": {},
    "replaced_plugins": {},
}


def test_the_declared_evaluation_is_the_runs_own() -> None:
    assert is_own(OWN, SPEC)


@pytest.mark.parametrize(
    "untold", ["dataset", "variant", "value_range", "checkpoint", "changes", "replaced_plugins"]
)
def test_what_a_summary_of_an_earlier_version_does_not_tell_is_not_held_against_it(untold: str) -> None:
    assert is_own({name: value for name, value in OWN.items() if name != untold}, SPEC)


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "clevrtex"},
        {"variant": "outd"},
        {"split": "test"},
        {"protocol": "seed"},
        {"value_range": "unit"},
        {"mask_source": "attention"},
        {"checkpoint": "best"},
        {"changes": {"evaluation.slots": 9}},
        {"replaced_plugins": {"a.py@12345678": "a.py@87654321"}},
    ],
)
def test_one_that_measured_otherwise_is_not(other: dict[str, Any]) -> None:
    assert not is_own(OWN | other, SPEC)


MEASURED: dict[str, Any] = {
    "metrics": {"ari": {"version": "1", "settings": {}}, "mse": {"version": "2", "settings": {}}},
    "baselines": ["color_kmeans", "one_segment"],
    "composition": {"count": 9},
    "set_metrics": {"fid": {}},
}


def test_what_is_computed_again_and_more_covers_what_was() -> None:
    assert covers(MEASURED, MEASURED)
    more = {
        **MEASURED,
        "metrics": {**MEASURED["metrics"], "mbo": {"version": "1", "settings": {}}},
        "baselines": [*MEASURED["baselines"], "position_grid"],
    }
    assert covers(more, MEASURED)
    assert not covers(MEASURED, more)


@pytest.mark.parametrize(
    "less",
    [
        {"baselines": ["one_segment"]},
        {"baselines": []},
        {"metrics": {"ari": MEASURED["metrics"]["ari"]}},
        {"metrics": {**MEASURED["metrics"], "mse": {"version": "1", "settings": {}}}},
        {"metrics": {**MEASURED["metrics"], "mse": {"version": "2", "settings": {"a": 1}}}},
        {"composition": {"count": 10}},
        {"composition": None},
    ],
)
def test_what_lacks_or_redefines_anything_does_not_cover(less: dict[str, Any]) -> None:
    assert not covers(MEASURED | less, MEASURED)


def test_methods_of_an_older_summary_count_as_its_baselines() -> None:
    """They hold the model itself, which every evaluation has."""
    old = {"metrics": MEASURED["metrics"], "methods": {"model": {}, "one_segment": {}}}
    assert covers({**MEASURED, "baselines": ["one_segment"]}, old)
    assert not covers({**MEASURED, "baselines": []}, old)
