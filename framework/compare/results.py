"""What a comparison consists of: arms, their statistics and paired differences. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slotlab.framework.compare.evaluation_record import EvaluationRecord
from slotlab.framework.compare.run_records import RunRecord
from slotlab.framework.study.folder import PlannedHalving, PlannedSearch
from slotlab.framework.study.history import PastPlan
from slotlab.framework.system.privacy import places

if TYPE_CHECKING:
    from slotlab.framework.compare.further_results import Further


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval, in units of the metric."""

    low: float
    high: float


@dataclass(frozen=True)
class ComparedMetric:
    """A metric that is compared."""

    name: str
    higher_is_better: bool
    bounds: tuple[float | None, float | None] = (None, None)
    """The least and greatest possible value; None where there is no bound or it is not known."""

    @property
    def worst(self) -> float | None:
        """The worst possible value; None where there is no bound or it is not known."""
        return self.bounds[0 if self.higher_is_better else 1]


@dataclass(frozen=True)
class Statistics:
    """Statistics of one metric over the seeds of one arm. Each field is None where it has no value."""

    by_seed: Mapping[int, float]
    """The value of each run, by rising seed. Runs where the metric is undefined are left out."""
    mean: float | None
    std: float | None
    """Standard deviation over seeds (n - 1); None for one seed."""
    median: float | None
    iqm: float | None
    """Interquartile mean: the mean without the lowest and highest n // 4 seeds."""
    interval: Interval | None
    """Student's t interval of the mean; None for one seed."""

    @property
    def count(self) -> int:
        """The number of seeds with a value."""
        return len(self.by_seed)


@dataclass(frozen=True)
class Difference:
    """An arm minus the baseline arm, paired by seed, in one metric. None where it has no value."""

    by_seed: Mapping[int, float]
    """Arm minus baseline, for the seeds that both have, by rising seed."""
    mean: float | None
    std: float | None
    """Standard deviation of the differences (n - 1)."""
    interval: Interval | None
    """Student's t interval of the mean difference."""
    t: float | None
    """The statistic of the paired t test, with n - 1 degrees of freedom."""
    p: float | None
    """The two-sided p value of the paired t test."""
    p_holm: float | None
    """`p`, corrected by Holm's method for the number of arms that are compared with the baseline."""
    effect: float | None
    """Mean difference in standard deviations of the differences (Cohen's d_z), with Hedges' correction;
    None for fewer than three pairs."""
    detectable: float | None
    """The smallest d_z that a paired t test at 5 % finds in 80 of 100 studies with this many seeds."""
    least_p: float | None
    """The smallest two-sided p that a Wilcoxon or sign-flip test of this many pairs can give."""
    note: str = ""
    """Why a field has no value, or which seeds are not paired; may be empty."""
    correlation: float | None = None
    """Pearson's correlation of the pairs, by which pairing gains; None for fewer than three pairs, and if
    an arm is constant."""
    detectable_holm: float | None = None
    """`detectable` at the strictest level of Holm's method: 5 % by the number of arms that are tested."""

    @property
    def count(self) -> int:
        """The number of pairs."""
        return len(self.by_seed)

    @property
    def detectable_difference(self) -> float | None:
        """`detectable` in units of the metric, from the observed spread; None for fewer than three pairs.

        The spread of two pairs rests on one number: half of such studies observe less than 0.68 of the
        true spread, and would seem sharper than they are. Also None where no spread was observed.
        """
        return self._in_units(self.detectable)

    @property
    def detectable_difference_holm(self) -> float | None:
        """`detectable_holm` in units of the metric, as `detectable_difference` is."""
        return self._in_units(self.detectable_holm)

    def _in_units(self, effect: float | None) -> float | None:
        return None if effect is None or not self.std or self.count < 3 else effect * self.std


