"""Labels and combinations: laws that hold for any axes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotlab.framework.study.labels import Space, arm_name, label, labelled, matches

AXES = {"encoder": ["cnn", "timm"], "slots": ["5", "7", "9"], "lr": ["0.1", "0.2"]}


def as_set(arms: Any) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(arm.items()) for arm in arms}


@given(order=st.permutations(list(AXES)), flip=st.booleans())
def test_the_grid_is_the_same_for_any_order_of_axes_and_values(order: list[str], flip: bool) -> None:
    other = {name: list(reversed(AXES[name])) if flip else AXES[name] for name in order}
    assert as_set(Space(other).grid()) == as_set(Space(AXES).grid())
    assert len(Space(other).grid()) == 12


@given(order=st.permutations(list(AXES)), seed=st.integers(0, 99), count=st.integers(1, 12))
def test_a_sample_is_the_same_for_any_order_and_grows_by_its_count(
    order: list[str], seed: int, count: int
) -> None:
    chosen = as_set(Space(AXES).sample(count, seed))
    assert len(chosen) == count
    assert as_set(Space({name: AXES[name] for name in order}).sample(count, seed)) == chosen
    assert chosen <= as_set(Space(AXES).sample(count + 1, seed))


@given(seed=st.integers(0, 99), count=st.integers(1, 12))
def test_a_sample_has_the_order_of_the_grid(seed: int, count: int) -> None:
    chosen = Space(AXES).sample(count, seed)
    assert chosen == [one for one in Space(AXES).grid() if one in chosen]


def test_a_new_value_keeps_most_of_a_sample_and_another_seed_draws_another() -> None:
    wider = {**AXES, "slots": [*AXES["slots"], "11"]}
    before, after = as_set(Space(AXES).sample(6, 0)), as_set(Space(wider).sample(6, 0))
    assert {frozenset(arm) for arm in after if ("slots", "11") not in arm} <= before
    assert any(as_set(Space(AXES).sample(6, seed)) != before for seed in range(1, 4))


@given(st.lists(st.sampled_from([{"encoder": "cnn"}, {"slots": [5, 7]}, {"lr": 0.1, "slots": "9"}])))
def test_what_a_rule_matches_is_left_out_and_nothing_else(rules: list[dict[str, Any]]) -> None:
    left = as_set(Space(AXES, rules).grid())
    for arm in Space(AXES).grid():
        assert (frozenset(arm.items()) in left) != any(matches(arm, rule) for rule in rules)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("cnn", "cnn"),
        (5, "5"),
        (0.001, "0.001"),
        (True, "true"),
        (None, "none"),
        ([64, 32], "[64, 32]"),
        ({"name": "cnn"}, "cnn"),
        ({"name": "cnn", "channels": [8]}, "cnn(channels=[8])"),
        ({"steps": 3, "lr": 0.1}, "{steps: 3, lr: 0.1}"),
    ],
)
def test_labels(value: Any, text: str) -> None:
    assert label(value) == text


def test_labels_are_as_short_as_they_can_be() -> None:
    one, two = {"name": "cnn", "channels": [8]}, {"name": "cnn", "channels": [9]}
    assert list(labelled([one, "timm"])) == ["cnn", "timm"]
    assert list(labelled([one, two])) == ["cnn(channels=[8])", "cnn(channels=[9])"]
    assert labelled([5, 7, 5]) == "the value 5 is given twice; keep one"


def test_an_arm_is_named_by_its_labels() -> None:
    assert arm_name({"encoder": "cnn", "slots": "5"}) == "encoder=cnn, slots=5"
