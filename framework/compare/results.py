"""What a comparison consists of: arms, their statistics, paired differences. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slotlab.framework.compare.evaluation_record import EvaluationRecord
from slotlab.framework.compare.records import RunRecord
from slotlab.framework.system.privacy import places


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval, in units of the metric."""

    low: float
    high: float


@dataclass(frozen=True)
class Metric:
    """A metric that is compared."""

    name: str
    higher_is_better: bool
    bounds: tuple[float | None, float | None] = (None, None)
    """The least and greatest value possible; None where there is none, or it is not known."""


@dataclass(frozen=True)
class Statistics:
    """What the seeds of one arm say about one metric. Each field is None where it has no value."""

    by_seed: Mapping[int, float]
    """The metric of each run, by rising seed. Runs where it is undefined are left out."""
    mean: float | None
    std: float | None
    """Standard deviation over seeds (n - 1); None for one seed."""
    median: float | None
    iqm: float | None
    """Interquartile mean: without the lowest and highest n // 4 seeds."""
    interval: Interval | None
    """Student's t interval of the mean; None for one seed."""

    @property
    def count(self) -> int:
        """The number of seeds with a value."""
        return len(self.by_seed)


@dataclass(frozen=True)
class Difference:
    """One arm less the baseline arm, paired by seed, in one metric. None where it has no value."""

    by_seed: Mapping[int, float]
    """Arm less baseline, for the seeds that both have, by rising seed."""
    mean: float | None
    std: float | None
    """Standard deviation of the differences (n - 1)."""
    interval: Interval | None
    """Student's t interval of the mean difference."""
    t: float | None
    """Of the paired t test, with n - 1 degrees of freedom."""
    p: float | None
    """Two-sided, of the paired t test."""
    p_holm: float | None
    """Corrected for the number of arms that are compared with the baseline in this metric (Holm)."""
    effect: float | None
    """Mean difference in standard deviations of the differences (Cohen's d_z), with Hedges' correction;
    None for fewer than three pairs."""
    detectable: float | None
    """The smallest d_z that a paired t test finds in 80 of 100 studies of so many seeds, at 5 %."""
    least_p: float | None
    """The smallest two-sided p that a Wilcoxon or sign-flip test of so many pairs can give."""
    note: str = ""
    """Why something has no value, or that seeds are not paired; empty if there is nothing to say."""

    @property
    def count(self) -> int:
        """The number of pairs."""
        return len(self.by_seed)

    @property
    def detectable_difference(self) -> float | None:
        """`detectable` in units of the metric, from the spread that was seen; None for less than three pairs.

        The spread of two pairs is one number: half of such studies see less than 0.68 of the true one,
        and would seem to be sharper than they are. None where no spread was seen, too.
        """
        if self.detectable is None or not self.std or self.count < 3:
            return None
        return self.detectable * self.std


@dataclass(frozen=True)
class ImageDifference:
    """One checkpoint less another one of the same seed, over images: no statement about methods."""

    seed: int
    images: int
    """Those where both checkpoints have a value."""
    mean: float
    interval: Interval | None
    """BCa bootstrap over images, paired; None where it is not defined."""


@dataclass(frozen=True)
class Cost:
    """What a run of the arm takes, the mean over runs that say so. None where none does."""

    seconds: float | None
    """Wall time of the training."""
    device_hours: float | None
    """Hours times processes."""
    images_per_second: float | None
    memory: float | None
    """Peak, in bytes."""
    flops: float | None
    """Of the whole training."""
    energy_kwh: float | None
    devices: tuple[str, ...]
    """On which the runs were made."""


@dataclass(frozen=True)
class Member:
    """A run of an arm and the evaluation that is compared."""

    run: RunRecord
    evaluation: EvaluationRecord
    facts: Mapping[str, str] = field(default_factory=dict, compare=False, hash=False)
    """What was measured, in words, by the names of `facts.KEYS` and `facts.FACTS`."""


@dataclass(frozen=True)
class Arm:
    """Runs that differ in nothing but the seed."""

    name: str
    settings: Mapping[str, Any]
    """By path, the settings that differ between arms, in the order of `Comparison.differing`; a
    setting that this arm does not have is left out."""
    members: tuple[Member, ...]
    """Runs that are counted, by rising seed."""
    failed: tuple[RunRecord, ...]
    """Runs that ended as failed: they have no value, and are counted."""
    unbound: tuple[Member, ...]
    """Of `members`, those whose primary metric is on the wrong side of the threshold."""
    statistics: Mapping[str, Statistics]
    """By metric."""
    differences: Mapping[str, Difference]
    """To the baseline, by metric; empty for the baseline itself, or if there is none."""
    image_differences: Mapping[str, tuple[ImageDifference, ...]]
    """To the baseline over images, by metric, one for each shared seed; empty unless asked for."""
    cost: Cost


@dataclass(frozen=True)
class LeftOut:
    """A run that is not counted, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Comparison:
    """Everything that a table, a figure or a page shows."""

    title: str
    """The study's name, or what was given."""
    question: str
    """The study's; may be empty."""
    metrics: tuple[Metric, ...]
    primary: Metric
    baseline: str | None
    """The name of the arm that the others are compared with."""
    arms: tuple[Arm, ...]
    """In the order of the study's plan; else by their settings."""
    differing: tuple[str, ...]
    """Paths of the settings that differ between arms."""
    measured: Mapping[str, str]
    """What all arms have in common: dataset, split, protocol, filter, masks, images."""
    failed_below: float | None
    """The threshold of the primary metric beyond which a run counts as failed to bind."""
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader must know to read the numbers right."""
    published: tuple[Mapping[str, Any], ...] = ()
    """Published numbers under the same protocol, as the evaluations list them."""
    studies: tuple[Path, ...] = field(default=())
    """The folders of the studies that are compared."""

    @property
    def places(self) -> Mapping[Path, str]:
        """How the folder of each run is written; nothing of where its user keeps them."""
        runs = [run for arm in self.arms for run in (*(member.run for member in arm.members), *arm.failed)]
        return places([*(run.path for run in runs), *(item.path for item in self.left_out)])

    def arm(self, name: str) -> Arm:
        """Return the arm of a name that is there."""
        return next(arm for arm in self.arms if arm.name == name)
