"""What a data command is pointed at: a spec, or a folder or file whose dataset is guessed.

The guess looks at names, never into pictures; whatever it gets wrong is said in a spec, or
by `--set data.dataset.KEY=VALUE`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from slotlab.framework.data.inspection.guess import guess
from slotlab.framework.data.source import WHOLE, own_splits
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.plugin_loading.trust import Ask, refuse
from slotlab.framework.spec.data import DataSpec
from slotlab.framework.spec.errors import Mark, Problem, SpecError
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.merge import SHIPPED, Option, apply_set
from slotlab.framework.spec.messages import say
from slotlab.framework.spec.tree import Tree
from slotlab.registry import ClosedModel

_SPEC_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class Target:
    """Data to look at, pack or measure."""

    name: str
    """The spec's name, or that of the dataset which was guessed."""
    data: DataSpec
    splits: tuple[str, ...]
    """The spec's training and evaluation split; of a folder, its own splits, or `all`."""
    slots: int | None = None
    """Of the spec's model."""


class _DataAlone(ClosedModel):
    """The part of a spec that a folder stands for."""

    data: DataSpec
    """What is read."""


def find_target(
    what: str,
    *,
    protocol: str | None = None,
    sets: Sequence[str] = (),
    plugins: Sequence[Path] = (),
    trust: Ask = refuse,
) -> Target:
    """Return what SPEC or ROOT stands for.

    Args:
        what: a spec file or `slotlab:NAME`; or a folder or file of data.
        protocol: the name of a protocol, or a block (`{name: seed, image_size: 64}`), in place of the
            spec's or the guessed one.
        sets: assignments `a.b=c`, laid over the spec or the guess.
        plugins: single-file plugins to load.
        trust: whether to run code that came with another user's run, if it is a run's spec.

    Raises:
        SpecError: for settings that are not valid, each with the `--set` or line it comes from.
        SlotlabError: if it is neither a spec nor data of a known kind.
    """
    if what.startswith(SHIPPED) or what.lower().endswith(_SPEC_ENDINGS):
        chosen = () if protocol is None else (Option(f"data.protocol={protocol}", f"--protocol {protocol}"),)
        spec = load_spec(what, sets=(*chosen, *sets), plugins=plugins, trust=trust).spec
        splits = dict.fromkeys((spec.data.train_split, spec.evaluation.split))
        slots = spec.evaluation.slots or spec.model.slots
        return Target(spec.name, spec.data, tuple(splits), slots)
    block, usual = guess(what, sets)
    chosen = () if protocol is None else (Option(f"data.protocol={protocol}", f"--protocol {protocol}"),)
    found = _validate({"dataset": block, "protocol": usual}, what, (*chosen, *sets), plugins)
    own = own_splits(found.data)
    splits_of_root = (WHOLE,) if own is None else tuple(own)
    return Target(found.data.dataset.name, found.data, splits_of_root)


def _validate(data: Any, what: str, sets: Sequence[str], plugins: Sequence[Path]) -> _DataAlone:
    tree = _tree({"data": data}, Mark(what))
    for assignment in sets:
        tree = apply_set(tree, assignment)
    registry = load_registry(plugins)
    try:
        return _DataAlone.model_validate(tree.plain(), context={"registry": registry})
    except ValidationError as error:
        paths = [(tuple(detail["loc"]), say(detail)) for detail in error.errors()]
        raise SpecError(Problem(tree.locate(path), path, text) for path, text in paths) from None


def _tree(data: Any, mark: Mark) -> Tree:
    """Write plain data as a tree, all of it at one place."""
    if isinstance(data, dict):
        return Tree({key: _tree(value, mark) for key, value in data.items()}, mark)
    return Tree(data, mark)
