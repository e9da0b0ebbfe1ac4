"""Which evaluation is a run's own: the one that its spec declares, by everything that was measured."""

from typing import Any

import pytest

from slotlab.framework.runs.measurement import covers, is_own, is_stale, same_measurement

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


TOLD: dict[str, Any] = {
    **OWN,
    "filter": None,
    "image_size": [16, 16],
    "mask_size": [16, 16],
    "slots": 7,
    "sampling": {"solver": "ddim"},
    "max_images": None,
    "images": 40,
    "data": {"fingerprint": "abc", "skipped": [], "settings": {"a": 1}, "seed": 0},
    "metrics": MEASURED["metrics"],
    "step": 300,
}
PARTS = [
    *(
        {name: "another"}
        for name in TOLD
        if name not in ("changes", "data", "metrics", "step", "mask_source")
    ),
    {"data": {**TOLD["data"], "fingerprint": "abd"}},
    {"data": {**TOLD["data"], "skipped": ["x"]}},
    {"data": {**TOLD["data"], "settings": {"a": 2}}},
    {"data": {**TOLD["data"], "seed": 1}},
]
"""Changes of one thing each that decide about numbers."""


@pytest.mark.parametrize("other", PARTS)
def test_measurements_are_the_same_if_nothing_that_decides_about_numbers_differs(
    other: dict[str, Any],
) -> None:
    assert same_measurement(TOLD, dict(TOLD))
    assert not same_measurement(TOLD, TOLD | other)
    assert not same_measurement(TOLD | other, TOLD)
    assert is_stale(TOLD, TOLD | other)


def test_masks_count_only_where_they_are_asked_for() -> None:
    other = TOLD | {"mask_source": "attention"}
    assert not same_measurement(TOLD, other)
    assert same_measurement(TOLD, other, masks=False)
    assert not same_measurement(TOLD, other | {"slots": 9}, masks=False)


@pytest.mark.parametrize("untold", ["sampling", "mask_size", "max_images", "filter", "variant"])
def test_what_one_of_two_summaries_does_not_tell_makes_no_difference(untold: str) -> None:
    less = {name: value for name, value in TOLD.items() if name != untold}
    assert same_measurement(less, TOLD)
    assert same_measurement(TOLD, less)
    untold_data = TOLD | {"data": {"fingerprint": "abc", "skipped": []}}
    assert same_measurement(TOLD, untold_data)
    assert same_measurement(untold_data, TOLD)


def test_generated_images_of_an_older_record_may_be_any_generated_ones() -> None:
    """Whose fingerprint holds the settings, so that these are not compared."""
    one, other, older = (
        TOLD | {"data": {"fingerprint": name, "skipped": [], "settings": {"a": name}}}
        for name in ("generated-1", "generated-2", "generated")
    )
    assert not same_measurement(one, other)
    assert same_measurement(one, older)
    assert same_measurement(older, one)
    assert not same_measurement(TOLD, older)


def test_numbers_of_another_step_or_of_other_metrics_are_stale() -> None:
    assert not is_stale(TOLD, dict(TOLD))
    assert is_stale(TOLD, TOLD | {"step": 301})
    assert is_stale(TOLD, TOLD | {"metrics": {"ari": {"version": "2", "settings": {}}}})
    assert same_measurement(TOLD, TOLD | {"step": 301})
