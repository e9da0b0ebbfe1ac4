"""What a report page shows, as plain data: the templates and scripts know nothing else.

`framework.report.build` makes a `Page` of a comparison; `framework.report.render` makes HTML of it.
Arms are named by their position in `Page.arms`; the baseline comes first, if there is one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm: its name, how it looks everywhere, and what became of its runs."""

    name: str
    color: int
    """0 for the baseline, then 1 to 6, again and again."""
    shape: int
    """Of its markers, and of its lines' dashes; the second six arms have the second shape."""
    is_baseline: bool
    runs: int
    done: int
    failed: int
    unbound: int
    settings: Mapping[str, str] = field(default_factory=dict)
    """The settings that differ between arms, as text."""


@dataclass(frozen=True)
class Span:
    """A value with its interval; the bounds are None where there is none (one seed)."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """An arm minus the baseline, paired by seed."""

    span: Span
    pairs: int
    p: float | None
    """Corrected for the number of arms."""
    effect: float | None
    """The mean difference in standard deviations of the differences."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One arm's values of one metric, over seeds."""

    arm: int
    span: Span | None
    """None where no run of the arm has the metric."""
    seeds: Mapping[str, float]
    """Each seed's value."""
    std: float | None
    median: float | None
    iqm: float | None
    difference: Difference | None
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class MetricTable:
    """All arms under one metric."""

    name: str
    higher_is_better: bool
    rows: Sequence[Row]
    detectable: float | None
    """The smallest difference that this many seeds find in four of five studies."""
    primary: bool = False


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """Images drawn again, for one checkpoint of an arm against one of the baseline."""

    arm: int
    metric: str
    seed: str
    span: Span
    images: int


@dataclass(frozen=True)
class Line:
    """A curve over seeds: at each x the mean, the least and the greatest."""

    x: Sequence[float | str]
    mean: Sequence[float | None]
    low: Sequence[float | None]
    high: Sequence[float | None]


@dataclass(frozen=True)
class Chart:
    """Curves of all arms under one title; `lines` by arm."""

    title: str
    x_title: str
    lines: Mapping[int, Line]


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """What an arm's runs took: medians over runs; None where it was not measured."""

    arm: int
    device: str
    values: Mapping[str, float | None]
    fronts: Sequence[str] = ()
    """Names of costs on whose Pareto front with the primary metric the arm is."""


@dataclass(frozen=True)
class CostMeasure:
    """One kind of cost."""

    name: str
    title: str
    unit: str
    lower_is_better: bool = True


@dataclass(frozen=True)
class Picture:
    """A picture in the page itself."""

    uri: str
    alt: str
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Tile:
    """What one arm made of one image."""

    arm: int
    run: str
    score: str
    pictures: Sequence[Picture]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One image of the data, and what every arm made of it."""

    id: str
    position: int
    truth: Sequence[Picture]
    tiles: Sequence[Tile]


@dataclass(frozen=True, kw_only=True)
class Extreme:
    """Images at which an arm does best, as usual and worst; `by` is the metric."""

    arm: int
    run: str
    by: str
    groups: Mapping[str, Sequence[Tile]]


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run, whatever became of it."""

    arm: int
    seed: str
    path: str
    state: str
    reason: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Fact:
    """A line of the provenance: what it is, and its values with the number of runs that have each."""

    label: str
    values: Sequence[tuple[str, int]]
    code: bool = False


@dataclass(frozen=True)
class Finding:
    """A sentence of the summary; a caution says what the numbers cannot tell."""

    text: str
    caution: bool = False


@dataclass(frozen=True)
class Published:
    """Rows that others published under the same protocol."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything on the page, in its order."""

    title: str
    question: str
    axes: Sequence[tuple[str, Sequence[str]]]
    facts: Sequence[tuple[str, str, str]]
    """Label, value and a smaller second line."""
    findings: Sequence[Finding]
    arms: Sequence[Arm]
    metrics: Sequence[MetricTable]
    methods: Sequence[str]
    """How the numbers were computed, in sentences."""
    bootstraps: Sequence[Bootstrap] = ()
    curves: Sequence[Chart] = ()
    groups: Sequence[Chart] = ()
    costs: Sequence[CostMeasure] = ()
    cost_rows: Sequence[CostRow] = ()
    frames: Sequence[Frame] = ()
    extremes: Sequence[Extreme] = ()
    pictures_left_out: str = ""
    differing: Sequence[str] = ()
    """Paths of settings that differ between arms."""
    runs: Sequence[RunRow] = ()
    provenance: Sequence[Fact] = ()
    published: Published | None = None
    protocol: str = ""
    """Under what every number was measured, in a line."""

    def chart_data(self) -> dict[str, Any]:
        """Return what the scripts draw, as JSON-ready data."""
        return {
            "arms": [
                {"name": arm.name, "color": arm.color, "shape": arm.shape, "baseline": arm.is_baseline}
                for arm in self.arms
            ],
            "metrics": [
                {
                    "name": table.name,
                    "higher": table.higher_is_better,
                    "rows": [row_data(row) for row in table.rows if row.span is not None],
                }
                for table in self.metrics
            ],
            "curves": [chart_data(chart) for chart in self.curves],
            "groups": [chart_data(chart) for chart in self.groups],
            "costs": [
                {"name": c.name, "title": c.title, "unit": c.unit, "lower": c.lower_is_better}
                for c in self.costs
            ],
            "costRows": [
                {"arm": row.arm, "values": {k: short(v) for k, v in row.values.items()}}
                for row in self.cost_rows
            ],
        }


def row_data(row: Row) -> dict[str, Any]:
    """Return a row as the plots want it."""
    difference = None if row.difference is None else span_data(row.difference.span)
    seeds = [[seed, short(value)] for seed, value in row.seeds.items()]
    return {
        "arm": row.arm,
        "span": None if row.span is None else span_data(row.span),
        "seeds": seeds,
        "difference": difference,
    }


def span_data(span: Span) -> list[float | None]:
    """Return mean, low and high."""
    return [short(span.mean), short(span.low), short(span.high)]


def chart_data(chart: Chart) -> dict[str, Any]:
    """Return a chart as the plots want it."""
    lines = [
        {
            "arm": arm,
            "x": [value if isinstance(value, str) else short(value) for value in line.x],
            "mean": list(map(short, line.mean)),
            "low": list(map(short, line.low)),
            "high": list(map(short, line.high)),
        }
        for arm, line in chart.lines.items()
    ]
    return {"title": chart.title, "x": chart.x_title, "lines": lines}


def short(value: float | None) -> float | None:
    """Return the value with six digits, which no plot can tell from more."""
    return None if value is None else float(f"{value:.6g}")
