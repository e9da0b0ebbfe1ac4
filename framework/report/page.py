"""What a report page shows beside the comparison itself: pictures, curves, sentences, origins.

`framework.report.build` makes a `Page`; `framework.report.render` makes HTML of it. Arms are named
by their position in `Comparison.arms`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from slotlab.framework.compare.results import Comparison


@dataclass(frozen=True)
class Look:
    """How an arm looks everywhere: a color from 0 (the baseline's) to 6, and a shape from 0 to 4."""

    color: int
    shape: int


@dataclass(frozen=True)
class Finding:
    """A sentence of the summary; a caution says what the numbers cannot tell."""

    text: str
    caution: bool = False


@dataclass(frozen=True)
class Fact:
    """A line of the provenance: what it is, and its values with the number of runs that have each."""

    label: str
    values: Sequence[tuple[str, int]]
    code: bool = False


@dataclass(frozen=True)
class Line:
    """A curve over seeds: at each x the mean, the least and the greatest."""

    x: Sequence[float] | Sequence[str]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Chart:
    """Curves of arms under one title; `lines` by arm."""

    title: str
    x_title: str
    lines: Mapping[int, Line]


@dataclass(frozen=True)
class Measure:
    """One kind of cost, with its value for each arm; None where it was not measured."""

    title: str
    unit: str
    values: Sequence[float | None]
    lower_is_better: bool = True
    fronts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """By metric the arms that no other beats in both, from the least cost."""


@dataclass(frozen=True)
class Picture:
    """A picture in the page itself, and what it shows."""

    uri: str
    alt: str
    wide: bool = False


@dataclass(frozen=True)
class Tile:
    """What one arm made of one image."""

    arm: int
    score: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Frame:
    """One image of the data, and what every arm made of it."""

    id: str
    truth: Sequence[Picture]
    tiles: Sequence[Tile]
    slots: Sequence[Tile] = ()
    """What each slot holds, side by side."""


@dataclass(frozen=True)
class Extreme:
    """Images at which one run of an arm does best, as usual and worst."""

    arm: int
    run: str
    groups: Mapping[str, Sequence[Tile]]


@dataclass(frozen=True)
class Gallery:
    """All pictures, and what had to be left out."""

    frames: Sequence[Frame] = ()
    extremes: Sequence[Extreme] = ()
    left_out: str = ""
    same: bool = True
    """Whether all arms were measured on the same images."""


@dataclass(frozen=True)
class Table:
    """Plain text in columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class RunRow:
    """One run, whatever became of it."""

    arm: int | None
    """None for a run that belongs to none, since it is not counted."""
    seed: str
    state: str
    reason: str
    path: str
    values: Mapping[str, float]
    remarkable: bool = False
    """Whether a reader must know of it: it failed, is not counted, or did not bind."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything on the page."""

    title: str
    comparison: Comparison
    looks: Sequence[Look]
    axes: Sequence[tuple[str, Sequence[str]]]
    """What a study varies: names and labels of values."""
    facts: Sequence[tuple[str, str, str]]
    """Label, value and a smaller second line."""
    findings: Sequence[Finding]
    protocol: str
    """Under what every number was measured, in a sentence."""
    best: Mapping[str, str]
    """The arm with the best mean, by metric."""
    decimals: Mapping[str, int]
    """With which each metric is written."""
    published: Table
    curves: Sequence[Chart]
    groups: Sequence[Chart]
    costs: Sequence[Measure]
    gallery: Gallery
    runs: Sequence[RunRow]
    provenance: Sequence[Fact]
