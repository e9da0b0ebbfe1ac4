"""From an ablation file to the validated spec of every run, with every mistake located in its file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

from pydantic import ValidationError

from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.plugin_loading.trust import Ask, refuse
from slotlab.framework.spec.errors import PathProblem, Problem, SpecError
from slotlab.framework.spec.load import validation_problems
from slotlab.framework.spec.merge import apply_set, find_spec, folder_of, read_tree
from slotlab.framework.spec.named_plugins import Admission
from slotlab.framework.spec.tree import Tree
from slotlab.framework.study.ablation import AblationSpec
from slotlab.framework.study.arms import ArmLoader, LoadedArm, warnings
from slotlab.framework.study.check import check_axes, check_sampling, check_study, files, missing
from slotlab.framework.study.labels import Combination, Space, label
from slotlab.framework.study.parents import Parents
from slotlab.framework.study.search import first_trial
from slotlab.registry import Registry, SlotlabError


@dataclass(frozen=True)
class Ablation:
    """A validated ablation: every run of it could be started."""

    spec: AblationSpec
    path: FilePath
    base: FilePath
    arms: tuple[LoadedArm, ...]
    baseline: LoadedArm
    warnings: Sequence[Problem]


def load_ablation(
    name: str | FilePath,
    *,
    sets: Sequence[str] = (),
    plugins: Sequence[FilePath] = (),
    strict_plugins: bool = False,
    trust: Ask = refuse,
    searched: Sequence[Combination] | None = None,
) -> Ablation:
    """Read, expand and validate an ablation; check that the parts of every arm fit together.

    Args:
        name: a file, or `slotlab:ablations/NAME` for one that comes with slotlab.
        sets: assignments `a.b=c` over the ablation, such as `seeds=[0, 1]` or
            `settings.training.batch_size=8`.
        plugins: single-file plugins, for all arms.
        strict_plugins: fail on installed plugins that cannot be loaded.
        trust: whether to run code that came with another user's run, if the base is a run's spec.
        searched: for `sampling: {name: optuna}`, the arms that were proposed so far; None for the first.

    Raises:
        SpecError: with every mistake of the ablation and of its arms, each once.
        SlotlabError: if there is no such file.
    """
    path, tree, registry, spec = read_head(name, sets=sets, plugins=plugins, strict_plugins=strict_plugins)
    chosen = combinations(spec, tree, searched)
    parents = Parents(path, folder_of(name))
    base = tree.child("base")
    assert base is not None
    base_file = parents.file(base, ("base",))
    if lacking := missing(spec, tree):
        raise SpecError(lacking)
    loader = ArmLoader(spec, tree, parents.read, path, registry, Admission(tuple(plugins), trust))
    arms = loader.load_all(chosen)
    problems = [Problem(tree.locate(p.path), p.path, p.text) for p in check_study(spec, arms)]
    if problems:
        raise SpecError(problems)
    wanted = {axis: label(one) for axis, one in spec.compare.baseline.items()} or arms[0].labels
    baseline = next(arm for arm in arms if arm.labels == wanted)
    return Ablation(spec, path, base_file, arms, baseline, warnings(arms))


def read_head(
    name: str | FilePath,
    *,
    sets: Sequence[str] = (),
    plugins: Sequence[FilePath] = (),
    strict_plugins: bool = False,
) -> tuple[FilePath, Tree, Registry, AblationSpec]:
    """Return an ablation's file, tree, components and typed sections, without its arms.

    Raises:
        SpecError: with every mistake of the ablation's own sections.
        SlotlabError: if there is no such file.
    """
    path = find_spec(name, FilePath())
    tree = read_ablation(path, name, sets)
    registry = load_registry(plugins, strict=strict_plugins)
    spec = validated(tree, registry)
    files(spec, tree)
    return path, tree, registry, spec


def read_ablation(path: FilePath, name: str | FilePath, sets: Sequence[str]) -> Tree:
    """Read the file of the ablation that is called `name`, and lay the assignments of `sets` over it.

    Raises:
        SlotlabError: if it is the spec of one experiment.
    """
    tree = read_tree(path)
    for assignment in sets:
        tree = apply_set(tree, assignment)
    if tree.child("axes") is None and tree.child("model") is not None:
        raise SlotlabError(f"{path} is the spec of one experiment: run it with 'slotlab train {name}'")
    return tree


def validated(tree: Tree, registry: Registry) -> AblationSpec:
    """Return the typed ablation.

    Raises:
        SpecError: with every mistake of the ablation's own sections.
    """
    try:
        spec = AblationSpec.model_validate(tree.plain(), context={"registry": registry})
    except ValidationError as error:
        raise SpecError(validation_problems(error, tree)) from None
    problems = [*check_axes(spec, tree), *check_sampling(spec, tree)]
    if problems:
        raise SpecError(problems)
    return spec


def combinations(
    spec: AblationSpec, tree: Tree, searched: Sequence[Combination] | None = None
) -> list[Combination]:
    """Return the combinations that become arms; of a search, those that were proposed so far.

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
        if spec.search is not None:
            baseline = {axis: label(one) for axis, one in spec.compare.baseline.items()}
            some = [first_trial(space, spec.search, baseline).labels] if space.grid() else []
            chosen = list(searched or some)
        elif spec.sampling == "list":
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
