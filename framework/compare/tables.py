"""A comparison as tables of text, which the terminal, Markdown and LaTeX print alike."""

from collections.abc import Mapping, Sequence
from typing import Any

from slotlab.framework.compare.best_arms import LEVEL, proven_best
from slotlab.framework.compare.binding import threshold_origin
from slotlab.framework.compare.differing_settings import setting_text, short_names
from slotlab.framework.compare.further_tables import further_tables
from slotlab.framework.compare.per_image import LABEL
from slotlab.framework.compare.results import (
    Arm,
    Binding,
    ComparedMetric,
    Comparison,
    Difference,
    SequentialRule,
    SequentialTest,
    UnpairedDifference,
)
from slotlab.framework.compare.sequential import in_words
from slotlab.framework.compare.statistics import difference
from slotlab.framework.compare.text_table import NONE, TextTable, chance, decimals, head, interval, number
from slotlab.framework.system.privacy import nameless


def tables(comparison: Comparison, *, details: Sequence[ComparedMetric] | None = None) -> list[TextTable]:
    """Return the tables that have content.

    Args:
        comparison: what to show.
        details: the metrics with all their statistics and differences; None for all.
    """
    found = [overview(comparison)]
    if comparison.failed_below is not None:
        found.append(binding(comparison, comparison.metrics if details is None else details))
    if comparison.differing:
        found.append(settings(comparison))
    for metric in comparison.metrics if details is None else details:
        found.append(seeds(comparison, metric))
        if comparison.baseline is not None and len(comparison.arms) > 1:
            found.append(differences(comparison, metric))
        if comparison.sequential is not None and metric == comparison.primary:
            found.append(looks(comparison, comparison.sequential))
        if any(metric.name in arm.with_failed for arm in comparison.arms):
            found.append(failed_as_worst(comparison, metric))
        if any(metric.name in arm.unpaired for arm in comparison.arms):
            found.append(unpaired(comparison, metric))
        if any(arm.image_differences.get(metric.name) for arm in comparison.arms):
            found.append(image_differences(comparison, metric))
    if comparison.further is not None:
        found += further_tables(comparison, comparison.further)
    found.append(costs(comparison))
    if comparison.published:
        found.append(published(comparison))
    return found


def overview(comparison: Comparison) -> TextTable:
    """Return mean and standard deviation over seeds of every metric, as a paper prints them.

    With a threshold, how many runs bound stands first; where only some did, the primary metric's mean is
    that of those, since the mean of all describes no run.
    """
    bound = ("bound",) if comparison.failed_below is not None else ()
    heads = ("arm", *bound, "seeds", "failed", *(head(metric) for metric in comparison.metrics))
    rows = []
    for arm in comparison.arms:
        cells = [arm.name, *([] if arm.binding is None else [bound_runs(arm.binding)])]
        cells += [str(len(arm.members)), str(len(arm.failed))]
        cells += [_mean(comparison, arm, metric) for metric in comparison.metrics]
        rows.append(tuple(cells))
    best = frozenset(
        (comparison.arms.index(one), len(heads) - len(comparison.metrics) + column)
        for column, metric in enumerate(comparison.metrics)
        if (one := proven_best(comparison, metric)) is not None
    )
    title = f"{comparison.title}: mean ± standard deviation over seeds"
    note = f"Bold: the best mean, where it differs from '{comparison.baseline}' (corrected p below {LEVEL})."
    return TextTable(title, heads, tuple(rows), best=best, note=note if best else "")


def bound_runs(one: Binding) -> str:
    """Write how many runs bound."""
    return f"{one.bound} of {one.runs}"


def _mean(comparison: Comparison, arm: Arm, metric: ComparedMetric) -> str:
    found, places, condition = arm.statistics[metric.name], decimals(comparison, metric), ""
    if arm.binding is not None and arm.is_mixed and metric == comparison.primary:
        found, condition = arm.binding.given_bound[metric.name], "if bound "
    spread = "" if found.std is None else f" ± {found.std:.{places}f}"
    return condition + number(found.mean, places) + spread


def binding(comparison: Comparison, metrics: Sequence[ComparedMetric]) -> TextTable:
    """Return the rate of bound runs with its exact test, and metrics given that a run bound."""
    rows = []
    for arm in comparison.arms:
        if (one := arm.binding) is not None:
            given = [_given_bound(comparison, one, metric) for metric in metrics]
            cells = (number(one.rate, 2), interval(one.interval, 2), chance(one.p), chance(one.p_holm))
            rows.append((arm.name, bound_runs(one), *cells, *given))
    side = "at least" if comparison.primary.higher_is_better else "at most"
    threshold = f"{comparison.primary.name} {side} {comparison.failed_below:g}"
    columns = ("arm", "bound", "rate", "95 % interval", "p (Fisher)", "p (Holm)")
    conditional = (f"{head(metric)} if bound [95 % interval]" for metric in metrics)
    title = f"runs that bound: {threshold} ({threshold_origin(comparison)})"
    return TextTable(title, (*columns, *conditional), tuple(rows))


