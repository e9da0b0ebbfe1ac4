"""What a comparison tests beyond differences to the baseline, in the primary metric, on demand. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from slotlab.framework.compare.results import Interval

EFFECTS, ALL_PAIRS, DUNNETT, PUBLISHED, PROFILES = "effects", "all-pairs", "dunnett", "published", "profiles"
ALSO = (EFFECTS, ALL_PAIRS, DUNNETT, PUBLISHED, PROFILES)
"""What may be asked for by name; equivalence is asked for by its margin."""


@dataclass(frozen=True)
class Contrast:
    """A level of an axis minus its reference level, averaged over the other axes and the seeds."""

    level: str
    reference: str
    mean: float
    interval: Interval | None


@dataclass(frozen=True)
class Term:
    """A main effect (one axis) or an interaction (several) of a factorial study."""

    axes: tuple[str, ...]
    f: float | None
    df: tuple[int, int]
    """Degrees of freedom of the term and of the residual."""
    p: float | None
    p_holm: float | None = None
    """`p`, corrected by Holm's method for the number of terms."""
    contrasts: tuple[Contrast, ...] = ()
    """Of a main effect, each level against the reference; of an interaction of two axes with two levels each,
    the difference of differences."""


@dataclass(frozen=True)
class Effects:
    """Main effects and interactions over the axes of a full grid, with seeds as blocks."""

    seeds: tuple[int, ...]
    """Those that all arms have; only these count."""
    lost: tuple[int, ...]
    """Seeds that some arm lacks, as its run failed or was not measured."""
    terms: tuple[Term, ...]
    std: float | None
    """Residual standard deviation."""


@dataclass(frozen=True)
class PairTest:
    """Two arms: Tukey's test over all seeds of all arms, and the paired test with Holm's correction."""

    arm: str
    other: str
    counts: tuple[int, int]
    mean: float
    """Difference of the means, arm minus other."""
    interval: Interval
    """Simultaneous over all pairs of arms (Tukey and Kramer)."""
    p_tukey: float
    pairs: int
    p_paired: float | None
    p_holm: float | None
    """`p_paired`, corrected for the number of pairs of arms."""


@dataclass(frozen=True)
class DunnettTest:
    """An arm against the baseline, not paired, corrected for all arms at once (Dunnett 1955)."""

    arm: str
    counts: tuple[int, int]
    mean: float
    interval: Interval
    """Simultaneous over all arms."""
    p: float


@dataclass(frozen=True)
class EquivalenceTest:
    """Two one-sided paired t tests that an arm differs from the baseline by less than a margin (TOST)."""

    arm: str
    pairs: int
    mean: float | None
    interval: Interval | None
    """The 90 % t interval, which lies within the margin exactly if p is below 0.05."""
    p: float | None
    p_holm: float | None = None


@dataclass(frozen=True)
class PublishedTest:
    """An arm against a published mean by Welch's test, or the reason why that is refused."""

    arm: str
    method: str
    source: str
    value: float
    mean: float | None = None
    interval: Interval | None = None
    df: float | None = None
    p: float | None = None
    p_holm: float | None = None
    refused: str = ""


@dataclass(frozen=True)
class Profile:
    """The share of an arm's runs with a better score than each threshold; failed runs have none."""

    arm: str
    runs: int
    failed: int
    thresholds: tuple[float, ...]
    shares: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    """Ends of the 95 % percentile interval of the stratified bootstrap at each threshold."""


@dataclass(frozen=True)
class Improvement:
    """How probable a run of an arm is better than one of the baseline, averaged over tasks."""

    arm: str
    tasks: int
    probability: float
    interval: Interval


@dataclass(frozen=True)
class Further:
    """All that was asked for; empty where it was not, or where `refused` says why it is not there."""

    effects: Effects | None = None
    all_pairs: tuple[PairTest, ...] = ()
    dunnett: tuple[DunnettTest, ...] = ()
    margin: float | None = None
    """Of equivalence, in units of the primary metric."""
    equivalence: tuple[EquivalenceTest, ...] = ()
    published: tuple[PublishedTest, ...] = ()
    profiles: tuple[Profile, ...] = ()
    improvement: tuple[Improvement, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    """Reason by what was asked for."""
