"""Further tests of the primary metric: which of them were asked for, and what they are computed from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from slotlab.framework.compare.differing_settings import setting_text, short_names
from slotlab.framework.compare.factorial import Labels, effects
from slotlab.framework.compare.further_results import (
    ALL_PAIRS,
    DUNNETT,
    EFFECTS,
    PROFILES,
    PUBLISHED,
    Further,
    PublishedTest,
)
from slotlab.framework.compare.multiple_arms import all_pairs, dunnett, equivalence, scattering, testable
from slotlab.framework.compare.profiles import Scores, improvement, profiles
from slotlab.framework.compare.request import ComparisonRequest
from slotlab.framework.compare.results import Arm, Comparison
from slotlab.framework.compare.run_records import StudyRecord
from slotlab.framework.compare.statistics import correct
from slotlab.framework.compare.welch import welch_of_summaries

NO_BASELINE = "there is no baseline arm; choose one with --baseline"


def further(
    comparison: Comparison, request: ComparisonRequest, studies: Sequence[StudyRecord]
) -> Further | None:
    """Return what was asked for; None if nothing was."""
    margin = request.equivalent_within
    if not request.also and margin is None:
        return None
    values = {arm.name: arm.statistics[comparison.primary.name].by_seed for arm in comparison.arms}
    labels = labels_of(comparison, studies)
    found = Further(margin=margin)
    refused: dict[str, str] = {}
    if EFFECTS in request.also:
        told = effects(labels, values, comparison.baseline)
        found = found if isinstance(told, str) else replace(found, effects=told)
        refused |= {EFFECTS: told} if isinstance(told, str) else {}
    several = scattering(values)
    if ALL_PAIRS in request.also:
        refused |= {ALL_PAIRS: testable(several)}
        found = found if refused[ALL_PAIRS] else replace(found, all_pairs=tuple(all_pairs(several)))
    if DUNNETT in request.also:
        refused |= {DUNNETT: dunnett_refused(comparison, several)}
        if not refused[DUNNETT]:
            found = replace(found, dunnett=tuple(dunnett(several, comparison.baseline or "")))
    if margin is not None:
        refused |= {"equivalence": NO_BASELINE if comparison.baseline is None else ""}
        if comparison.baseline is not None:
            found = replace(found, equivalence=tuple(equivalence(values, comparison.baseline, margin)))
    if PUBLISHED in request.also:
        found = replace(found, published=tuple(against_published(comparison)))
        refused |= {PUBLISHED: "" if found.published else "no number is published under this protocol"}
    if PROFILES in request.also:
        told_profiles = with_profiles(comparison, labels, request.tasks, found)
        found = found if isinstance(told_profiles, str) else told_profiles
        refused |= {PROFILES: told_profiles} if isinstance(told_profiles, str) else {}
    return replace(found, refused={name: reason for name, reason in refused.items() if reason})


def labels_of(comparison: Comparison, studies: Sequence[StudyRecord]) -> dict[str, Labels]:
    """Return each arm's label by axis: those of the study's plan, else the settings that differ."""
    planned = {arm.name: arm.labels for study in studies for arm in study.plan.arms}
    if len(studies) == 1 and all(planned.get(arm.name) for arm in comparison.arms):
        return {arm.name: planned[arm.name] for arm in comparison.arms}
    short = short_names(comparison.differing)
    return {
        arm.name: {short[path]: setting_text(value) for path, value in arm.settings.items()}
        for arm in comparison.arms
    }


def dunnett_refused(comparison: Comparison, several: Mapping[str, Mapping[int, float]]) -> str:
    """Return why there is no test of all arms against the baseline; empty if there is one."""
    if comparison.baseline is None:
        return NO_BASELINE
    return testable(several) or (
        "" if comparison.baseline in several else "the baseline has fewer than two seeds with a value"
    )


def against_published(comparison: Comparison) -> list[PublishedTest]:
    """Compare every arm with every published mean of the primary metric, under the same protocol."""
    rows = [row for row in comparison.published if row.get("metric") == comparison.primary.name]
    found = [one_published(arm, comparison.primary.name, row) for arm in comparison.arms for row in rows]
    ps = correct([one.p for one in found])
    return [replace(one, p_holm=p_holm) for one, p_holm in zip(found, ps, strict=True)]


def one_published(arm: Arm, metric: str, row: Mapping[str, Any]) -> PublishedTest:
    """Compare an arm with a published mean by Welch's test, if its spread and number of seeds are known."""
    own, value = arm.statistics[metric], float(row["value"])
    plain = PublishedTest(arm.name, str(row["method"]), str(row["source"]), value)
    seeds, std, spread = row.get("seeds"), row.get("std"), row.get("spread")
    if own.mean is None or own.std is None:
        return replace(plain, refused="the arm has fewer than two seeds")
    if std is None or seeds is None or seeds < 2:
        lacking = "spread" if std is None else "number of seeds" if seeds is None else "second seed"
        return replace(plain, refused=f"the source gives no {lacking}")
    if spread not in ("std", "standard_error"):
        return replace(plain, refused="the source does not say what its spread is")
    deviation = std * math.sqrt(seeds) if spread == "standard_error" else std
    if not deviation and not own.std:
        return replace(plain, refused="neither scatters over seeds")
    one = welch_of_summaries((own.mean, own.std, own.count), (value, deviation, seeds))
    return replace(plain, mean=one.mean, interval=one.interval, df=one.df, p=one.p)


