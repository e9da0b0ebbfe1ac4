"""Checks that runs may be averaged and compared: what must be the same in an arm, and between arms."""

from collections.abc import Callable, Iterable, Sequence

from slotlab.framework.compare.evaluation_facts import AS_TRAINED
from slotlab.framework.compare.grouping import VERSIONS, Group
from slotlab.framework.compare.refusal import Refusal, gather
from slotlab.framework.compare.results import MeasuredRun
from slotlab.framework.compare.run_records import RunRecord
from slotlab.framework.runs.measurement import BEST


def refusals(groups: Sequence[Group], across: frozenset[str], metrics: Sequence[str]) -> list[Refusal]:
    """Return every reason why these groups of runs must not be averaged or compared in these metrics."""
    members = [member for group in groups for member in group.members]
    found = [*_mixed_facts(members, across), *_mixed_slots(groups, across)]
    if VERSIONS not in across:
        found += _mixed_versions([record for group in groups for record in group.records])
        found += _mixed_metrics(members, metrics)
    for one in groups:
        found += _duplicates(one)
        found += _mixed_inside(one)
    return found


def _mixed_facts(members: Sequence[MeasuredRun], across: frozenset[str]) -> Iterable[Refusal]:
    texts = {
        "filter": ("mixed filters of the data", "evaluate all runs on the same images"),
        "data": ("the data changed between evaluations", "evaluate all runs on the same files"),
        "plugins": ("evaluations with different replaced plugins", "evaluate all runs alike"),
        "images": ("mixed lists of images", "evaluate all runs on the same images (evaluation.max_images)"),
        "clip": (
            "mixed parts of videos",
            "evaluate all runs on the same (evaluation.clip_frames, evaluation.from_frame)",
        ),
        "told": ("models that are told different things of objects", "evaluate all runs alike"),
        "range": ("mixed value ranges of the images", "evaluate all runs alike (data.value_range)"),
        "sampling": ("mixed ways of drawing pictures", "evaluate all runs alike (evaluation.sampling)"),
    }
    for name, (what, hint) in texts.items():
        if name in across:
            continue
        groups = gather((member.facts[name], member.run.path) for member in members)
        if len(groups) > 1:
            yield Refusal(f"{what}:", groups, f"{hint}, or allow it between arms with --across {name}")


def _mixed_slots(groups: Sequence[Group], across: frozenset[str]) -> Iterable[Refusal]:
    """Refuse arms with different numbers of slots at evaluation, unless each has as many as in training."""
    members = [member for one in groups for member in one.members]
    numbers = [{member.evaluation.facts.get("slots") for member in one.members} for one in groups]
    alike = len({member.facts["slots"] for member in members}) <= 1 or len(set.union(*numbers, set())) <= 1
    if "slots" in across or alike or any(len(held) > 1 for held in numbers):
        return  # `_mixed_inside` reports numbers that differ within an arm
    pairs = []
    for member in members:
        number = member.evaluation.facts.get("slots")
        as_trained = f", {AS_TRAINED}" if member.facts["slots"] == AS_TRAINED else ""
        pairs.append((f"{number} slots{as_trained}", member.run.path))
    hint = "evaluate all arms alike (evaluation.slots), or allow it between arms with --across slots"
    yield Refusal("mixed numbers of slots at evaluation:", gather(pairs), hint)


def _mixed_versions(records: Sequence[RunRecord]) -> Iterable[Refusal]:
    components = sorted({name for record in records for name in record.versions})
    for name in components:
        held = ((record.versions[name], record.path) for record in records if name in record.versions)
        groups = gather(held)
        if len(groups) > 1:
            hint = "train them all with one version, or allow it between arms with --across versions"
            yield Refusal(f"mixed versions of {name.replace('.', ' ', 1)}:", groups, hint)


def _mixed_metrics(members: Sequence[MeasuredRun], metrics: Sequence[str]) -> Iterable[Refusal]:
    for name in metrics:
        held = ((one.evaluation.versions.get(name), one.run.path) for one in members)
        groups = gather((version, path) for version, path in held if version is not None)
        if len(groups) > 1:
            hint = "evaluate them all alike, or allow it between arms with --across versions"
            yield Refusal(f"mixed definitions of metric {name}:", groups, hint)


def _duplicates(one: Group) -> Iterable[Refusal]:
    seeds = gather((f"seed {record.seed}", record.path) for record in one.records)
    twice = {seed: paths for seed, paths in seeds.items() if len(paths) > 1}
    if twice:
        yield Refusal("the same run twice (same settings, same seed):", twice, "leave one of them out")


def _mixed_inside(one: Group) -> Iterable[Refusal]:
    """Refuse seeds of one arm that were trained on different data or evaluated differently."""
    facts: tuple[tuple[str, Callable[[MeasuredRun], str], str], ...] = (
        ("mixed training data in one arm:", _trained_on, "train all seeds on the same data"),
        (
            "mixed numbers of slots at evaluation in one arm:",
            lambda member: f"{member.evaluation.facts.get('slots')} slots",
            "evaluate all seeds with the same evaluation.slots",
        ),
        (
            "seeds of one arm were evaluated at different training steps:",
            lambda member: (
                "" if member.facts["checkpoint"] == BEST else f"step {member.evaluation.facts.get('step')}"
            ),
            "evaluate the finished runs again with 'slotlab evaluate'",
        ),
    )
    for what, value, hint in facts:
        groups = gather((value(member), member.run.path) for member in one.members)
        if len(groups) > 1:
            yield Refusal(what, groups, hint)


def _trained_on(member: MeasuredRun) -> str:
    data = member.run.provenance.get("data", {}).get("train", {})
    skipped = len(data.get("skipped", ()))
    without = f", {skipped} broken ones left out" if skipped else ""
    source = f"{data.get('dataset')} {data.get('split')}, fingerprint {data.get('fingerprint')}"
    return f"{source}, {data.get('images')} images{without}"
