"""A comparison of arms: runs grouped by everything but the seed, and what the groups say.

`compare` makes it; tables, figures and the report page render it and compute nothing of their own.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from slotlab.framework.compare import grouping, naming
from slotlab.framework.compare.checking import checked
from slotlab.framework.compare.choice import Choice, choice_of
from slotlab.framework.compare.choosing import choose_baseline, choose_metrics, published
from slotlab.framework.compare.costs import cost_of
from slotlab.framework.compare.facts import shown_facts
from slotlab.framework.compare.grouping import ACROSS, Group
from slotlab.framework.compare.notes import notes_on
from slotlab.framework.compare.per_image import image_differences, unpaired, unread
from slotlab.framework.compare.records import RunRecord, Study, load_all
from slotlab.framework.compare.refusals import RefusedError
from slotlab.framework.compare.results import (
    Arm,
    Comparison,
    Cost,
    Difference,
    ImageDifference,
    Interval,
    LeftOut,
    Member,
    Metric,
    Statistics,
)
from slotlab.framework.compare.selecting import Selected, select
from slotlab.framework.compare.statistics import correct, describe, difference
from slotlab.framework.system.privacy import places
from slotlab.registry import SlotlabError

__all__ = [
    "Arm",
    "Choice",
    "Comparison",
    "Cost",
    "Difference",
    "ImageDifference",
    "Interval",
    "LeftOut",
    "Member",
    "Metric",
    "RefusedError",
    "Statistics",
    "compare",
    "compare_paths",
]


def compare_paths(
    paths: Sequence[Path],
    choice: Choice | None = None,
    *,
    across: Iterable[str] = (),
    allow_unfinished: bool = False,
    per_image: bool = False,
) -> Comparison:
    """Compare runs, folders of runs and studies.

    What `choice` leaves open is taken from the plan, where one study is compared.

    Raises:
        SlotlabError: for a path without runs, an arm or a metric that is not there.
        RefusedError: if the runs must not be compared, with all the reasons.
    """
    loaded = load_all(paths)
    chosen = choice or Choice()
    varied: set[str] = set()
    if len(loaded.studies) == 1:
        plan = loaded.studies[0].plan
        chosen = completed(chosen, choice_of(plan))
        varied = varied_facts(path for arm in plan.arms for path in arm.settings)
    return compare(
        loaded.records,
        chosen,
        studies=loaded.studies,
        problems=loaded.problems,
        across={*across, *varied},
        allow_unfinished=allow_unfinished,
        per_image=per_image,
        title=", ".join(study.plan.name for study in loaded.studies) or ", ".join(places(paths).values()),
    )


def completed(choice: Choice, plan: Choice) -> Choice:
    """Fill what a choice leaves open from the plan's."""
    own = {item.name: getattr(choice, item.name) for item in fields(Choice)}
    return replace(plan, **{name: value for name, value in own.items() if value not in (None, ())})


def varied_facts(paths: Iterable[str]) -> set[str]:
    """Return the facts of an evaluation that a study varies on purpose, by the settings of its arms."""
    found: set[str] = set()
    for path in paths:
        if path.startswith("data.protocol"):
            found |= {"protocol", "images", "data"}
        elif path.startswith("data.dataset"):
            found |= {"dataset", "images", "data"}
        elif path.startswith("data.filter"):
            found |= {"filter", "images"}
        elif path.startswith("data.seed"):
            found |= {"data"}
    return found


