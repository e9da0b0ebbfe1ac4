"""The summary of a comparison in sentences that claim no more than the seeds support."""

from collections.abc import Iterator

from slotlab.framework.compare.best_arms import LEVEL
from slotlab.framework.compare.results import Arm, Binding, Comparison, Difference, Interval
from slotlab.framework.report.number_format import (
    decimals_of,
    interval,
    limit,
    number,
    plural,
    probability,
    signed,
)
from slotlab.framework.report.page import Finding

MOST = 5
"""How many clearly better or worse arms have a sentence each; of more, the two clearest have one."""


def findings(comparison: Comparison) -> list[Finding]:
    """Return the sentences, the most important first."""
    return [
        *binding(comparison),
        *leader(comparison),
        *differences(comparison),
        *resolution(comparison),
        *cautions(comparison),
    ]


def binding(comparison: Comparison) -> Iterator[Finding]:
    """Say how often arms bind of which only some runs did: a mean of theirs describes no run."""
    mixed = [(arm, arm.binding) for arm in comparison.arms if arm.binding is not None and arm.is_mixed]
    for arm, one in mixed[:MOST]:
        yield Finding(f"{arm.name} bound in {bound_runs(comparison, one)}.")
    if mixed:
        more = f" {len(mixed) - MOST} more arms are mixed so." if len(mixed) > MOST else ""
        yield Finding(
            "Where only some runs bound, the t interval and the t test of the mean do not fit; read the "
            f"rate, and the mean of the runs that bound.{more}",
            caution=True,
        )


def bound_runs(comparison: Comparison, one: Binding) -> str:
    """Return how many runs bound, with interval, mean of those and test, in words."""
    name = comparison.primary.name
    given, places = one.given_bound[name], decimals_of(comparison, name)
    mean = (
        f"{number(given.mean, places)} {interval(given.interval, places) if given.interval else ''}".strip()
    )
    tested = (
        f"; Fisher's exact test against {comparison.baseline}: corrected p {equals(one.p_holm)}"
        if one.p_holm is not None
        else ""
    )
    rate = f"{one.bound} of {plural(one.runs, 'run')} (rate {number(one.rate, 2)}, exact 95 % interval"
    return f"{rate} {interval(one.interval, 2)}); mean {name} of those {mean}{tested}"


def leader(comparison: Comparison) -> Iterator[Finding]:
    """Say which arm has the best mean."""
    metric = comparison.primary
    known = [arm for arm in comparison.arms if mean_of(arm, metric.name) is not None]
    if len(known) < 2:
        return
    chosen = max if metric.higher_is_better else min
    best = chosen(known, key=lambda arm: mean_of(arm, metric.name) or 0.0)
    found = best.statistics[metric.name]
    places = decimals_of(comparison, metric.name)
    bounds = f", 95 % interval {interval(found.interval, places)}" if found.interval else ""
    bounds = ", not all of which bound" if best.is_mixed else bounds
    word = "highest" if metric.higher_is_better else "lowest"
    yield Finding(
        f"The {word} mean {metric.name} is that of {best.name}: {number(found.mean, places)} "
        f"({plural(found.count, 'seed')}{bounds})."
    )


def mean_of(arm: Arm, metric: str) -> float | None:
    """Return the arm's mean over seeds, or None."""
    found = arm.statistics.get(metric)
    return None if found is None else found.mean


def differences(comparison: Comparison) -> Iterator[Finding]:
    """Say which arms differ from the baseline in the primary metric."""
    metric = comparison.primary
    if comparison.baseline is None:
        if len(comparison.arms) > 1:
            yield Finding("No arm is named as the baseline, so no difference is tested.", caution=True)
        return
    found = [(arm, arm.differences[metric.name]) for arm in comparison.arms if metric.name in arm.differences]
    tested = [(arm, difference) for arm, difference in found if difference.p_holm is not None]
    if found and not tested:
        yield Finding(
            f"No difference to {comparison.baseline} can be tested, since that needs at least two seeds that "
            "both arms have. The differences here may be due to the seeds alone.",
            caution=True,
        )
        return
    clear = [(arm, difference) for arm, difference in tested if is_clear(difference)]
    unclear = [(arm, difference) for arm, difference in tested if not is_clear(difference)]
    if len(clear) > MOST:
        yield Finding(tally(comparison, [difference for _, difference in clear]))
        clear = sorted(clear, key=lambda pair: abs(pair[1].effect or 0.0), reverse=True)[:2]
    for arm, difference in clear:
        yield Finding(sentence(comparison, arm, difference))
    if len(unclear) <= 2:
        for arm, difference in unclear:
            yield Finding(sentence(comparison, arm, difference))
    else:
        yield Finding(together(comparison, unclear))