@dataclass(frozen=True)
class UnpairedDifference:
    """An arm minus the baseline arm over all seeds of both, not paired. None where it has no value."""

    counts: tuple[int, int]
    """The seeds of the arm, and those of the baseline."""
    mean: float | None
    """The difference of the means."""
    interval: Interval | None = None
    """Welch's interval of the difference."""
    t: float | None = None
    df: float | None = None
    """Degrees of freedom by Welch and Satterthwaite."""
    p: float | None = None
    """The two-sided p value of Welch's t test."""
    p_holm: float | None = None
    """`p`, corrected by Holm's method for the number of arms that are compared with the baseline."""
    detectable_difference: float | None = None
    """The smallest true difference that such a test at 5 % finds in 80 of 100 studies, from the observed
    spread; None if an arm has fewer than three seeds, or no spread was observed."""
    detectable_difference_holm: float | None = None
    """The same at the strictest level of Holm's method."""


@dataclass(frozen=True)
class ImageDifference:
    """One checkpoint minus another of the same seed, over images. It says nothing about methods."""

    seed: int
    images: int
    """The number of images for which both checkpoints have a value."""
    mean: float
    interval: Interval | None
    """BCa bootstrap interval over images, paired; None where it is not defined."""


@dataclass(frozen=True)
class ArmCost:
    """The cost of a run, as the mean over the runs of an arm that recorded it; None where none did."""

    seconds: float | None
    """Wall time of the training."""
    device_hours: float | None
    """Wall time in hours times the number of processes."""
    images_per_second: float | None
    memory: float | None
    """Peak memory in bytes."""
    flops: float | None
    """Floating-point operations of the whole training."""
    energy_kwh: float | None
    devices: tuple[str, ...]
    """The devices that the runs were trained on."""
    parameters: float | None = None
    """Weights that are trained; None for runs that did not record it."""


@dataclass(frozen=True)
class Binding:
    """How many runs of an arm bound their slots, and the metrics given that they did."""

    bound: int
    """The runs whose primary metric is at least as good as the threshold."""
    runs: int
    """The runs with a value of the primary metric."""
    interval: Interval | None
    """The exact interval of the rate (Clopper and Pearson); None without a run."""
    given_bound: Mapping[str, Statistics]
    """By metric, over the bound runs alone: conditional on binding."""
    p: float | None = None
    """The two-sided p of Fisher's exact test against the baseline; None for the baseline itself."""
    p_holm: float | None = None
    """`p`, corrected by Holm's method for the number of arms that are compared with the baseline."""

    @property
    def rate(self) -> float | None:
        """The share of runs that bound; None without a run."""
        return self.bound / self.runs if self.runs else None

    @property
    def mixed(self) -> bool:
        """Whether some runs bound and others did not: then no t interval over all of them fits."""
        return 0 < self.bound < self.runs


@dataclass(frozen=True)
class SequentialRule:
    """When one looks at a growing study, and how much of alpha each look may spend."""

    rule: str
    """`obrien_fleming` or `pocock`."""
    looks: tuple[int, ...]
    """After how many of the seeds one looks, rising; the last is the most."""
    alpha: float
    """The two-sided level of all looks together."""
    seeds: tuple[int, ...]
    """The seeds, in the order in which they are trained."""


@dataclass(frozen=True)
class SequentialTest:
    """The paired t test of an arm at the looks of a rule, in the primary metric."""

    look: int
    """The last look that is complete, from 1; 0 if none is."""
    counts: tuple[int, ...]
    """The pairs at each look so far: of the look's seeds, those that both arms have."""
    ps: tuple[float | None, ...]
    """The uncorrected two-sided p of the paired t test at each look so far."""
    levels: tuple[float, ...]
    """The p below which each look so far rejects, without Holm's correction."""
    waiting: int = 0
    """Pairs beyond the last look, which count at the next one only."""
    mean: float | None = None
    """The mean difference at the last look."""
    interval: Interval | None = None
    """The repeated confidence interval: those of all looks together hold the truth in 1 - alpha."""
    p: float | None = None
    """The sequential p value: the least alpha at which a look so far would have rejected."""
    p_holm: float | None = None
    """`p`, corrected by Holm's method for the number of arms that are compared with the baseline."""
    decision: str = "go on"
    """`different`, `go on`, or `not different` after the last planned look."""