def compare(
    records: Sequence[RunRecord],
    choice: Choice | None = None,
    *,
    studies: Sequence[Study] = (),
    problems: Mapping[Path, str] | None = None,
    across: Iterable[str] = (),
    allow_unfinished: bool = False,
    per_image: bool = False,
    title: str = "",
) -> Comparison:
    """Group runs into arms and compare them. The order of the records changes nothing.

    Args:
        records: the runs, each folder once.
        choice: metrics, primary metric, baseline arm, evaluation, threshold.
        studies: whose plans name and order the arms.
        problems: runs that could not be read, for `left_out`.
        across: facts in which arms may differ (see `grouping.ACROSS`); seeds of one arm never may.
        allow_unfinished: count runs that have been evaluated but are not done.
        per_image: compare checkpoints over images too, which reads every images.csv.
        title: of the tables.

    Raises:
        RefusedError: if the runs must not be compared, with all the reasons.
        SlotlabError: for an arm, metric or fact that is not there, or if no run is left.
    """
    choice, facts = choice or Choice(), frozenset(across)
    for name in sorted(facts - set(ACROSS)):
        raise SlotlabError(f"arms cannot differ in '{name}'; choose from {', '.join(ACROSS)}")
    ordered = sorted(records, key=lambda record: record.path)
    selected = select(ordered, choice, across=facts, allow_unfinished=allow_unfinished)
    left_out = [LeftOut(path, reason) for path, reason in (problems or {}).items()] + list(selected.left_out)
    if per_image:
        selected, unread_images = with_images(selected)
        left_out += unread_images
    if not selected.members:
        raise SlotlabError(_nothing(selected, left_out))
    metrics, primary = choose_metrics(selected.members, choice)
    names = [metric.name for metric in metrics]
    members, contradicted = checked(selected.members, names)
    left_out += contradicted
    if not members:
        raise SlotlabError(_nothing(selected, left_out))
    groups = grouping.group(members, selected.failed, facts, names)
    paths = naming.differing(groups)
    named, renamed = naming.name_groups(groups, paths, naming.plan_names(studies))
    if refused := [*grouping.refusals(groups, facts, names), *renamed]:
        raise RefusedError(refused)
    arms = [make_arm(name, one, paths, metrics, primary, choice.failed_below) for name, one in named]
    base = choose_baseline(arms, choice.baseline, studies)
    if base is not None:
        arms = with_differences(arms, base, metrics, per_image=per_image)
    comparison = Comparison(
        title=title,
        question=" ".join(study.plan.question for study in studies),
        metrics=tuple(metrics),
        primary=primary,
        baseline=None if base is None else base.name,
        arms=tuple(arms),
        differing=tuple(paths),
        measured=measured(members, facts),
        failed_below=choice.failed_below,
        left_out=tuple(sorted(left_out, key=lambda item: item.path)),
        published=published(members, metrics),
        studies=tuple(study.path for study in studies),
    )
    notes = notes_on(comparison, wanted=choice.baseline, per_image=per_image)
    return replace(comparison, notes=(*selected.notes, *notes))


def with_images(selected: Selected) -> tuple[Selected, list[LeftOut]]:
    """Leave out the runs whose values of single images cannot be read."""
    damaged = unread(selected.members)
    members = tuple(member for i, member in enumerate(selected.members) if i not in damaged)
    lost = [LeftOut(selected.members[i].run.path, reason) for i, reason in damaged.items()]
    return replace(selected, members=members), lost


def _nothing(selected: Selected, left_out: Sequence[LeftOut]) -> str:
    lines = [f"  {item.path}: {item.reason}" for item in left_out[:8]]
    lines += [f"  {record.path}: failed ({record.reason})" for record in selected.failed[:8]]
    return "\n".join([f"there is no measured run to compare{':' if lines else ''}", *lines])


def make_arm(
    name: str,
    one: Group,
    paths: Sequence[str],
    metrics: Sequence[Metric],
    primary: Metric,
    failed_below: float | None,
) -> Arm:
    """Compute the statistics of one arm."""

    def is_unbound(member: Member) -> bool:
        value = member.evaluation.values.get(primary.name)
        if failed_below is None or value is None:
            return False
        return value < failed_below if primary.higher_is_better else value > failed_below

    return Arm(
        name=name,
        settings={path: one.settings[path] for path in paths if path in one.settings},
        members=one.members,
        failed=one.failed,
        unbound=tuple(member for member in one.members if is_unbound(member)),
        statistics={metric.name: describe(values_by_seed(one.members, metric.name)) for metric in metrics},
        differences={},
        image_differences={},
        cost=cost_of([member.run for member in one.members]),
    )


def values_by_seed(members: Sequence[Member], metric: str) -> dict[int, float]:
    """Return the metric of each run that has a finite value."""
    values = {member.run.seed: member.evaluation.values.get(metric) for member in members}
    return {seed: value for seed, value in values.items() if value is not None and math.isfinite(value)}


def with_differences(
    arms: Sequence[Arm], base: Arm, metrics: Sequence[Metric], *, per_image: bool
) -> list[Arm]:
    """Compare every arm with the baseline, and correct the tests of each metric for their number."""
    found: dict[str, dict[str, Difference]] = {arm.name: {} for arm in arms}
    others = [arm for arm in arms if arm is not base]
    for metric in metrics:
        baseline = base.statistics[metric.name].by_seed
        plain = [difference(arm.statistics[metric.name].by_seed, baseline) for arm in others]
        corrected = correct([one.p for one in plain])
        for arm, one, p_holm in zip(others, plain, corrected, strict=True):
            found[arm.name][metric.name] = replace(one, p_holm=p_holm)
    names = [metric.name for metric in metrics]
    return [
        replace(
            arm,
            differences=found[arm.name],
            image_differences=image_differences(arm.members, base.members, names)
            if per_image and arm is not base and unpaired(arm.members, base.members) is None
            else {},
        )
        for arm in arms
    ]


def measured(members: Sequence[Member], across: frozenset[str]) -> dict[str, str]:
    """Return what all evaluations have in common."""
    facts = shown_facts(members[0].facts)
    return {name: value for name, value in facts.items() if name not in across}