def _given_bound(comparison: Comparison, one: Binding, metric: ComparedMetric) -> str:
    found, places = one.given_bound[metric.name], decimals(comparison, metric)
    bounds = "" if found.interval is None else f" {interval(found.interval, places)}"
    return number(found.mean, places) + bounds


def settings(comparison: Comparison) -> TextTable:
    """Return the settings that differ between arms."""
    short, paths = short_names(comparison.differing), comparison.differing
    rows = (
        (arm.name, *(setting_text(arm.settings[path]) if path in arm.settings else NONE for path in paths))
        for arm in comparison.arms
    )
    heads = ("arm", *(short[path] for path in comparison.differing))
    return TextTable("settings that differ between arms", heads, tuple(rows), texts=len(heads))


def seeds(comparison: Comparison, metric: ComparedMetric) -> TextTable:
    """Return all statistics of one metric."""
    places = decimals(comparison, metric)
    rows = []
    for arm in comparison.arms:
        one = arm.statistics[metric.name]
        numbers = (one.mean, one.std, one.median, one.iqm)
        cells = (number(value, places) for value in numbers)
        rows.append((arm.name, str(one.count), *cells, interval(one.interval, places)))
    heads = ("arm", "seeds", "mean", "std", "median", "IQM", "95 % interval")
    return TextTable(f"{head(metric)} over seeds", heads, tuple(rows))


def differences(comparison: Comparison, metric: ComparedMetric) -> TextTable:
    """Return the paired differences to the baseline in one metric."""
    places = decimals(comparison, metric)
    rows = [
        _difference(arm.name, arm.differences[metric.name], places)
        for arm in comparison.arms
        if metric.name in arm.differences
    ]
    tested = ("pairs", "r", "difference", "95 % interval", "p", "p (Holm)", "d_z")
    heads = ("arm", *tested, "detectable difference (Holm)")
    return TextTable(
        f"{head(metric)}: difference to '{comparison.baseline}', paired by seed", heads, tuple(rows)
    )


def failed_as_worst(comparison: Comparison, metric: ComparedMetric) -> TextTable:
    """Return the means of finished runs, and beside them those with failed runs as the worst value.

    Where other arms have no failed run, they stand in the table as they are, to be compared with.
    """
    places, name = decimals(comparison, metric), metric.name
    whole = {arm.name: arm.with_failed.get(name, arm.statistics[name]) for arm in comparison.arms}
    base = None if comparison.baseline is None else whole[comparison.baseline].by_seed
    rows = []
    for arm in comparison.arms:
        apart = None if base is None or arm.name == comparison.baseline else base
        both = None if apart is None else difference(whole[arm.name].by_seed, apart).mean
        finished = arm.differences[name].mean if name in arm.differences else None
        cells = (number(arm.statistics[name].mean, places), number(whole[arm.name].mean, places))
        apart_cells = (number(finished, places, signed=True), number(both, places, signed=True))
        rows.append((arm.name, str(arm.statistics[name].count), str(len(arm.failed)), *cells, *apart_cells))
    heads = ("arm", "finished", "failed", "mean", "mean with failed", "difference", "difference with failed")
    title = f"{head(metric)}: failed runs as the worst value, {metric.worst:g}"
    return TextTable(title, heads, tuple(rows))


def looks(comparison: Comparison, rule: SequentialRule) -> TextTable:
    """Return the tests of the primary metric at the looks that the study declares."""
    places = decimals(comparison, comparison.primary)
    rows = [
        _looked(arm.name, arm.sequential, places, len(rule.looks))
        for arm in comparison.arms
        if arm.sequential is not None
    ]
    tested = ("difference", "repeated interval", "p", "rejects below", "sequential p", "p (Holm)", "decision")
    title = f"{head(comparison.primary)}: difference to '{comparison.baseline}' at declared looks"
    return TextTable(f"{title} ({in_words(rule)})", ("arm", "look", "pairs", *tested), tuple(rows))


def _looked(name: str, one: SequentialTest, places: int, looks: int) -> tuple[str, ...]:
    return (
        name,
        f"{one.look} of {looks}",
        str(one.counts[-1]) if one.counts else NONE,
        number(one.mean, places, signed=True),
        interval(one.interval, places, signed=True),
        chance(one.ps[-1] if one.ps else None),
        chance(one.levels[-1] if one.levels else None),
        chance(one.p),
        chance(one.p_holm),
        one.decision,
    )