def with_profiles(
    comparison: Comparison, labels: Mapping[str, Labels], tasks: str | None, found: Further
) -> Further | str:
    """Add profiles and probabilities of improvement, or return why there are none."""
    scores = scores_of(comparison, labels, tasks)
    if isinstance(scores, str):
        return scores
    low, high = comparison.primary.bounds
    if not comparison.primary.higher_is_better:
        low, high = (None if high is None else -high), (None if low is None else -low)
    base = methods(comparison, labels, tasks).get(comparison.baseline or "")
    better = [improvement(name, own, scores[base]) for name, own in scores.items() if base and name != base]
    return replace(found, profiles=tuple(profiles(scores, (low, high))), improvement=tuple(better))


def methods(comparison: Comparison, labels: Mapping[str, Labels], tasks: str | None) -> dict[str, str]:
    """Return the name of the method of each arm: the arm without its task."""
    if tasks is None:
        return {arm.name: arm.name for arm in comparison.arms}
    return {
        arm.name: ", ".join(f"{axis}={one}" for axis, one in labels[arm.name].items() if axis != tasks)
        or "all runs"
        for arm in comparison.arms
    }


def scores_of(
    comparison: Comparison, labels: Mapping[str, Labels], tasks: str | None
) -> dict[str, Scores] | str:
    """Return the scores of each method by task, more being better, or why there are none."""
    if tasks is not None and not all(tasks in one for one in labels.values()):
        axes = dict.fromkeys(axis for one in labels.values() for axis in one)
        return f"there is no axis '{tasks}' (axes: {', '.join(axes)})"
    sign = 1.0 if comparison.primary.higher_is_better else -1.0
    named = methods(comparison, labels, tasks)
    known = dict.fromkeys(labels[arm.name][tasks] if tasks else "" for arm in comparison.arms)
    found: dict[str, dict[str, list[float]]] = {}
    for arm in comparison.arms:
        values = arm.statistics[comparison.primary.name].by_seed.values()
        runs = [sign * value for value in values] + [-math.inf] * len(arm.failed)
        found.setdefault(named[arm.name], {})[labels[arm.name][tasks] if tasks else ""] = runs
    for name, by_task in found.items():
        if lacking := [task for task in known if not by_task.get(task)]:
            return f"'{name}' has no run" + (f" of the task {lacking[0]}" if tasks else "")
    return {name: [by_task[task] for task in known] for name, by_task in found.items()}


def further_json(found: Further) -> dict[str, Any]:
    """Return everything as JSON-ready data, intervals as pairs."""
    told: dict[str, Any] = _plain(asdict(found))
    return told


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"low", "high"} and not isinstance(value["low"], list | tuple):
            return [value["low"], value["high"]]
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
