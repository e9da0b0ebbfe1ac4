"""From an ablation file to the validated spec of every run, every mistake located."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from slotlab.framework.model.check import check_parts
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.plugin_loading.trust import Ask, refuse
from slotlab.framework.spec.cautions import cautions
from slotlab.framework.spec.errors import PathProblem, Problem, SpecError
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import LoadedSpec, load_tree, validation_problems
from slotlab.framework.spec.merge import apply_set, assign, find_spec, folder_of, read_tree
from slotlab.framework.spec.named import Admission
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.spec.tree import Tree
from slotlab.framework.study.ablation import AblationSpec, AxisSpec
from slotlab.framework.study.labels import Combination, Space, arm_name, label
from slotlab.framework.study.launching import LauncherContext
from slotlab.framework.training.trackers import check_trackers
from slotlab.registry import ComponentError, Registry, SlotlabError
from slotlab.registry.component import suggest

_UNVARIED = {
    "name": "the study names its arms itself",
    "format": "the format is one",
    "seed": "give seeds under 'seeds'",
    "plugins": "plugins are loaded for all arms; name them under 'settings'",
    "evaluation": "all arms are measured alike; set it under 'settings'",
}


@dataclass(frozen=True)
class Arm:
    """One combination, and its spec with the first seed."""

    name: str
    labels: Combination
    settings: Mapping[str, Any]
    """Spec path to value, of what the axes set: data that JSON can hold."""
    loaded: LoadedSpec

    def spec(self, seed: int) -> ExperimentSpec:
        """Return the spec of one run."""
        return self.loaded.spec.model_copy(update={"seed": seed})

    def run_id(self, seed: int) -> str:
        """Return the identity of one run."""
        return run_id(self.spec(seed))


@dataclass(frozen=True)
class Ablation:
    """A validated ablation: every run of it could be started."""

    spec: AblationSpec
    path: FilePath
    base: FilePath
    arms: tuple[Arm, ...]
    baseline: Arm
    warnings: Sequence[Problem]


def load_ablation(
    name: str | FilePath,
    *,
    sets: Sequence[str] = (),
    plugins: Sequence[FilePath] = (),
    strict_plugins: bool = False,
    trust: Ask = refuse,
) -> Ablation:
    """Read, expand and validate an ablation; check that the parts of every arm fit together.

    Args:
        name: a file, or `slotlab:ablations/NAME` for one that comes with slotlab.
        sets: assignments `a.b=c` over the ablation, such as `seeds=[0, 1]` or
            `settings.training.batch_size=8`.
        plugins: single-file plugins, for all arms.
        strict_plugins: fail on installed plugins that cannot be loaded.
        trust: whether to run code that came with another user's run, if the base is a run's spec.

    Raises:
        SpecError: with every mistake of the ablation and of its arms, each once.
        SlotlabError: if there is no such file.
    """
    path = find_spec(name, FilePath())
    tree = read_tree(path)
    for assignment in sets:
        tree = apply_set(tree, assignment)
    if tree.child("axes") is None and tree.child("model") is not None:
        raise SlotlabError(f"{path} is the spec of one experiment: run it with 'slotlab train {name}'")
    registry = load_registry(plugins, strict=strict_plugins)
    try:
        spec = AblationSpec.model_validate(tree.plain(), context={"registry": registry})
    except ValidationError as error:
        raise SpecError(validation_problems(error, tree)) from None
    refused = [*check_axes(spec, tree), *check_sampling(spec, tree)]
    if refused:
        raise SpecError(refused)
    chosen = combinations(spec, tree)
    base = base_file(tree, path)
    admission = Admission(tuple(plugins), trust)
    arms = load_arms(spec, tree, read_base(base, tree, name), path, chosen, registry, admission)
    problems = [Problem(tree.locate(p.path), p.path, p.text) for p in check_study(spec, arms)]
    if problems:
        raise SpecError(problems)
    wanted = {axis: label(one) for axis, one in spec.compare.baseline.items()} or arms[0].labels
    baseline = next(arm for arm in arms if arm.labels == wanted)
    return Ablation(spec, path, base, arms, baseline, warnings(arms))


def base_file(tree: Tree, path: FilePath) -> FilePath:
    """Return the file of the base spec."""
    base = tree.child("base")
    assert base is not None
    folder = getattr(base.value, "folder", path.parent)  # of a --set: the current folder
    try:
        return find_spec(base.value, folder)
    except SlotlabError as error:
        raise SpecError([Problem(base.mark, ("base",), str(error))]) from None


def read_base(base: FilePath, tree: Tree, name: str | FilePath) -> Tree:
    """Read the base spec of the ablation that is called `name`.

    Raises:
        SpecError: for an ablation.
    """
    value = tree.child("base")
    folder = folder_of(name) or (None if value is None else folder_of(str(value.value)))
    found = read_tree(base, folder=folder)
    if found.child("axes") is not None and found.child("base") is not None:
        text = f"{base} is an ablation itself; name the spec of one experiment"
        raise SpecError([Problem(tree.locate(("base",)), ("base",), text)])
    return found


def combinations(spec: AblationSpec, tree: Tree) -> list[Combination]:
    """Return the combinations that become arms.

    Raises:
        SpecError: for labels that are not there, or if nothing is left.
    """
    space = Space({axis.name: list(axis.values) for axis in spec.axes}, spec.exclude)
    problems: list[PathProblem] = []
    for key, listed, whole in (("exclude", spec.exclude, False), ("arms", spec.arms, True)):
        for index, labels in enumerate(listed):
            problems += space.complaints(labels, (key, index), whole=whole)
    if spec.compare.baseline:
        problems += space.complaints(spec.compare.baseline, ("compare", "baseline"), whole=True)
    chosen: list[Combination] = []
    if not problems:
        if spec.sampling == "list":
            chosen = space.listed(spec.arms)
        else:
            chosen = space.grid() if spec.count is None else space.sample(spec.count, spec.sampling_seed)
        if not chosen:
            problems.append(
                PathProblem(("exclude",), "every combination is excluded; nothing is left to run")
            )
    if problems:
        raise SpecError(Problem(tree.locate(p.path), p.path, p.text) for p in problems)
    return chosen


def load_arms(
    spec: AblationSpec,
    tree: Tree,
    base: Tree,
    path: FilePath,
    chosen: Sequence[Combination],
    registry: Registry,
    admission: Admission,
) -> tuple[Arm, ...]:
    """Validate the spec of every arm, and check that its parts fit.

    Raises:
        SpecError: with the mistakes of all arms.
    """
    settings = tree.child("settings")
    common = base if settings is None else lay(base, settings)
    problems: dict[Problem, list[str]] = {}
    arms = []
    for combination in chosen:
        name = arm_name(combination)
        try:
            arms.append(load_arm(spec, tree, common, path, combination, registry, admission))
        except SpecError as error:
            for problem in error.problems:
                problems.setdefault(problem, []).append(name)
    if problems:
        raise SpecError(_of_arms(problem, names, len(chosen)) for problem, names in problems.items())
    return tuple(arms)


def load_arm(
    spec: AblationSpec,
    tree: Tree,
    common: Tree,
    path: FilePath,
    combination: Combination,
    registry: Registry,
    admission: Admission,
) -> Arm:
    """Validate the spec of one arm."""
    merged, settings = common, {}
    for number, axis in enumerate(spec.axes):
        value = values_of(tree, number)[list(axis.values).index(combination[axis.name])]
        for key, one in blocks(axis, value):
            merged = assign(merged, key, one)
            settings[key] = plain(one.plain())
    name = arm_name(combination)
    for key, text in (("name", spec.name), ("seed", spec.seeds[0])):
        merged = assign(merged, key, Tree(text, tree.mark))
    loaded = load_tree(merged, registry, path, admission)
    problems = check_parts(loaded.spec) + check_trackers(loaded.spec)
    if problems:
        raise loaded.error(problems)
    return Arm(name, combination, settings, loaded)


def lay(tree: Tree, block: Tree) -> Tree:
    """Lay a part of a spec over another; keys may be paths."""
    for key, value in block.value.items():
        tree = assign(tree, key, value)
    return tree


def blocks(axis: AxisSpec, value: Tree) -> Iterator[tuple[str, Tree]]:
    """Yield (spec path, value) of what one value of an axis sets."""
    if axis.path is not None:
        yield axis.path, value
    else:
        yield from value.value.items()


def values_of(tree: Tree, axis: int) -> list[Tree]:
    """Return the values of an axis, in the order of its labels."""
    values = tree.child("axes").child(axis).child("values").value  # type: ignore[union-attr]
    return list(values.values() if isinstance(values, dict) else values)


def check_axes(spec: AblationSpec, tree: Tree) -> Iterator[Problem]:
    """Yield what no axis can vary."""
    seen = set()
    for number, axis in enumerate(spec.axes):
        for value in values_of(tree, number):
            for path, one in blocks(axis, value):
                reason = _UNVARIED.get(path.partition(".")[0])
                if reason is not None and path not in seen:
                    seen.add(path)
                    yield Problem(one.mark, ("axes",), f"'{path}' cannot be varied: {reason}")


def check_sampling(spec: AblationSpec, tree: Tree) -> Iterator[Problem]:
    """Yield what `sampling` lacks, and what is given to another sampling."""
    for way, key, given in (
        ("list", "arms", bool(spec.arms)),
        ("random", "count", spec.count is not None),
    ):
        if given != (spec.sampling == way):
            path, what = (key, f"write 'sampling: {way}'") if given else ("sampling", f"give '{key}'")
            text = f"'sampling: {way}' and '{key}' go together; {what}"
            yield Problem(tree.locate((path,)), (path,), text)


def plain(value: Any) -> Any:
    """Return data that JSON can hold, without the folders that texts remember."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def check_study(spec: AblationSpec, arms: Sequence[Arm]) -> Iterator[PathProblem]:
    """Yield what is wrong with the study as a whole."""
    first: dict[str, Arm] = {}
    for arm in arms:
        other = first.setdefault(arm.run_id(spec.seeds[0]), arm)
        if other is not arm:
            text = f"the arms '{other.name}' and '{arm.name}' are the same training; leave one of them out"
            yield PathProblem(("axes",), text)
    wanted = {axis: label(one) for axis, one in spec.compare.baseline.items()}
    if wanted and not any(arm.labels == wanted for arm in arms):
        text = f"the baseline '{arm_name(wanted)}' is none of the arms: {'; '.join(arm.name for arm in arms)}"
        yield PathProblem(("compare", "baseline"), text)
    measured = metrics_of(arms[0].loaded.spec)
    for index, name in enumerate(spec.compare.metrics):
        if name not in measured:
            hint = suggest(name, measured)
            text = f"'{name}' is none of evaluation.metrics{hint} (measured: {', '.join(measured)})"
            yield PathProblem(("compare", "metrics", index), text)
    compared = spec.compare.metrics or measured
    primary = spec.compare.primary
    if primary is not None and primary not in compared:
        hint = suggest(primary, compared)
        text = f"'{primary}' is none of the metrics that are compared{hint} ({', '.join(compared)})"
        yield PathProblem(("compare", "primary"), text)
    try:
        spec.launcher.build(LauncherContext(folder=FilePath(), name=spec.name))
    except ComponentError as error:
        where = ("launcher",) if error.field is None else ("launcher", error.field)
        yield PathProblem(where, f"{spec.launcher.name}: {error}")


def metrics_of(spec: ExperimentSpec) -> tuple[str, ...]:
    """Return the names of what a spec measures."""
    return tuple(ref.name for ref in spec.evaluation.metrics)


def warnings(arms: Sequence[Arm]) -> list[Problem]:
    """Return the warnings of all arms, each once."""
    found: dict[Problem, list[str]] = {}
    for arm in arms:
        for problem in arm.loaded.error(cautions(arm.loaded.spec)).problems:
            found.setdefault(problem, []).append(arm.name)
    return [_of_arms(problem, names, len(arms)) for problem, names in found.items()]


def _of_arms(problem: Problem, names: Sequence[str], number: int) -> Problem:
    """Say which arms have a problem, unless all have it."""
    if len(names) == number:
        return problem
    more = "" if len(names) == 1 else f" and {len(names) - 1} more"
    return replace(problem, text=f"{problem.text} (arm '{names[0]}'{more})")