def sentence(comparison: Comparison, arm: Arm, difference: Difference) -> str:
    """Return a sentence on the difference of one arm to the baseline."""
    metric, base = comparison.primary, comparison.baseline
    places = decimals_of(comparison, metric.name)
    evidence = (
        f"{signed(difference.mean, places)} {metric.name}, uncorrected 95 % interval "
        f"{interval(difference.interval, places, sign=True)}, "
        f"{plural(difference.count, 'pair')} of seeds, corrected p {equals(difference.p_holm)}"
    )
    if not is_clear(difference):
        return (
            f"{arm.name} and {base} do not differ significantly ({evidence}), which does not show them equal."
        )
    return f"{arm.name} is {direction(comparison, difference)} than {base} ({evidence})."


def equals(p: float | None) -> str:
    """Return a p value with `=` or `<` before it."""
    text = probability(p)
    return text if text.startswith("<") else f"= {text}"


def is_clear(difference: Difference) -> bool:
    """Return whether the corrected test finds a difference."""
    return difference.p_holm is not None and difference.p_holm < LEVEL


def direction(comparison: Comparison, difference: Difference) -> str:
    """Return `better` or `worse`."""
    return "better" if ((difference.mean or 0.0) > 0) == comparison.primary.higher_is_better else "worse"


def tally(comparison: Comparison, clear: list[Difference]) -> str:
    """Return a sentence on how many arms are better and how many worse."""
    words = [direction(comparison, difference) for difference in clear]
    better, worse, base = words.count("better"), words.count("worse"), comparison.baseline
    metric = comparison.primary.name
    return (
        f"Compared with {base}, {plural(better, 'arm is better', 'arms are better')} and {worse} worse in "
        f"{metric} (corrected p < {LEVEL}). The two clearest:"
    )


def together(comparison: Comparison, unclear: list[tuple[Arm, Difference]]) -> str:
    """Return a sentence on arms that do not differ significantly from the baseline, with their intervals."""
    which = plural(len(unclear), "arm")
    if len(unclear) <= MOST:
        which += f" ({', '.join(arm.name for arm, _ in unclear)})"
    least = probability(min(difference.p_holm or 0.0 for _, difference in unclear))
    metric, bounds = comparison.primary.name, [item.interval for _, item in unclear if item.interval]
    reach = Interval(min(item.low for item in bounds), max(item.high for item in bounds))
    within = interval(reach, decimals_of(comparison, metric), sign=True)
    return (
        f"{which} do not differ significantly from {comparison.baseline} (corrected p from {least}), "
        f"which does not show them equal. Their intervals lie within {within} {metric}."
    )


def resolution(comparison: Comparison) -> Iterator[Finding]:
    """Say which differences a study with this many seeds can find."""
    metric = comparison.primary.name
    every = [arm.differences[metric] for arm in comparison.arms if metric in arm.differences]
    found = [item for item in every if item.detectable_difference is not None]
    sizes = [item.detectable_difference for item in found if item.detectable_difference is not None]
    if not sizes:
        return
    places = decimals_of(comparison, metric)
    few, many = min(item.count for item in found), max(item.count for item in found)
    seeds = plural(many, "seed") if few == many else f"{few} to {many} seeds"
    least, most = number(min(sizes), places), number(max(sizes), places)
    reach = least if least == most else f"{least} to {most}, depending on the arm"
    strict = [
        item.detectable_difference_holm for item in found if item.detectable_difference_holm is not None
    ]
    after = f", and up to {number(max(strict), places)} after it" if len(strict) > 1 else ""
    yield Finding(
        f"With {seeds} and the observed spread, the smallest difference in {metric} that four of five "
        f"such studies would find is {reach}, before correction{after}."
    )


def cautions(comparison: Comparison) -> Iterator[Finding]:
    """Say which runs failed, did not bind or do not count."""
    failed = sum(len(arm.failed) for arm in comparison.arms)
    counted = sum(len(arm.members) for arm in comparison.arms)
    if failed:
        text = f"{failed} of {plural(failed + counted, 'run')} failed and are not in the means"
        yield Finding(f"{text}; section Runs has the reasons.", caution=True)
    not_bound = sum(len(arm.not_bound) for arm in comparison.arms)
    if not_bound:
        text = f"{plural(not_bound, 'run')} did not bind ({limit(comparison)}); such runs are in the means."
        yield Finding(text, caution=True)
    if comparison.left_out:
        runs = plural(len(comparison.left_out), "run")
        yield Finding(f"{runs} could not be counted; section Runs has the reasons.", caution=True)
