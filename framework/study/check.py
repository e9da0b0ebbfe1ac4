"""Mistakes of an ablation beyond its types: axes that cannot vary, and what does not fit the arms."""

from collections.abc import Iterator, Sequence
from math import gcd
from pathlib import Path as FilePath

from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.errors import PathProblem, Problem, SpecError
from slotlab.framework.spec.merge import find_spec
from slotlab.framework.spec.tree import Tree
from slotlab.framework.study.ablation import AblationSpec
from slotlab.framework.study.arms import LoadedArm, blocks, metrics_of, values_of
from slotlab.framework.study.labels import arm_name, label
from slotlab.framework.study.launching import LauncherContext
from slotlab.framework.training.watching import steps_between
from slotlab.registry import ComponentError, SlotlabError
from slotlab.registry.component import suggest

_UNVARIED = {
    "name": "the study names its arms itself",
    "format": "the format is one",
    "seed": "give seeds under 'seeds'",
    "plugins": "plugins are loaded for all arms; name them under 'settings'",
    "evaluation": "all arms are evaluated alike; set it under 'settings'",
}


def check_axes(spec: AblationSpec, tree: Tree) -> Iterator[Problem]:
    """Yield a problem for each path that no axis can vary."""
    seen = set()
    for number, axis in enumerate(spec.axes):
        for value in values_of(tree, number):
            for path, one in blocks(axis, value):
                reason = _UNVARIED.get(path.partition(".")[0])
                if reason is not None and path not in seen:
                    seen.add(path)
                    yield Problem(one.mark, ("axes",), f"'{path}' cannot be varied: {reason}")


def check_sampling(spec: AblationSpec, tree: Tree) -> Iterator[Problem]:
    """Yield a problem for a key that `sampling` lacks, or that belongs to another sampling."""
    for way, key, given in (
        ("list", "arms", bool(spec.arms)),
        ("random", "count", spec.count is not None),
        ("search", "search", spec.search is not None),
    ):
        if given != (spec.sampling == way):
            path, what = (key, f"write 'sampling: {way}'") if given else ("sampling", f"give '{key}'")
            text = f"'sampling: {way}' and '{key}' go together; {what}"
            yield Problem(tree.locate((path,)), (path,), text)


def check_study(spec: AblationSpec, arms: Sequence[LoadedArm]) -> Iterator[PathProblem]:
    """Yield what is wrong with the study as a whole: equal arms, the comparison, the launcher."""
    first: dict[str, LoadedArm] = {}
    for arm in arms:
        other = first.setdefault(arm.run_id(spec.seeds[0]), arm)
        if other is not arm:
            text = f"the arms '{other.name}' and '{arm.name}' are the same training; leave one of them out"
            yield PathProblem(("axes",), text)
    wanted = {axis: label(one) for axis, one in spec.compare.baseline.items()}
    if wanted and not any(arm.labels == wanted for arm in arms):
        known = "; ".join(arm.name for arm in arms)
        text = f"the baseline '{arm_name(wanted)}' is not one of the arms: {known}"
        yield PathProblem(("compare", "baseline"), text)
    measured = metrics_of(arms[0].loaded.spec)
    for index, name in enumerate(spec.compare.metrics):
        if name not in measured:
            hint = suggest(name, measured)
            text = f"'{name}' is not in evaluation.metrics{hint} (measured: {', '.join(measured)})"
            yield PathProblem(("compare", "metrics", index), text)
    compared = spec.compare.metrics or measured
    primary = spec.compare.primary
    if primary is not None and primary not in compared:
        hint = suggest(primary, compared)
        text = f"'{primary}' is not one of the compared metrics{hint} ({', '.join(compared)})"
        yield PathProblem(("compare", "primary"), text)
    yield from check_halving(spec, arms)
    looks = spec.compare.sequential
    if looks is not None and looks.looks[-1] != len(spec.seeds):
        planned = f"the last look is after {looks.looks[-1]} seeds, and 'seeds' has {len(spec.seeds)}"
        text = f"{planned}; name all seeds beforehand, and look with 'slotlab ablate --look 1'"
        yield PathProblem(("compare", "sequential", "looks"), text)
    try:
        spec.launcher.build(LauncherContext(folder=FilePath(), name=spec.name))
    except ComponentError as error:
        where = ("launcher",) if error.field is None else ("launcher", error.field)
        yield PathProblem(where, f"{spec.launcher.name}: {error}")


def check_halving(spec: AblationSpec, arms: Sequence[LoadedArm]) -> Iterator[PathProblem]:
    """Yield why arms cannot be stopped early by the rule."""
    rule = spec.halving
    if rule is None:
        return
    for other, given in (("sampling: search", spec.search), ("compare.sequential", spec.compare.sequential)):
        if given is not None:
            text = f"arms that are stopped early and '{other}' do not go together; leave one of them out"
            yield PathProblem(("halving",), text)
    measured = metrics_of(arms[0].loaded.spec)
    if rule.metric is not None and rule.metric not in measured:
        hint = suggest(rule.metric, measured)
        text = f"'{rule.metric}' is not in evaluation.metrics{hint} (measured: {', '.join(measured)})"
        yield PathProblem(("halving", "metric"), text)
    for arm in arms:
        training = arm.loaded.spec.training
        steps = [phase.length.steps for phase in training.phases]
        total = None if None in steps else sum(step or 0 for step in steps)
        every = steps_between(training.watch, rule.rungs[-1] + 1 if total is None else total)
        if every is None or any(rung % every for rung in rule.rungs):
            looked = "never" if every is None else f"every {every} steps"
            text = f"the arm '{arm.name}' is looked at {looked}, and not at each rung"
            best = gcd(*rule.rungs)
            yield PathProblem(("halving", "rungs"), f"{text}; set settings.training.watch.every_steps={best}")
            return
        if total is not None and rule.rungs[-1] >= total:
            text = f"the last rung is step {rule.rungs[-1]}, and the arm '{arm.name}' ends with step {total}"
            yield PathProblem(("halving", "rungs"), f"{text}; rungs lie before the end")
            return


def files(spec: AblationSpec, tree: Tree) -> list[FilePath]:
    """Return the file of each spec that an ablation names under `first`.

    Raises:
        SpecError: if one does not exist.
    """
    found: list[FilePath] = []
    for index, one in enumerate(spec.first):
        where = ("first", index, "spec")
        try:
            found.append(find_spec(one.spec, FilePath()))
        except SlotlabError as error:
            raise SpecError([Problem(tree.locate(where), where, str(error))]) from None
    return found


def missing(spec: AblationSpec, tree: Tree) -> list[Problem]:
    """Return a problem for each run under `first` whose folder is not there: the arms cannot be read then."""
    problems = []
    for index, one in enumerate(spec.first):
        if not RunFolder(one.run).spec.is_file():
            text = f"{one.run} is not there: 'slotlab ablate' trains it before it reads the arms, and so does"
            where = ("first", index)
            command = f"'slotlab train {one.spec} --run {one.run}'"
            problems.append(Problem(tree.locate(where), where, f"{text} {command}"))
    return problems
