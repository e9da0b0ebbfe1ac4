"""Tests of many arms at once: all pairs (Tukey), all against the baseline (Dunnett), equivalence (TOST)."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
from scipy import stats

from slotlab.framework.compare.further_results import DunnettTest, EquivalenceTest, PairTest
from slotlab.framework.compare.results import Interval
from slotlab.framework.compare.statistics import correct, deviation, difference

Values = Mapping[str, Mapping[int, float]]
"""The value of each seed, by arm."""


def testable(values: Values) -> str:
    """Return why arms cannot be compared with a common variance; empty if they can."""
    if len(values) < 2:
        return "fewer than two arms have two seeds with a value"
    if not any(deviation(list(one.values())) for one in values.values()):
        return "no arm scatters over seeds"
    return ""


def scattering(values: Values) -> Values:
    """Return the arms with two values or more."""
    return {name: one for name, one in values.items() if len(one) > 1}


def all_pairs(values: Values) -> list[PairTest]:
    """Compare all pairs of arms, which need two seeds each; see `testable`.

    By Tukey's honestly significant difference (Tukey 1949; Kramer 1956 for unequal numbers of seeds), which
    does not pair and takes one variance for all arms, and by paired t tests, corrected by Holm's method.
    """
    names = list(values)
    found = stats.tukey_hsd(*(list(one.values()) for one in values.values()))
    bounds = found.confidence_interval(0.95)
    pairs = list(combinations(range(len(names)), 2))
    paired = [difference(values[names[j]], values[names[i]]) for i, j in pairs]
    corrected = correct([one.p for one in paired])
    return [
        PairTest(
            arm=names[j],
            other=names[i],
            counts=(len(values[names[j]]), len(values[names[i]])),
            mean=float(found.statistic[j, i]),
            interval=Interval(float(bounds.low[j, i]), float(bounds.high[j, i])),
            p_tukey=float(np.clip(found.pvalue[j, i], 0, 1)),
            pairs=one.count,
            p_paired=one.p,
            p_holm=p_holm,
        )
        for (i, j), one, p_holm in zip(pairs, paired, corrected, strict=True)
    ]


def dunnett(values: Values, baseline: str) -> list[DunnettTest]:
    """Compare all arms with the baseline, not paired, corrected at once (Dunnett 1955); see `testable`.

    The multivariate t distribution is integrated by seeded quasi-Monte Carlo, so the last digits are those of
    the version of scipy.
    """
    others = [name for name in values if name != baseline]
    control = list(values[baseline].values())
    samples = [list(values[name].values()) for name in others]
    found = stats.dunnett(*samples, control=control, random_state=np.random.default_rng(0))
    bounds = found.confidence_interval(0.95)
    return [
        DunnettTest(
            arm=name,
            counts=(len(samples[i]), len(control)),
            mean=float(np.mean(samples[i]) - np.mean(control)),
            interval=Interval(float(bounds.low[i]), float(bounds.high[i])),
            p=float(np.clip(found.pvalue[i], 0, 1)),
        )
        for i, name in enumerate(others)
    ]


def equivalence(values: Values, baseline: str, margin: float) -> list[EquivalenceTest]:
    """Test that arms differ from the baseline by less than a margin, paired by seed (Schuirmann 1987)."""
    found = [
        one_equivalence(name, one, values[baseline], margin)
        for name, one in values.items()
        if name != baseline
    ]
    ps = correct([one.p for one in found])
    return [replace(one, p_holm=p_holm) for one, p_holm in zip(found, ps, strict=True)]


def one_equivalence(
    arm: str, own: Mapping[int, float], base: Mapping[int, float], margin: float
) -> EquivalenceTest:
    """Test one arm; equal pairs have no p, as nothing is known of their spread."""
    one = difference(own, base)
    if one.mean is None or not one.std:
        return EquivalenceTest(arm, one.count, one.mean, None, None)
    error, df = one.std / one.count**0.5, one.count - 1
    p = max(stats.t.sf((one.mean + margin) / error, df), stats.t.cdf((one.mean - margin) / error, df))
    half = float(stats.t.ppf(0.95, df)) * error
    return EquivalenceTest(arm, one.count, one.mean, Interval(one.mean - half, one.mean + half), float(p))
