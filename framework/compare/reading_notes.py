"""Notes for the reader of a comparison: what its numbers do not show, or show only with care."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from slotlab.framework.arithmetic.t_interval import Bounds
from slotlab.framework.compare.binding import threshold_origin
from slotlab.framework.compare.grouping import ACROSS
from slotlab.framework.compare.per_image import unpaired
from slotlab.framework.compare.pooled_errors import on_pooling
from slotlab.framework.compare.refusal import name_all
from slotlab.framework.compare.results import Arm, ComparedMetric, Comparison, Statistics
from slotlab.framework.compare.run_records import RunRecord
from slotlab.framework.compare.sequential import in_words
from slotlab.framework.compare.statistics import detectable, least_p
from slotlab.framework.compare.undeclared_changes import changes
from slotlab.framework.runs.measurement import is_untold


def notes_on(comparison: Comparison, *, wanted: str | None, per_image: bool) -> list[str]:
    """Return one sentence for each thing that is easily misread.

    Args:
        comparison: the comparison, without its notes.
        wanted: the name of the requested baseline arm; None if none was requested.
        per_image: whether checkpoints are compared over images too.
    """
    runs = [member.run for arm in comparison.arms for member in arm.members]
    found = [
        *on_baseline(comparison, wanted),
        *on_primary(comparison),
        *on_looks(comparison),
        *on_search(comparison),
        *on_halving(comparison),
        *on_arms(comparison),
        *on_trivial(comparison),
        *on_bounds(comparison),
        *on_binding(comparison),
        *on_conditions(comparison),
        *on_differences(comparison),
        *on_pooling(comparison),
        *on_data(comparison),
        *on_provenance(runs),
    ]
    if unfinished := [run.path for run in runs if run.state != "done"]:
        found.append(f"these runs are not finished, and count all the same: {name_all(unfinished)}")
    return [*found, *on_images(comparison)] if per_image else found


def on_baseline(comparison: Comparison, wanted: str | None) -> Iterator[str]:
    """Say why there are no differences to a baseline."""
    if comparison.baseline is None and wanted is not None:
        yield f"no run of the baseline arm '{wanted}' has been evaluated yet, so there are no differences"
    elif comparison.baseline is None and len(comparison.arms) > 1:
        yield f"there is no baseline arm; choose one with --baseline ({names(comparison.arms)})"


def on_primary(comparison: Comparison) -> Iterator[str]:
    """Say that the primary metric is not the one that was declared beforehand."""
    declared = comparison.declared
    if declared is not None and declared.primary != comparison.primary.name:
        yield (
            f"the primary metric is {comparison.primary.name}, not {declared.primary} as the study declares: "
            "its p is not corrected for this choice"
        )


def on_looks(comparison: Comparison) -> Iterator[str]:
    """Say by which rule a growing study is tested, and what was declared only after runs were measured."""
    declared, rule = comparison.declared, comparison.sequential
    if declared is not None:
        yield from changes(declared.history)
    if rule is not None:
        yield (
            f"tested by {in_words(rule)}, as the study declares; the table of declared looks decides about "
            f"{comparison.primary.name}, as the other p and intervals hold for one look only"
        )
        if waiting := [arm for arm in comparison.arms if arm.sequential and arm.sequential.waiting]:
            yield f"pairs beyond the last complete look count at the next one only: {names(waiting)}"
    elif declared is not None and declared.sequential is not None:
        yield f"the declared looks are about {declared.primary} alone, and are not applied here"


def on_search(comparison: Comparison) -> Iterator[str]:
    """Say that arms were chosen by the numbers that are compared."""
    search = comparison.declared.search if comparison.declared is not None else None
    if search is not None:
        yield (
            f"arms were searched ({search.sampler}, up to {search.trials} trials, seed {search.seed}) by "
            "these numbers: the best mean is too high, and p does not account for the search; train the "
            "arms that were chosen again with other seeds, as a study of its own, before they are compared"
        )


def on_halving(comparison: Comparison) -> Iterator[str]:
    """Say which arms were stopped early, and that the others were chosen."""
    rule = comparison.declared.halving if comparison.declared is not None else None
    if rule is None:
        return
    rungs = ", ".join(map(str, rule.rungs))
    fallen = "; ".join(f"{name} at step {step}" for name, step in rule.stopped.items())
    told = f"{len(rule.stopped)} ({fallen})" if fallen else "none"
    yield (
        f"arms that were stopped early, whose runs are left out and in no mean: {told}; the best "
        f"{rule.keep:.0%} by {rule.metric} went on from steps {rungs}, as the study declares"
    )
    if rule.stopped:
        split = comparison.measured.get("split", "the split")
        yield f"arms that went on were chosen by looks at first images of {split}, which are measured here"


def on_arms(comparison: Comparison) -> Iterator[str]:
    """Name the arms whose mean or interval is missing or incomplete."""
    arms, primary = comparison.arms, comparison.primary
    counts = {arm.name: arm.statistics[primary.name].count for arm in arms}
    if single := [arm for arm in arms if counts[arm.name] == 1]:
        yield f"one seed only, so there is no interval and no test: {names(single)}"
    if none := [arm for arm in arms if counts[arm.name] == 0]:
        yield f"no run has a value of {primary.name}: {names(none)}"
    if failed := [arm for arm in arms if arm.failed]:
        number = sum(len(arm.failed) for arm in failed)
        beside = "; a table has them as the worst value" if primary.worst is not None else ""
        yield f"failed runs, which have no value and are not in the means: {number} ({names(failed)}){beside}"


def on_trivial(comparison: Comparison) -> Iterator[str]:
    """Name the arms that are no better than something without training that was measured beside them."""
    primary = comparison.primary
    behind: dict[str, list[Arm]] = {}
    for arm in comparison.arms:
        mean, found = arm.statistics[primary.name].mean, best_beside(arm, primary)
        if found is None or mean is None:
            continue
        method, value = found
        if (mean <= value) if primary.higher_is_better else (mean >= value):
            behind.setdefault(f"{method}, {value:.3g}", []).append(arm)
    for told, arms in behind.items():
        yield f"no better in mean {primary.name} than a baseline without training ({told}): {names(arms)}"


def best_beside(arm: Arm, metric: ComparedMetric) -> tuple[str, float] | None:
    """Return the best of the methods that all runs of an arm measured beside the model, and its mean."""
    every = [member.evaluation.beside for member in arm.members]
    means = {}
    for method in set.intersection(*(set(one) for one in every)) if every else ():
        values = [value for one in every if (value := one[method].get(metric.name)) is not None]
        if len(values) == len(every):
            means[method] = sum(values) / len(values)
    if not means:
        return None
    sign = 1 if metric.higher_is_better else -1
    return max(sorted(means.items()), key=lambda item: sign * item[1])


def on_bounds(comparison: Comparison) -> Iterator[str]:
    """Name the arms whose interval is cut where the values of the primary metric end."""
    primary = comparison.primary
    if cut := [arm for arm in comparison.arms if is_cut(arm.statistics[primary.name], primary.bounds)]:
        ends = " to ".join("..." if end is None else f"{end:g}" for end in primary.bounds)
        text = f"intervals end at the bounds of {primary.name} ({ends}), beyond which no mean lies"
        yield f"{text}: {names(cut)}"


def is_cut(one: Statistics, bounds: Bounds) -> bool:
    """Return whether an interval ends at a bound that its mean does not lie on."""
    ends = () if one.interval is None else (one.interval.low, one.interval.high)
    return any(end == bound != one.mean for end, bound in zip(ends, bounds, strict=False))


def on_binding(comparison: Comparison) -> Iterator[str]:
    """Say which runs did not bind by which threshold, and for which arms no t interval fits."""
    primary = comparison.primary
    if comparison.failed_below is not None:
        side = "below" if primary.higher_is_better else "above"
        threshold = f"{primary.name} {side} {comparison.failed_below:g}"
        yield (
            f"runs with {threshold} did not bind; they are in the means "
            f"(threshold: {threshold_origin(comparison)})"
        )
    if mixed := [arm for arm in comparison.arms if arm.is_mixed]:
        yield (
            "some runs bound and others did not, so the t interval and the t test of the mean do not fit; "
            f"read the rate of bound runs, and the metric given that a run bound: {names(mixed)}"
        )


def on_conditions(comparison: Comparison) -> Iterator[str]:
    """Say in which conditions of evaluation the arms differ."""
    if unlike := [name for name in comparison.differing if name in ACROSS]:
        text = f"arms were evaluated under different conditions ({', '.join(unlike)})"
        yield f"{text}: differences are due to method and evaluation together"


def on_differences(comparison: Comparison) -> Iterator[str]:
    """Say which runs are paired, and what the tests can show at all."""
    if comparison.baseline is None:
        return
    primary, baseline = comparison.primary.name, comparison.baseline
    others = [arm for arm in comparison.arms if arm.name != baseline]
    seeds = set(comparison.arm(baseline).statistics[primary].by_seed)
    shared = {arm.name: arm.differences[primary].count for arm in others}
    if unequal := [
        arm for arm in others if shared[arm.name] and set(arm.statistics[primary].by_seed) != seeds
    ]:
        text = f"arms with other seeds than '{baseline}', of which only the shared ones are paired"
        yield f"{text}: {names(unequal)}"
    if lost := [arm for arm in others if arm.failed and not arm.members]:
        yield f"all runs failed, so there is no difference: {names(lost)}"
    if apart := [arm for arm in others if not shared[arm.name] and seeds and arm.statistics[primary].by_seed]:
        yield f"no seed in common with '{baseline}', so there is no difference: {names(apart)}"
    tests = sum(arm.differences[primary].p is not None for arm in others)
    for count in sorted(set(shared.values()) - {0, 1}):
        yield on_power(count, tests)
    if tests > 1:
        text = f"p (Holm) is corrected for the {tests} arms tested against '{baseline}'"
        yield f"{text}, in each metric separately"


def on_power(count: int, tests: int) -> str:
    """Say what tests of this many pairs of seeds can find, alone and corrected for the number of tests."""
    holm = f" ({detectable(count, tests=tests):.2f} with Holm's correction)" if tests > 1 else ""
    return (
        f"with {count} pairs, a paired t test finds a true effect of {detectable(count):.2f} standard "
        f"deviations of the differences{holm} in 80 of 100 studies; the smallest p of a Wilcoxon or "
        f"sign-flip test is {least_p(count):.3g}, that of a Mann-Whitney test of {count} and {count} seeds "
        f"{least_p(count, paired=False):.3g}"
    )


def on_data(comparison: Comparison) -> Iterator[str]:
    """Name runs that were evaluated on images of their own, and cautions about published numbers."""
    members = [member for arm in comparison.arms for member in arm.members]
    if unknown := [member.run.path for member in members if is_untold(member.evaluation.facts)]:
        yield (
            "these runs were evaluated on generated images without a record of which: each seed may have "
            "images of its own, and the standard deviation then includes that; 'slotlab evaluate' evaluates "
            f"all of them on the same images: {name_all(unknown)}"
        )
    if comparison.published:
        cautions = (str(text) for one in members for text in one.evaluation.facts.get("cautions") or ())
        for text in dict.fromkeys(cautions):
            yield f"published numbers cover all published images, and here a caution holds: {text}"


def on_provenance(runs: Sequence[RunRecord]) -> Iterator[str]:
    """Say which versions and devices are mixed, which is not refused but worth knowing."""
    facts: dict[str, Callable[[RunRecord], Any]] = {
        "versions of slotlab": lambda run: run.provenance.get("slotlab"),
        "commits of slotlab": lambda run: _short(run.provenance.get("commit")),
        "versions of torch": lambda run: run.provenance.get("packages", {}).get("torch"),
        "devices": lambda run: run.provenance.get("device"),
    }
    for name, value in facts.items():
        values = sorted({str(value(run)) for run in runs if value(run) is not None})
        if len(values) > 1:
            yield f"the runs were made with different {name}: {', '.join(values[:6])}"


def on_images(comparison: Comparison) -> Iterator[str]:
    """Say which arms could not be compared over images, and what intervals over images mean."""
    base = next((arm for arm in comparison.arms if arm.name == comparison.baseline), None)
    for arm in comparison.arms if base is not None else ():
        reason = unpaired(arm.members, base.members) if base is not None and arm is not base else None
        if reason:
            yield f"'{arm.name}' is not compared over images: {reason}"
    yield "intervals over images are about these checkpoints, not the methods: another seed may differ"


def _short(commit: str | None) -> str | None:
    """Shorten a commit, and keep `+changes` after it."""
    if commit is None:
        return None
    digits, plus, changes = commit.partition("+")
    return digits[:10] + plus + changes


def names(arms: Sequence[Arm], shown: int = 6) -> str:
    """Name some arms and count the rest."""
    rest = len(arms) - shown
    return ", ".join(arm.name for arm in arms[:shown]) + (f" and {rest} more" if rest > 0 else "")
