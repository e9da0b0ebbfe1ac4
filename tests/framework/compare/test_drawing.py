"""What figures show: the lines and dots in them are the numbers of the comparison, cut and scaled as they say."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slotlab.framework.compare import draw_cost, draw_curves, draw_intervals
from slotlab.framework.compare.arm_styles import StyledArm, style_arms
from slotlab.framework.compare.comparison import Comparison, compare_paths
from slotlab.framework.compare.draw_curves import by_objects, log_series
from slotlab.framework.compare.results import ArmCost, Interval

COST = ArmCost(None, None, None, None, None, None, ())


@pytest.fixture(scope="module")
def comparison(study: Path) -> Comparison:
    return compare_paths([study])


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of each figure that is drawn, in place of its files."""
    found: list[Any] = []
    for module in (draw_cost, draw_curves, draw_intervals):
        monkeypatch.setattr(module, "save", lambda figure, stem: found.append(figure.axes[0]))
    return found


def with_logs(comparison: Comparison, logs: list[list[Mapping[str, Any]]]) -> list[StyledArm]:
    """The first arm, with one run for each log."""
    runs = [SimpleNamespace(run=SimpleNamespace(log_or_reason=lambda log=log: (log, ""))) for log in logs]
    arm = replace(comparison.arms[0], members=tuple(runs))  # type: ignore[arg-type]
    return list(style_arms([arm], None).values())


@pytest.mark.parametrize(
    ("name", "lowest", "scale"),
    [("loss", 0.5, "log"), ("loss", 0.0, "linear"), ("loss", -0.5, "linear"), ("ari", 0.5, "linear")],
)
def test_a_loss_has_a_logarithmic_axis_if_all_of_it_is_above_zero(
    comparison: Comparison, axes: list[Any], tmp_path: Path, name: str, lowest: float, scale: str
) -> None:
    logs = [
        [{"kind": "train", "step": step, name: value} for step, value in ((1, 3.0), (2, low))]
        for low in (1.0, lowest)
    ]
    draw_curves.draw_learning_curves(with_logs(comparison, logs), tmp_path)  # type: ignore[arg-type]
    assert [axis.get_yscale() for axis in axes] == [scale]
    line = axes[0].lines[0]
    assert line.get_xydata().tolist() == [[1.0, 3.0], [2.0, (1.0 + lowest) / 2]]


def test_of_a_step_that_was_done_again_the_last_line_counts_and_rates_are_no_curves() -> None:
    log = [
        {
            "kind": "train",
            "step": 1,
            "loss": 3.0,
            "lr": 0.1,
            "epoch": 0,
            "phase": 0,
            "images_per_second": 9.0,
        },
        {"kind": "train", "step": 2, "loss": 2.0, "note": "x", "whole": True},
        {"kind": "train", "step": 2, "loss": 1.5},
        {"kind": "validation", "step": 2, "loss": 4, "ari": None},
    ]
    assert log_series(log) == {("train", "loss"): {1: 3.0, 2: 1.5}, ("validation", "loss"): {2: 4}}


def test_a_curve_by_objects_has_the_groups_with_a_value_and_a_number() -> None:
    rows = [
        {"group": "2", "ari": {"mean": 0.5, "count": 3}},
        {"group": "1", "ari": {"mean": 0.0}},
        {"group": "3", "ari": {"mean": None, "count": 0}},
        {"group": "nan", "ari": {"mean": 0.1, "count": 1}},
        {"group": "many", "ari": {"mean": 0.2, "count": 1}},
        {"group": "4", "mse": {"mean": 0.2, "count": 1}},
    ]
    assert by_objects(rows, "ari") == ({2.0: 0.5, 1.0: 0.0}, {2.0: 3, 1.0: 0})


@pytest.mark.parametrize("end", [2.4, 2.6, 100.0])
def test_an_interval_is_drawn_up_to_one_and_a_half_times_the_range_of_the_dots(
    comparison: Comparison, axes: list[Any], tmp_path: Path, end: float
) -> None:
    """Beyond them an arrow says that it goes on; the axis shows all that is drawn."""
    metric = comparison.metrics[0]
    one = replace(
        comparison.arms[0].statistics[metric.name], by_seed={0: 0.0, 1: 1.0}, mean=0.5, interval=Interval(1 - end, end)
    )  # fmt: skip
    arm = replace(comparison.arms[0], statistics={metric.name: one})
    styles = list(style_arms([arm], None).values())
    draw_intervals.draw_intervals(comparison, styles, metric, tmp_path / "x")
    (bar,) = [line for line in axes[0].lines if len(line.get_xdata()) == 2]
    assert bar.get_xdata() == pytest.approx([max(1 - end, -1.5), min(end, 2.5)])
    arrows = {line.get_marker(): line.get_xdata()[0] for line in axes[0].lines if line.get_marker() in "<>"}
    assert arrows == ({"<": -1.5, ">": 2.5} if end > 2.5 else {})
    low, high = axes[0].get_xlim()
    width = bar.get_xdata()[1] - bar.get_xdata()[0]
    assert (bar.get_xdata()[0] - low, high - bar.get_xdata()[1]) == pytest.approx((0.03 * width,) * 2)
    dots = sorted(line.get_xdata()[0] for line in axes[0].lines if line.get_marker() == styles[0].marker)
    assert dots == [0.0, 1.0]
    assert [line.get_xdata()[0] for line in axes[0].lines if line.get_marker() == "|"] == [0.5]


