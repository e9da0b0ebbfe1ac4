"""What a reader must know to read the numbers of a comparison right."""

from collections.abc import Callable, Sequence
from typing import Any

from slotlab.framework.compare.grouping import ACROSS
from slotlab.framework.compare.per_image import unpaired
from slotlab.framework.compare.records import RunRecord
from slotlab.framework.compare.refusals import name_all
from slotlab.framework.compare.results import Arm, Comparison
from slotlab.framework.compare.statistics import detectable, least_p
from slotlab.framework.runs.measurement import is_untold


def notes_on(comparison: Comparison, *, wanted: str | None, per_image: bool) -> list[str]:
    """Return one sentence for each thing that is easily misread; `wanted` is the baseline asked for."""
    arms, primary = comparison.arms, comparison.primary
    found = []
    if comparison.baseline is None and wanted is not None:
        found.append(f"no run of the baseline arm '{wanted}' was measured yet, so no differences")
    elif comparison.baseline is None and len(arms) > 1:
        found.append(f"no baseline arm: give --baseline for paired differences ({names(arms)})")
    counts = {arm.name: arm.statistics[primary.name].count for arm in arms}
    if single := [arm for arm in arms if counts[arm.name] == 1]:
        found.append(f"one seed only, so no interval and no test: {names(single)}")
    if none := [arm for arm in arms if counts[arm.name] == 0]:
        found.append(f"no run with a value of {primary.name}: {names(none)}")
    if failed := [arm for arm in arms if arm.failed]:
        number = sum(len(arm.failed) for arm in failed)
        found.append(f"failed runs: {number}; without a value, and not in the means: {names(failed)}")
    if comparison.failed_below is not None:
        side = "below" if primary.higher_is_better else "above"
        threshold = f"{primary.name} {side} {comparison.failed_below:g}"
        found.append(f"unbound: runs with {threshold}; they are in the means")
    if unlike := [name for name in comparison.differing if name in ACROSS]:
        text = f"arms were measured differently ({', '.join(unlike)})"
        found.append(f"{text}: differences are of method and measurement together")
    if comparison.baseline is not None:
        found += on_differences(comparison, comparison.baseline)
    members = [member for arm in arms for member in arm.members]
    if untold := [member.run.path for member in members if is_untold(member.evaluation.facts)]:
        found.append(
            "generated images that no summary tells apart: each seed of these runs was measured on images "
            "of its own, which the deviation holds too; 'slotlab evaluate' measures all on the same: "
            f"{name_all(untold)}"
        )
    if comparison.published:
        told = dict.fromkeys(
            str(text) for one in members for text in one.evaluation.facts.get("cautions") or ()
        )
        found += [
            f"published numbers are of all pictures that were published: mind that {text}" for text in told
        ]
    found += on_provenance([member.run for arm in arms for member in arm.members])
    unfinished = [member.run.path for arm in arms for member in arm.members if member.run.state != "done"]
    if unfinished:
        found.append(f"not finished, and counted all the same: {name_all(unfinished)}")
    if per_image:
        base = next((arm for arm in arms if arm.name == comparison.baseline), None)
        for arm in arms if base is not None else ():
            reason = unpaired(arm.members, base.members) if base is not None and arm is not base else None
            found += [f"'{arm.name}' is not compared over images: {reason}"] if reason else []
        found.append(
            "intervals over images are about this checkpoint, not this method: another seed may differ"
        )
    return found


def on_differences(comparison: Comparison, baseline: str) -> list[str]:
    """Say what the tests can show at all."""
    found = []
    primary = comparison.primary.name
    others = [arm for arm in comparison.arms if arm.name != baseline]
    seeds = set(comparison.arm(baseline).statistics[primary].by_seed)
    shared = {arm.name: arm.differences[primary].count for arm in others}
    if unequal := [
        arm for arm in others if shared[arm.name] and set(arm.statistics[primary].by_seed) != seeds
    ]:
        text = f"not the same seeds as '{baseline}', so only the shared ones are paired"
        found.append(f"{text}: {names(unequal)}")
    if lost := [arm for arm in others if arm.failed and not arm.members]:
        found.append(f"all runs failed, so no difference: {names(lost)}")
    if apart := [arm for arm in others if not shared[arm.name] and seeds and arm.statistics[primary].by_seed]:
        found.append(f"no seed in common with '{baseline}', so no difference: {names(apart)}")
    for count in sorted(set(shared.values()) - {0, 1}):
        found.append(
            f"{count} pairs: a paired t test finds a true effect of {detectable(count):.2f} standard "
            f"deviations of the differences in 80 of 100 studies; the smallest p of a Wilcoxon or sign-flip "
            f"test is {least_p(count):.3g}, that of a Mann-Whitney test of {count} and {count} seeds "
            f"{least_p(count, paired=False):.3g}"
        )
    tests = sum(arm.differences[primary].p is not None for arm in others)
    if tests > 1:
        text = f"p (Holm) is corrected for the {tests} arms tested against '{baseline}'"
        found.append(f"{text}, in each metric by itself")
    return found


def on_provenance(runs: Sequence[RunRecord]) -> list[str]:
    """Say which versions and devices are mixed: not refused, but worth knowing."""
    facts: dict[str, Callable[[RunRecord], Any]] = {
        "versions of slotlab": lambda run: run.provenance.get("slotlab"),
        "commits of slotlab": lambda run: _short(run.provenance.get("commit")),
        "versions of torch": lambda run: run.provenance.get("packages", {}).get("torch"),
        "devices": lambda run: run.provenance.get("device"),
    }
    found = []
    for name, value in facts.items():
        values = sorted({str(value(run)) for run in runs if value(run) is not None})
        if len(values) > 1:
            found.append(f"runs of several {name}: {', '.join(values[:6])}")
    return found


def _short(commit: str | None) -> str | None:
    """Shorten a commit, and keep `+changes` behind it."""
    if commit is None:
        return None
    digits, plus, changes = commit.partition("+")
    return digits[:10] + plus + changes


def names(arms: Sequence[Arm], shown: int = 6) -> str:
    """Name some arms and count the rest."""
    rest = len(arms) - shown
    return ", ".join(arm.name for arm in arms[:shown]) + (f" and {rest} more" if rest > 0 else "")
