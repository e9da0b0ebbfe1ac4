"""The arms of an ablation: the base spec with the values of the axes laid over it, then validated."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

from slotlab.framework.model.check import check_parts
from slotlab.framework.model.start import check_start
from slotlab.framework.spec.cautions import cautions
from slotlab.framework.spec.errors import Problem, SpecError
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import LoadedSpec, load_tree
from slotlab.framework.spec.merge import assign
from slotlab.framework.spec.named_plugins import Admission
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.spec.tree import Tree
from slotlab.framework.study.ablation import EXTENDS, AblationSpec, AxisSpec
from slotlab.framework.study.labels import Combination, arm_name
from slotlab.framework.system.privacy import nameless
from slotlab.framework.training.trackers import check_trackers
from slotlab.registry import Registry


@dataclass(frozen=True)
class LoadedArm:
    """One combination of the axes' labels, and its spec with the first seed."""

    name: str
    labels: Combination
    settings: Mapping[str, Any]
    """Value by spec path, of what the axes set: data that JSON can hold."""
    loaded: LoadedSpec

    def spec(self, seed: int) -> ExperimentSpec:
        """Return the spec of one run."""
        return self.loaded.spec.model_copy(update={"seed": seed})

    def run_id(self, seed: int) -> str:
        """Return the identity of one run."""
        return run_id(self.spec(seed))


@dataclass(frozen=True)
class ArmLoader:
    """Lays the values of the axes over what all arms have in common, and validates the result."""

    spec: AblationSpec
    tree: Tree
    """The ablation as it was written, for the lines of its values."""
    read: Callable[[Tree, tuple[str, ...]], Tree]
    """Reads the spec that a value at a place of the ablation names."""
    path: FilePath
    """The ablation's file."""
    registry: Registry
    admission: Admission

    def load_all(self, combinations: Sequence[Combination]) -> tuple[LoadedArm, ...]:
        """Return one arm for each combination.

        Raises:
            SpecError: with the mistakes of all arms, each once.
        """
        problems: dict[Problem, list[str]] = {}
        arms = []
        for combination in combinations:
            try:
                arms.append(self.load(combination))
            except SpecError as error:
                for problem in error.problems:
                    problems.setdefault(problem, []).append(arm_name(combination))
        if problems:
            raise SpecError(
                _of_arms(problem, names, len(combinations)) for problem, names in problems.items()
            )
        return tuple(arms)

    def load(self, combination: Combination) -> LoadedArm:
        """Validate the spec of one arm, and check that the parts of its model fit together.

        Raises:
            SpecError: with every mistake of this arm.
        """
        chosen: dict[str, Tree] = {}
        for number, axis in enumerate(self.spec.axes):
            value = values_of(self.tree, number)[list(axis.values).index(combination[axis.name])]
            chosen |= dict(blocks(axis, value))
        other = chosen.pop(EXTENDS, None)
        base = self.tree.child("base") if other is None else other
        assert base is not None
        merged = lay(self.read(base, ("base",) if other is None else ("axes",)), self.tree.child("settings"))
        settings = {} if other is None else {EXTENDS: nameless(str(other.value))}
        for key, one in chosen.items():
            merged = assign(merged, key, one)
            settings[key] = plain(one.plain())
        for key, text in (("name", self.spec.name), ("seed", self.spec.seeds[0])):
            merged = assign(merged, key, Tree(text, self.tree.mark))
        loaded = load_tree(merged, self.registry, self.path, self.admission)
        problems = check_parts(loaded.spec) + check_trackers(loaded.spec) + check_start(loaded.spec)
        if problems:
            raise loaded.error(problems)
        return LoadedArm(arm_name(combination), combination, settings, loaded)


def lay(tree: Tree, block: Tree | None) -> Tree:
    """Lay a part of a spec, whose keys may be dotted paths, over another; None changes nothing."""
    for key, value in () if block is None else block.value.items():
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


def plain(value: Any) -> Any:
    """Return plain data as JSON can hold it: text that remembers its folder (`SpecString`) becomes `str`."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def metrics_of(spec: ExperimentSpec) -> tuple[str, ...]:
    """Return the names of a spec's metrics."""
    return tuple(ref.name for ref in spec.evaluation.metrics)


def warnings(arms: Sequence[LoadedArm]) -> list[Problem]:
    """Return the warnings of all arms, each once."""
    found: dict[Problem, list[str]] = {}
    for arm in arms:
        for problem in arm.loaded.error(cautions(arm.loaded.spec)).problems:
            found.setdefault(problem, []).append(arm.name)
    return [_of_arms(problem, names, len(arms)) for problem, names in found.items()]


def _of_arms(problem: Problem, names: Sequence[str], number: int) -> Problem:
    """Return a problem that names the arms which have it, unless all have it."""
    if len(names) == number:
        return problem
    more = "" if len(names) == 1 else f" and {len(names) - 1} more"
    return replace(problem, text=f"{problem.text} (arm '{names[0]}'{more})")
