"""Further tests of the primary metric as tables of text."""

from collections.abc import Iterator

from slotlab.framework.compare.further_results import Effects, Further, Profile
from slotlab.framework.compare.results import Comparison
from slotlab.framework.compare.text_table import NONE, TextTable, chance, decimals, head, interval, number

SHOWN = 5
"""How many thresholds of a profile the table shows; JSON has all."""


def further_tables(comparison: Comparison, found: Further) -> list[TextTable]:
    """Return the tables that have content, and one of what could not be tested."""
    tables = [] if found.effects is None else [effects(comparison, found.effects)]
    tables += [*pairs(comparison, found), *dunnett(comparison, found), *equivalence(comparison, found)]
    tables += [*published(comparison, found), *profiles(comparison, found)]
    if found.refused:
        rows = tuple(found.refused.items())
        tables.append(TextTable("not tested", ("asked for", "reason"), rows, texts=2))
    return tables


def effects(comparison: Comparison, found: Effects) -> TextTable:
    """Return main effects and interactions, each contrast in a row of its own."""
    places, rows = decimals(comparison, comparison.primary), []
    for term in found.terms:
        name = " x ".join(term.axes)
        tested = (number(term.f, 2), f"{term.df[0]}, {term.df[1]}", chance(term.p), chance(term.p_holm))
        contrasts = [
            (
                f"{one.level} - {one.reference}",
                number(one.mean, places, signed=True),
                interval(one.interval, places, signed=True),
            )
            for one in term.contrasts
        ]
        for i, cells in enumerate(contrasts or [(NONE,) * 3]):
            rows.append((name if i == 0 else "", *cells, *(tested if i == 0 else ("",) * 4)))
    lost = f"; without {', '.join(map(str, found.lost))}, which an arm lacks" if found.lost else ""
    over = f"over the seeds that all arms have ({len(found.seeds)}{lost})"
    title = f"{head(comparison.primary)}: effects of axes, {over}"
    heads = ("effect", "levels", "difference", "95 % interval", "F", "df", "p", "p (Holm)")
    return TextTable(title, heads, tuple(rows), texts=2)


def pairs(comparison: Comparison, found: Further) -> Iterator[TextTable]:
    """Return all pairs of arms."""
    places = decimals(comparison, comparison.primary)
    rows = tuple(
        (
            f"{one.arm} - {one.other}",
            f"{one.counts[0]}, {one.counts[1]}",
            number(one.mean, places, signed=True),
            interval(one.interval, places, signed=True),
            chance(one.p_tukey),
            str(one.pairs),
            chance(one.p_paired),
            chance(one.p_holm),
        )
        for one in found.all_pairs
    )
    heads = (
        "arms",
        "seeds",
        "difference",
        "95 % interval (Tukey)",
        "p (Tukey)",
        "pairs",
        "p (paired)",
        "p (Holm)",
    )
    if rows:
        yield TextTable(f"{head(comparison.primary)}: all pairs of arms", heads, rows)


def dunnett(comparison: Comparison, found: Further) -> Iterator[TextTable]:
    """Return Dunnett's tests against the baseline."""
    places = decimals(comparison, comparison.primary)
    rows = tuple(
        (
            one.arm,
            f"{one.counts[0]}, {one.counts[1]}",
            number(one.mean, places, signed=True),
            interval(one.interval, places, signed=True),
            chance(one.p),
        )
        for one in found.dunnett
    )
    if rows:
        title = (
            f"{head(comparison.primary)}: difference to '{comparison.baseline}', not paired, all arms at once"
        )
        heads = ("arm", "seeds", "difference", "95 % interval (Dunnett)", "p (Dunnett)")
        yield TextTable(title, heads, rows)


def equivalence(comparison: Comparison, found: Further) -> Iterator[TextTable]:
    """Return the tests that arms are equivalent to the baseline."""
    places = decimals(comparison, comparison.primary)
    rows = tuple(
        (
            one.arm,
            str(one.pairs),
            number(one.mean, places, signed=True),
            interval(one.interval, places, signed=True),
            chance(one.p),
            chance(one.p_holm),
        )
        for one in found.equivalence
    )
    if rows:
        declared = comparison.declared is not None and comparison.declared.equivalent_within == found.margin
        origin = "declared by the study" if declared else "an option of this comparison"
        margin = f"within ±{found.margin:g} ({origin})"
        title = f"{head(comparison.primary)}: equivalent to '{comparison.baseline}' {margin}, paired by seed"
        heads = ("arm", "pairs", "difference", "90 % interval", "p (TOST)", "p (Holm)")
        yield TextTable(title, heads, rows)


def published(comparison: Comparison, found: Further) -> Iterator[TextTable]:
    """Return the tests against published means, and why others are refused."""
    places = decimals(comparison, comparison.primary)
    rows = tuple(
        (
            one.arm,
            one.method,
            one.refused or one.source,
            f"{one.value:g}",
            number(one.mean, places, signed=True),
            interval(one.interval, places, signed=True),
            chance(one.p),
            chance(one.p_holm),
        )
        for one in found.published
    )
    if rows:
        title = f"{head(comparison.primary)}: difference to published means under the same protocol (Welch)"
        heads = (
            "arm",
            "method",
            "source, or why not",
            "published",
            "difference",
            "95 % interval",
            "p",
            "p (Holm)",
        )
        yield TextTable(title, heads, rows, texts=3)


def profiles(comparison: Comparison, found: Further) -> Iterator[TextTable]:
    """Return the shares of runs above a few thresholds, and how probable an improvement is."""
    if not found.profiles:
        return
    better = {one.arm: one for one in found.improvement}
    sign = 1 if comparison.primary.higher_is_better else -1
    first = found.profiles[0].thresholds
    step = (len(first) - 1) // (SHOWN + 1)
    shown = [step * (i + 1) for i in range(SHOWN)]
    word = ">" if sign > 0 else "<"
    rows = [
        (
            one.arm,
            str(one.runs),
            str(one.failed),
            *(_share(one, i) for i in shown),
            NONE if one.arm not in better else number(better[one.arm].probability, 2),
            NONE if one.arm not in better else interval(better[one.arm].interval, 2),
        )
        for one in found.profiles
    ]
    tasks = {one.tasks for one in found.improvement}
    over = f" over {tasks.pop()} tasks" if tasks - {1} else ""
    title = f"{head(comparison.primary)}: share of runs beyond a threshold{over}, failed runs as worst"
    thresholds = (f"{word} {sign * first[i]:.3g}" for i in shown)
    heads = ("arm", "runs", "failed", *thresholds, "P(better than baseline)", "95 % bootstrap interval")
    yield TextTable(title, heads, tuple(rows))


def _share(one: Profile, at: int) -> str:
    return f"{one.shares[at]:.2f} [{one.low[at]:.2f}, {one.high[at]:.2f}]"
