"""From a spec file to a validated `ExperimentSpec`, every mistake located."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from slotlab.framework.discovery import load_registry
from slotlab.framework.paths import resolve
from slotlab.framework.spec.errors import PathProblem, Problem, SpecError
from slotlab.framework.spec.merge import apply_set, find_spec, folder_of, read_tree
from slotlab.framework.spec.messages import say
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.spec.tree import Tree
from slotlab.registry import PluginError, Registry, SlotlabError


@dataclass(frozen=True)
class LoadedSpec:
    """A validated spec with what is needed to say where each setting came from."""

    spec: ExperimentSpec
    tree: Tree
    registry: Registry
    path: FilePath

    def error(self, problems: Iterable[PathProblem]) -> SpecError:
        """Locate problems that were found later, such as while building."""
        return SpecError(Problem(self.tree.locate(p.path), p.path, p.text) for p in problems)


class OtherSort(SlotlabError):  # noqa: N818 - the file may well be right
    """The file declares an ablation, not one experiment."""


def load_spec(
    name: str | FilePath,
    *,
    sets: Sequence[str] = (),
    plugins: Sequence[FilePath] = (),
    strict_plugins: bool = False,
) -> LoadedSpec:
    """Read, merge, load the plugins it names, and validate.

    Args:
        name: a file, or `slotlab:NAME` for a spec that comes with slotlab.
        sets: assignments `a.b=c`, laid over the file in order.
        plugins: single-file plugins, loaded besides those that the spec names.
        strict_plugins: fail on installed plugins that cannot be loaded.

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
        raise OtherSort(f"{path} is an ablation: run it with 'slotlab ablate {name}'")
    registry = load_registry(plugins, strict=strict_plugins)
    return load_tree(tree, registry, path)


def load_tree(tree: Tree, registry: Registry, path: FilePath) -> LoadedSpec:
    """Load the plugins that a merged spec names, and validate it; `path` is the file it came from.

    Raises:
        SpecError: with every mistake of the spec.
    """
    _load_named_plugins(tree, registry)
    try:
        spec = ExperimentSpec.model_validate(tree.plain(), context={"registry": registry})
    except ValidationError as error:
        raise SpecError(validation_problems(error, tree)) from None
    return LoadedSpec(spec, tree, registry, path)


def _load_named_plugins(tree: Tree, registry: Registry) -> None:
    """Load the files under `plugins:`; what is not a list of names is left to validation."""
    listed = tree.child("plugins")
    items = listed.value if listed is not None and isinstance(listed.value, list) else []
    problems = []
    for index, item in enumerate(items):
        if isinstance(item.value, str):
            try:
                registry.add_file(resolve(item.value))
            except PluginError as error:
                problems.append(Problem(item.mark, ("plugins", index), str(error)))
    if problems:
        raise SpecError(problems)


def validation_problems(error: ValidationError, tree: Tree) -> list[Problem]:
    """Locate pydantic's findings in the tree that was validated."""
    details = error.errors()
    paths: list[tuple[Any, ...]] = [tuple(detail["loc"]) for detail in details]
    found = []
    for path, detail in zip(paths, details, strict=True):
        faulty_items = any(other[: len(path)] == path for other in paths if len(other) > len(path))
        if detail["type"] == "too_short" and faulty_items:
            continue  # pydantic counts the valid items only
        found.append(Problem(tree.locate(path), path, say(detail)))
    return found