def test_differences_are_drawn_about_zero_in_the_order_of_arms(
    comparison: Comparison, axes: list[Any], tmp_path: Path
) -> None:
    metric, styles = comparison.metrics[0], list(style_arms(comparison.arms, comparison.baseline).values())
    draw_intervals.draw_differences(comparison, styles, metric, tmp_path / "x")
    means = {line.get_ydata()[0]: line.get_xdata()[0] for line in axes[0].lines if line.get_marker() == "|"}
    others = [arm for arm in comparison.arms if arm.name != comparison.baseline]
    assert means == {y: arm.differences[metric.name].mean for y, arm in enumerate(others)}
    low, high = axes[0].get_xlim()
    assert low < 0 < high
    bottom, top = axes[0].get_ylim()
    assert bottom > top, "the first arm stands above the others"


@pytest.mark.parametrize(
    ("quantity", "figure", "unit"),
    [("seconds", "cost-time", 3600), ("flops", "cost-operations", 1e12), ("memory", "cost-memory", 2**30), ("energy_kwh", "cost-energy", 1)],
)  # fmt: skip
def test_costs_are_drawn_in_the_units_of_their_axis_if_arms_differ_in_them(
    comparison: Comparison, axes: list[Any], tmp_path: Path, quantity: str, figure: str, unit: float
) -> None:
    def drawn(costs: Mapping[int, float | None]) -> list[Path]:
        changes: list[dict[str, Any]] = [{quantity: costs.get(i)} for i in range(len(comparison.arms))]
        arms = [
            replace(arm, cost=replace(COST, **change))
            for arm, change in zip(comparison.arms, changes, strict=True)
        ]
        return draw_cost.draw_costs(comparison, list(style_arms(arms, None).values()), tmp_path)

    assert drawn({0: 2.0 * unit, 1: 2.0 * unit}) == []
    assert drawn({0: 2.0 * unit, 1: 3.0 * unit, 2: 0.0}) == [tmp_path / figure]

    def value(i: int) -> float | None:
        return comparison.arms[i].statistics[comparison.primary.name].mean

    shown = {(float(x), float(y)) for one in axes[0].containers for x, y in one.lines[0].get_xydata()}
    assert shown == {(2.0, value(0)), (3.0, value(1)), (0.0, value(2))}
    for i, one in enumerate(axes[0].containers):
        [(low, high)] = [segment[:, 1] for bars in one.lines[2] for segment in bars.get_segments()]
        assert (high - low) / 2 == pytest.approx(comparison.arms[i].statistics[comparison.primary.name].std)


def test_a_curve_by_objects_names_the_groups_of_all_arms(
    comparison: Comparison, axes: list[Any], tmp_path: Path
) -> None:
    metric = comparison.metrics[0]

    def arm(place: int, groups: Mapping[int, float]) -> Any:
        rows = [
            {"group": str(one), metric.name: {"mean": value, "count": 10 * one}}
            for one, value in groups.items()
        ]
        run: Any = SimpleNamespace(evaluation=SimpleNamespace(breakdowns={"objects": rows}))
        return replace(comparison.arms[place], members=(run,))

    arms = [arm(0, {1: 0.5, 2: 0.6}), arm(1, {2: 0.7, 3: 0.8})]
    draw_curves.draw_by_objects(list(style_arms(arms, None).values()), metric, tmp_path / "x")
    assert axes[0].get_xticks().tolist() == [1.0, 2.0, 3.0]
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["1\n(10)", "2\n(20)", "3\n(30)"]
    assert [line.get_xydata().tolist() for line in axes[0].lines] == [
        [[1, 0.5], [2, 0.6]],
        [[2, 0.7], [3, 0.8]],
    ]
    assert (
        draw_curves.draw_by_objects(list(style_arms([arm(0, {4: 0.5})], None).values()), metric, tmp_path)
        == []
    )
