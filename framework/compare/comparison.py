"""A comparison of arms: runs grouped by everything but the seed, and the statistics of the groups.

`compare` makes it; tables, figures and the report page render it and compute nothing of their own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from slotlab.framework.compare.arm_names import name_groups, plan_names
from slotlab.framework.compare.arm_statistics import make_arm, with_differences
from slotlab.framework.compare.comparability import refusals
from slotlab.framework.compare.differing_settings import differing
from slotlab.framework.compare.evaluation_facts import shown_facts
from slotlab.framework.compare.further import further
from slotlab.framework.compare.grouping import ACROSS, Group, group
from slotlab.framework.compare.metrics_and_baseline import choose_baseline, choose_metrics, published
from slotlab.framework.compare.per_image import unread
from slotlab.framework.compare.reading_notes import notes_on
from slotlab.framework.compare.refusal import RefusedError
from slotlab.framework.compare.request import ComparisonRequest, completed, request_of, varied_facts
from slotlab.framework.compare.results import (
    Arm,
    ArmCost,
    Binding,
    ComparedMetric,
    Comparison,
    Difference,
    ImageDifference,
    Interval,
    LeftOut,
    MeasuredRun,
    SequentialRule,
    Statistics,
    UnpairedDifference,
)
from slotlab.framework.compare.run_records import RunRecord, StudyRecord, load_all
from slotlab.framework.compare.run_selection import Selected, select
from slotlab.framework.compare.sequential import with_looks
from slotlab.framework.compare.summary_check import checked
from slotlab.framework.system.privacy import places
from slotlab.registry import SlotlabError

__all__ = [
    "Arm",
    "ArmCost",
    "Binding",
    "ComparedMetric",
    "Comparison",
    "ComparisonRequest",
    "Difference",
    "ImageDifference",
    "Interval",
    "LeftOut",
    "MeasuredRun",
    "RefusedError",
    "Statistics",
    "UnpairedDifference",
    "compare",
    "compare_paths",
]


def compare_paths(
    paths: Sequence[Path],
    request: ComparisonRequest | None = None,
    *,
    across: Iterable[str] = (),
    allow_unfinished: bool = False,
    per_image: bool = False,
    probes: bool = False,
) -> Comparison:
    """Compare runs, folders of runs and studies: their evaluations, or their probes.

    What `request` leaves open is taken from the plan where exactly one study is compared; metrics of
    evaluations, which a plan names, are not those of probes.

    Raises:
        SlotlabError: for a path without runs, and for an arm or a metric that does not exist.
        RefusedError: if the runs must not be compared, with all the reasons.
    """
    loaded = load_all(paths, "probe" if probes else "evaluate")
    request = request or ComparisonRequest()
    varied: set[str] = set()
    if len(loaded.studies) == 1:
        plan = loaded.studies[0].plan
        declared = request_of(plan, loaded.studies[0].history)
        if probes:
            declared = replace(declared, metrics=(), primary=None, failed_below=None, declared=None)
        request = completed(request, declared)
        varied = varied_facts(path for arm in plan.arms for path in arm.settings)
    return compare(
        loaded.records,
        request,
        studies=loaded.studies,
        problems=loaded.problems,
        across={*across, *varied},
        allow_unfinished=allow_unfinished,
        per_image=per_image,
        title=", ".join(study.plan.name for study in loaded.studies) or ", ".join(places(paths).values()),
    )


def compare(
    records: Sequence[RunRecord],
    request: ComparisonRequest | None = None,
    *,
    studies: Sequence[StudyRecord] = (),
    problems: Mapping[Path, str] | None = None,
    across: Iterable[str] = (),
    allow_unfinished: bool = False,
    per_image: bool = False,
    title: str = "",
) -> Comparison:
    """Group runs into arms and compare them; their order changes nothing.

    Args:
        records: the runs, each folder once.
        request: which evaluations, metrics and baseline to compare, and the threshold for binding.
        studies: the studies whose plans name and order the arms.
        problems: runs that could not be read, with the reasons; they are listed in `left_out`.
        across: facts in which arms may differ (see `grouping.ACROSS`); seeds of one arm never may.
        allow_unfinished: whether runs count that were evaluated but are not done.
        per_image: whether to compare checkpoints over images too, which reads every images.csv.
        title: the title of the tables.

    Raises:
        RefusedError: if the runs must not be compared, with all the reasons.
        SlotlabError: for an arm, metric or fact that does not exist, or if no run is left to compare.
    """
    request, facts = request or ComparisonRequest(), known_facts(across)
    ordered = sorted(records, key=lambda record: record.path)
    selected = select(ordered, request, across=facts, allow_unfinished=allow_unfinished)
    unreadable = tuple(LeftOut(path, reason) for path, reason in (problems or {}).items())
    selected = replace(selected, left_out=unreadable + selected.left_out)
    if per_image:
        selected = with_images(selected)
    metrics, primary = choose_metrics(need_runs(selected).members, request)
    selected = need_runs(without_contradictions(selected, metrics))
    return compare_selected(
        selected, request, metrics, primary, across=facts, studies=studies, per_image=per_image, title=title
    )


def compare_selected(
    selected: Selected,
    request: ComparisonRequest,
    metrics: Sequence[ComparedMetric],
    primary: ComparedMetric,
    *,
    across: frozenset[str],
    studies: Sequence[StudyRecord],
    per_image: bool,
    title: str,
) -> Comparison:
    """Compare the runs that count in these metrics; see `compare`."""
    named, paths = named_groups(selected, across, metrics, studies)
    arms = [make_arm(name, one, paths, metrics, primary, request.failed_below) for name, one in named]
    base = choose_baseline(arms, request.baseline, studies)
    if base is not None:
        arms = with_differences(arms, base, metrics, per_image=per_image, welch_too=request.unpaired)
    rule = applied_rule(request, primary) if base is not None else None
    if rule is not None and base is not None:
        arms = with_looks(arms, next(arm for arm in arms if arm.name == base.name), primary.name, rule)
    comparison = Comparison(
        title=title,
        question=" ".join(study.plan.question for study in studies),
        metrics=tuple(metrics),
        primary=primary,
        baseline=None if base is None else base.name,
        arms=tuple(arms),
        differing=tuple(paths),
        measured=measured(selected.members, across),
        failed_below=request.failed_below,
        declared=request.declared,
        sequential=rule,
        left_out=tuple(sorted(selected.left_out, key=lambda item: item.path)),
        published=published(selected.members, metrics),
        studies=tuple(study.path for study in studies),
    )
    comparison = replace(comparison, further=further(comparison, request, studies))
    notes = notes_on(comparison, wanted=request.baseline, per_image=per_image)
    return replace(comparison, notes=(*selected.notes, *notes))


def applied_rule(request: ComparisonRequest, primary: ComparedMetric) -> SequentialRule | None:
    """Return the rule for looks that the study declares; it is about the declared primary metric alone."""
    declared = request.declared
    return declared.sequential if declared is not None and declared.primary == primary.name else None


def known_facts(across: Iterable[str]) -> frozenset[str]:
    """Return the facts in which arms may differ.

    Raises:
        SlotlabError: for one in which they never may.
    """
    facts = frozenset(across)
    for name in sorted(facts - set(ACROSS)):
        raise SlotlabError(f"arms cannot differ in '{name}'; choose from {', '.join(ACROSS)}")
    return facts


def with_images(selected: Selected) -> Selected:
    """Leave out the runs whose values of single images cannot be read."""
    damaged = unread(selected.members)
    members = tuple(member for i, member in enumerate(selected.members) if i not in damaged)
    lost = tuple(LeftOut(selected.members[i].run.path, reason) for i, reason in damaged.items())
    return replace(selected, members=members, left_out=selected.left_out + lost)


def without_contradictions(selected: Selected, metrics: Sequence[ComparedMetric]) -> Selected:
    """Leave out the runs whose summary contradicts the values of the single images beside it."""
    members, contradicted = checked(selected.members, [metric.name for metric in metrics])
    left_out = (*selected.left_out, *contradicted)
    return replace(selected, members=tuple(members), left_out=left_out)


def need_runs(selected: Selected) -> Selected:
    """Return the selection.

    Raises:
        SlotlabError: if no run is left in it, with the reasons why runs were left out.
    """
    if selected.members:
        return selected
    lines = [f"  {item.path}: {item.reason}" for item in selected.left_out[:8]]
    lines += [f"  {record.path}: failed ({record.reason})" for record in selected.failed[:8]]
    raise SlotlabError("\n".join([f"there is no measured run to compare{':' if lines else ''}", *lines]))


def named_groups(
    selected: Selected,
    across: frozenset[str],
    metrics: Sequence[ComparedMetric],
    studies: Sequence[StudyRecord],
) -> tuple[list[tuple[str, Group]], list[str]]:
    """Group runs into arms; return each arm's name and group, and the settings that differ.

    Raises:
        RefusedError: if the runs must not be compared, with all the reasons.
    """
    names = [metric.name for metric in metrics]
    groups = group(selected.members, selected.failed, across, names)
    paths = differing(groups)
    named, shared_names = name_groups(groups, paths, plan_names(studies))
    if refused := [*refusals(groups, across, names), *shared_names]:
        raise RefusedError(refused)
    return named, paths


def measured(members: Sequence[MeasuredRun], across: frozenset[str]) -> dict[str, str]:
    """Return the facts that all evaluations have in common, by name, in words."""
    facts = shown_facts(members[0].facts)
    return {name: value for name, value in facts.items() if name not in across}