def _difference(name: str, one: Difference, places: int) -> tuple[str, ...]:
    return (
        name,
        str(one.count),
        number(one.correlation, 2, signed=True),
        number(one.mean, places, signed=True),
        interval(one.interval, places, signed=True),
        chance(one.p),
        chance(one.p_holm),
        number(one.effect, 2, signed=True),
        _detectable(one, places),
    )


def _detectable(one: Difference | UnpairedDifference, places: int) -> str:
    """Write the detectable difference, and behind it that after Holm's correction."""
    if one.detectable_difference is None:
        return NONE
    return f"{number(one.detectable_difference, places)} ({number(one.detectable_difference_holm, places)})"


def unpaired(comparison: Comparison, metric: ComparedMetric) -> TextTable:
    """Return the differences to the baseline over all seeds, not paired."""
    places = decimals(comparison, metric)
    found = [(arm.name, arm.unpaired[metric.name]) for arm in comparison.arms if metric.name in arm.unpaired]
    rows = [
        (
            name,
            f"{one.counts[0]}, {one.counts[1]}",
            number(one.mean, places, signed=True),
            interval(one.interval, places, signed=True),
            number(one.df, 1),
            chance(one.p),
            chance(one.p_holm),
            _detectable(one, places),
        )
        for name, one in found
    ]
    tested = ("difference", "95 % interval", "df", "p (Welch)", "p (Holm)")
    title = f"{head(metric)}: difference to '{comparison.baseline}', not paired"
    return TextTable(title, ("arm", "seeds", *tested, "detectable difference (Holm)"), tuple(rows))


def image_differences(comparison: Comparison, metric: ComparedMetric) -> TextTable:
    """Return differences between checkpoints over images."""
    places = decimals(comparison, metric)
    rows = [
        (
            arm.name,
            str(one.seed),
            str(one.images),
            number(one.mean, places, signed=True),
            interval(one.interval, places, signed=True),
        )
        for arm in comparison.arms
        for one in arm.image_differences.get(metric.name, ())
    ]
    title = f"{head(metric)}: difference to '{comparison.baseline}' over images ({LABEL})"
    return TextTable(title, ("arm", "seed", "images", "difference", "95 % bootstrap interval"), tuple(rows))


def costs(comparison: Comparison) -> TextTable:
    """Return the mean cost of a run of each arm."""
    rows = tuple(_cost(arm) for arm in comparison.arms)
    heads = ("arm", "hours", "device hours", "images/s", "memory, GiB", "operations, TFLOP", "energy, kWh")
    return TextTable("cost of training a run, mean over runs", heads, rows)


def _cost(arm: Arm) -> tuple[str, ...]:
    cost = arm.cost
    quantities = (
        (cost.seconds, 3600),
        (cost.device_hours, 1),
        (cost.images_per_second, 1),
        (cost.memory, 2**30),
        (cost.flops, 1e12),
        (cost.energy_kwh, 1),
    )
    return (arm.name, *(NONE if value is None else f"{value / unit:.3g}" for value, unit in quantities))


def published(comparison: Comparison) -> TextTable:
    """Return published numbers under the same protocol, each with what its source says its spread is."""
    names = ("method", "metric", "value", "std", "spread", "seeds", "train", "source")
    rows = (tuple(_text(value) for value in _told(row, names)) for row in comparison.published)
    heads = ("method", "metric", "mean", "±", "± is", "seeds", "trained on", "source")
    return TextTable("published numbers under the same protocol", heads, tuple(rows), texts=2)


def _told(row: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """Return the values of a published row: a standard error must not be read as a standard deviation."""
    kinds = {"std": "std", "standard_error": "standard error", None: "not said"}
    spread = None if row.get("std") is None else kinds[row.get("spread")]
    return [spread if name == "spread" else row.get(name) for name in names]


def _text(value: object) -> str:
    return NONE if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def facts(comparison: Comparison) -> list[str]:
    """Return the lines under the tables: the question, the conditions of evaluation, notes, runs left out."""
    plain = ("images", "data", "slots")  # their values name the fact already
    measured = (text if name in plain else f"{name} {text}" for name, text in comparison.measured.items())
    lines = [f"question: {comparison.question}"] if comparison.question else []
    lines.append(f"evaluated on: {', '.join(measured)}")
    lines += [f"note: {nameless(text)}" for text in comparison.notes]
    places = comparison.places
    lines += [f"left out: {places[item.path]}: {nameless(item.reason)}" for item in comparison.left_out]
    return lines
