"""The data that the page's scripts draw, ready for JSON."""

from typing import Any

from slotlab.framework.compare.results import ComparedMetric, Difference, Interval, Statistics
from slotlab.framework.report.page import Chart, Page


def chart_data(page: Page) -> dict[str, Any]:
    """Return arms, metrics, curves and costs."""
    arms = zip(page.comparison.arms, page.marks, strict=True)
    return {
        "arms": [{"name": arm.name, "color": mark.color, "shape": mark.shape} for arm, mark in arms],
        "drawn": list(page.drawn),
        "rule": f"the baseline, the best of each metric and the best by {page.comparison.primary.name}",
        "metrics": [metric_data(page, metric) for metric in page.comparison.metrics],
        "curves": [lines_data(chart) for chart in page.curves],
        "groups": [lines_data(chart) for chart in page.groups],
        "costs": [
            {
                "title": cost.title,
                "unit": cost.unit,
                "lower": cost.lower_is_better,
                "values": [short(value) for value in cost.values],
                "fronts": [list(cost.fronts[metric.name]) for metric in page.comparison.metrics],
            }
            for cost in page.costs
        ],
    }


def metric_data(page: Page, metric: ComparedMetric) -> dict[str, Any]:
    """Return each arm's interval, seeds and difference; arms without a value are left out."""
    rows = []
    for position, arm in enumerate(page.comparison.arms):
        found = arm.statistics.get(metric.name)
        if found is None or found.mean is None:
            continue
        seeds = [[str(seed), short(value)] for seed, value in found.by_seed.items()]
        difference = span(arm.differences.get(metric.name))
        rows.append({"arm": position, "span": span(found), "seeds": seeds, "difference": difference})
    return {"name": metric.name, "higher": metric.higher_is_better, "rows": rows}


def span(found: Statistics | Difference | None) -> list[float | None] | None:
    """Return mean, low and high."""
    if found is None or found.mean is None:
        return None
    low, high = bounds(found.interval)
    return [short(found.mean), short(low), short(high)]


def bounds(interval: Interval | None) -> tuple[float | None, float | None]:
    """Return low and high, or None for both."""
    return (None, None) if interval is None else (interval.low, interval.high)


def lines_data(chart: Chart) -> dict[str, Any]:
    """Return a chart's lines."""
    lines = [
        {
            "arm": arm,
            "x": [value if isinstance(value, str) else short(value) for value in line.x],
            "mean": list(map(short, line.mean)),
            "low": list(map(short, line.low)),
            "high": list(map(short, line.high)),
            "epochs": list(map(short, line.epochs)),
            "phases": list(map(short, line.phases)),
        }
        for arm, line in chart.lines.items()
    ]
    return {"title": chart.title, "x": chart.x_title, "lines": lines}


def short(value: float | None) -> float | None:
    """Return the value rounded to six digits, more than a plot can show."""
    return None if value is None else float(f"{value:.6g}")