@dataclass(frozen=True)
class Declared:
    """What a study's plan declared before its runs were compared."""

    primary: str
    failed_below: float | None
    sequential: SequentialRule | None = None
    equivalent_within: float | None = None
    search: PlannedSearch | None = None
    """By what the arms were chosen; None if all were named beforehand."""
    halving: PlannedHalving | None = None
    """By which rule arms were stopped early, and which were; None for no such rule."""
    history: tuple[PastPlan, ...] = ()
    """What the study planned before, and at last; empty if it is not known."""


@dataclass(frozen=True)
class MeasuredRun:
    """A run of an arm and the evaluation that is compared."""

    run: RunRecord
    evaluation: EvaluationRecord
    facts: Mapping[str, str] = field(default_factory=dict, compare=False, hash=False)
    """The conditions of the evaluation in words, by the names in `evaluation_facts.KEYS` and `FACTS`."""


@dataclass(frozen=True)
class Arm:
    """Runs that differ in nothing but the seed."""

    name: str
    settings: Mapping[str, Any]
    """The settings that differ between arms, by path, in the order of `Comparison.differing`; a
    setting that this arm does not have is left out."""
    members: tuple[MeasuredRun, ...]
    """The runs that count, by rising seed."""
    failed: tuple[RunRecord, ...]
    """The runs that failed. They have no value; only their number is shown."""
    not_bound: tuple[MeasuredRun, ...]
    """Those of `members` that did not bind: their primary metric is beyond the threshold."""
    statistics: Mapping[str, Statistics]
    """By metric."""
    differences: Mapping[str, Difference]
    """Differences to the baseline, by metric; empty for the baseline itself, or without a baseline."""
    image_differences: Mapping[str, tuple[ImageDifference, ...]]
    """Differences to the baseline over images, by metric, one per shared seed; empty unless requested."""
    cost: ArmCost
    binding: Binding | None = None
    """How many of `members` bound; None without a threshold."""
    unpaired: Mapping[str, UnpairedDifference] = field(default_factory=dict)
    """Unpaired differences to the baseline, by metric; empty unless requested."""
    with_failed: Mapping[str, Statistics] = field(default_factory=dict)
    """By metric with a known worst value, over all seeds that ended, a failed run having that value; empty
    without failed runs."""
    sequential: SequentialTest | None = None
    """The test of the primary metric against the baseline at the looks that the study declares."""

    @property
    def is_mixed(self) -> bool:
        """Whether some of its runs bound and others did not."""
        return self.binding is not None and self.binding.mixed


@dataclass(frozen=True)
class LeftOut:
    """A run that does not count, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Comparison:
    """Everything that tables, figures and the report page show."""

    title: str
    """The study's name, or the folders that were given."""
    question: str
    """The question that the study asks; may be empty."""
    metrics: tuple[ComparedMetric, ...]
    primary: ComparedMetric
    baseline: str | None
    """The name of the arm that the others are compared with."""
    arms: tuple[Arm, ...]
    """In the order of the study's plan, else sorted by their settings."""
    differing: tuple[str, ...]
    """Paths of the settings that differ between arms."""
    measured: Mapping[str, str]
    """The facts that all evaluations share, in words: dataset, split, protocol, filter, masks, images."""
    failed_below: float | None
    """The threshold of the primary metric beyond which a run did not bind."""
    declared: Declared | None = None
    """What the study declared; None if not exactly one study is compared."""
    sequential: SequentialRule | None = None
    """The rule for looks by which the primary metric is tested against the baseline; None for one look."""
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader must know to interpret the numbers correctly."""
    published: tuple[Mapping[str, Any], ...] = ()
    """Published numbers under the same protocol, as the evaluations list them."""
    further: "Further | None" = None
    """What was asked for beyond differences to the baseline."""
    studies: tuple[Path, ...] = field(default=())
    """The folders of the studies that are compared."""

    @property
    def places(self) -> Mapping[Path, str]:
        """How the folder of each run is written: without the paths of the user who made it."""
        runs = [run for arm in self.arms for run in (*(member.run for member in arm.members), *arm.failed)]
        return places([*(run.path for run in runs), *(item.path for item in self.left_out)])

    def arm(self, name: str) -> Arm:
        """Return the arm of this name, which must exist."""
        return next(arm for arm in self.arms if arm.name == name)
