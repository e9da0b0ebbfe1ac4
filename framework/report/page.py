"""What a report page shows beside the comparison itself: pictures, curves, sentences, origins.

`framework.report.build` makes a `Page`; `framework.report.render` makes HTML of it. Arms are named
by their position in `Comparison.arms`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from slotlab.framework.compare.results import Comparison


@dataclass(frozen=True)
class ArmMark:
    """The mark of an arm all over the page: a color from 0 (the baseline's) to 6, a shape from 0 to 19."""

    color: int
    shape: int


@dataclass(frozen=True)
class Finding:
    """A sentence of the summary; a caution says what the numbers do not show."""

    text: str
    caution: bool = False


@dataclass(frozen=True)
class Fact:
    """An entry of the provenance: its values, each with the number of runs that have it."""

    label: str
    values: Sequence[tuple[str, int]]
    code: bool = False


@dataclass(frozen=True)
class Line:
    """A curve over seeds: the mean, the least and the greatest value at each x."""

    x: Sequence[float] | Sequence[str]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    epochs: Sequence[float] = ()
    """The epoch at each training step; empty where it is not known."""
    phases: Sequence[float] = ()
    """The training steps at which a further phase begins."""


@dataclass(frozen=True)
class Chart:
    """The curves of all arms for one quantity; `lines` by arm."""

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
    """By metric, the arms on the Pareto front, by rising cost."""


@dataclass(frozen=True)
class EmbeddedPicture:
    """A picture that is part of the page as a data URI, with its description."""

    uri: str
    alt: str
    wide: bool = False
    frames: int = 1
    """Of a film, whose frames are one above the other, how many there are."""
    foretold: int = 0
    """Of a film, the first frame of which the model has seen nothing; 0 if it sees all."""
    size: tuple[int, int] = (1, 1)
    """Columns and rows of a frame."""


@dataclass(frozen=True)
class ArmTile:
    """The outputs of one arm for one image."""

    arm: int
    score: str
    pictures: Sequence[EmbeddedPicture]


@dataclass(frozen=True)
class Frame:
    """One image of the data, with the outputs of every arm."""

    id: str
    truth: Sequence[EmbeddedPicture]
    tiles: Sequence[ArmTile]
    slots: Sequence[ArmTile] = ()
    """The pictures of each slot, side by side."""


@dataclass(frozen=True)
class Extreme:
    """The best, median and worst images of one run of an arm."""

    arm: int
    run: str
    groups: Mapping[str, Sequence[ArmTile]]


@dataclass(frozen=True)
class Gallery:
    """All pictures, and a note on those that were left out."""

    frames: Sequence[Frame] = ()
    extremes: Sequence[Extreme] = ()
    left_out: str = ""
    same: bool = True
    """Whether all arms were evaluated on the same images."""

    @property
    def films(self) -> bool:
        """Whether some of the pictures are films."""
        tiles = [tile for frame in self.frames for tile in frame.tiles]
        tiles += [tile for one in self.extremes for group in one.groups.values() for tile in group]
        found = [picture for tile in tiles for picture in tile.pictures]
        return any(one.frames > 1 for one in [*found, *(one for frame in self.frames for one in frame.truth)])


@dataclass(frozen=True)
class PublishedTable:
    """Published numbers as columns of plain text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class RunRow:
    """One run, whether or not it counts."""

    arm: int | None
    """The position of its arm; None for a run that does not count."""
    seed: str
    state: str
    reason: str
    path: str
    values: Mapping[str, float]
    remarkable: bool = False
    """Whether readers must be told about it: it failed, does not count, or did not bind."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything on the page."""

    title: str
    comparison: Comparison
    marks: Sequence[ArmMark]
    drawn: Sequence[int]
    """The arms that plots and pictures show at first."""
    axes: Sequence[tuple[str, Sequence[str]]]
    """What differs between arms: names of axes or settings, and labels of their values."""
    facts: Sequence[tuple[str, str, str]]
    """Label, value and a smaller second line."""
    findings: Sequence[Finding]
    protocol: str
    """The conditions of evaluation, in a sentence."""
    best: Mapping[str, str]
    """By metric, the arm with the best mean, where the corrected test bears it out."""
    decimals: Mapping[str, int]
    """The number of decimals of each metric."""
    published: PublishedTable
    curves: Sequence[Chart]
    groups: Sequence[Chart]
    costs: Sequence[Measure]
    gallery: Gallery
    runs: Sequence[RunRow]
    provenance: Sequence[Fact]
