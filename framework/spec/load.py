"""From a spec file to a validated `ExperimentSpec`, with every mistake located in its file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.plugin_loading.plugin_copies import packages, run_of
from slotlab.framework.plugin_loading.trust import Ask, refuse
from slotlab.framework.spec.errors import PathProblem, Problem, SpecError
from slotlab.framework.spec.merge import apply_set, find_spec, folder_of, read_tree
from slotlab.framework.spec.messages import say
from slotlab.framework.spec.named_plugins import Admission, Loading, admit_programs
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.spec.tree import Tree
from slotlab.registry import Registry, SlotlabError
from slotlab.registry.code import DATA


@dataclass(frozen=True)
class LoadedSpec:
    """A validated spec, and the tree that knows where each setting was written."""

    spec: ExperimentSpec
    tree: Tree
    registry: Registry
    path: FilePath
    replaced: Mapping[str, str] = field(default_factory=dict)
    """A run's plugins that files given with --plugin replaced, and these: `my_encoder.py@29c634b1` each."""

    @property
    def notes(self) -> list[Problem]:
        """Warnings about plugins: those that replaced a run's, and those that may open files not copied."""
        texts = [
            f"{now}, given with --plugin, takes the place of {before}, which the run was trained with"
            for before, now in self.replaced.items()
        ]
        texts += [
            f"{code.name} uses __file__; of the files that it opens beside it, a run copies only those "
            f"that it lists: {DATA} = ['words.txt']"
            for code in self.registry.files
            if code.seeks_files
        ]
        return [Problem(self.tree.locate(("plugins",)), ("plugins",), text) for text in texts]

    def error(self, problems: Iterable[PathProblem]) -> SpecError:
        """Locate problems that were found later, such as while building."""
        return SpecError(Problem(self.tree.locate(p.path), p.path, p.text) for p in problems)


class OtherSort(SlotlabError):  # noqa: N818 - the file may well be right
    """The file is an ablation, not the spec of one experiment."""


def load_spec(
    name: str | FilePath,
    *,
    sets: Sequence[str] = (),
    plugins: Sequence[FilePath] = (),
    strict_plugins: bool = False,
    trust: Ask = refuse,
    of_run: bool = False,
) -> LoadedSpec:
    """Read, merge, load the plugins it names, and validate.

    Args:
        name: a file, or `slotlab:NAME` for a spec that comes with slotlab.
        sets: assignments `a.b=c`, laid over the file in order.
        plugins: single-file plugins, loaded besides those that the spec names; of a run's spec they take
            the place of copies with the same name or the same components.
        strict_plugins: fail on installed plugins that cannot be loaded.
        trust: decides whether code that came with another user's run may run; by default it is refused.
        of_run: whether the spec is a run's, even if its folder holds nothing else.

    Raises:
        SpecError: with every mistake of the spec.
        OtherSort: for an ablation.
        SlotlabError: if there is no such file.
    """
    path = find_spec(name, FilePath())
    tree = read_tree(path, folder=folder_of(name))
    for assignment in sets:
        tree = apply_set(tree, assignment)
    if tree.child("axes") is not None and tree.child("base") is not None:
        raise OtherSort(
            f"{path} is an ablation: run it with 'slotlab ablate {name}' (--dry-run only plans it)"
        )
    registry = load_registry(strict=strict_plugins)
    of_run = of_run or run_of(path.parent) is not None
    if of_run:
        registry.sources = packages(path.parent)
    return load_tree(tree, registry, path, Admission(tuple(plugins), trust, of_run))


def load_tree(tree: Tree, registry: Registry, path: FilePath, admission: Admission) -> LoadedSpec:
    """Load the plugins that a merged spec names, and validate it; `path` is the file it came from.

    All plugin files that were loaded are listed in the spec, those of --plugin too, so that a run keeps
    copies of them.

    Raises:
        SpecError: with every mistake of the spec.
    """
    loading = Loading(tree, registry, admission)
    loading.load()
    try:
        spec = ExperimentSpec.model_validate(tree.plain(), context={"registry": registry})
    except ValidationError as error:
        raise SpecError(validation_problems(error, tree)) from None
    admit_programs(spec, tree, admission)
    spec = spec.model_copy(update={"plugins": tuple(code.path for code in registry.files)})
    return LoadedSpec(spec, tree, registry, path, loading.replaced)


def validation_problems(error: ValidationError, tree: Tree) -> list[Problem]:
    """Return pydantic's errors with the file and line of the tree that was validated."""
    details = error.errors()
    paths: list[tuple[Any, ...]] = [tuple(detail["loc"]) for detail in details]
    holders = {path[:length] for path in paths for length in range(len(path))}
    found = []
    for path, detail in zip(paths, details, strict=True):
        if detail["type"] == "too_short" and path in holders:
            continue  # pydantic counts the valid items only
        found.append(Problem(tree.locate(path), path, say(detail)))
    return found
