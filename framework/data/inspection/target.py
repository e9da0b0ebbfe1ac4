"""The data that a command is given: a spec, or a folder or file that a dataset recognizes.

Datasets recognize their data by names and headers. Where they are wrong, write a spec, or use
`--set data.dataset.KEY=VALUE`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from slotlab.framework.data.inspection.recognition import recognize
from slotlab.framework.data.source import WHOLE, own_splits
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.plugin_loading.trust import Ask, refuse
from slotlab.framework.spec.data import DataSpec
from slotlab.framework.spec.errors import Mark, Problem, SpecError
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.merge import SHIPPED, Option, apply_set
from slotlab.framework.spec.messages import say
from slotlab.framework.spec.tree import Tree
from slotlab.registry import ClosedModel, Registry

_SPEC_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class DataTarget:
    """Data to inspect, pack or verify."""

    name: str
    """The spec's name, or that of the dataset which recognized the folder or file."""
    data: DataSpec
    splits: tuple[str, ...]
    """The training and evaluation split of a spec; for a folder, those that its dataset defines, or `all`."""
    slots: int | None = None
    """The number of slots of the spec's model; None for a folder or file."""


class _DataAlone(ClosedModel):
    """The part of a spec that a folder or file stands for."""

    data: DataSpec
    """The data."""


def find_target(
    what: str,
    *,
    protocol: str | None = None,
    sets: Sequence[str] = (),
    plugins: Sequence[Path] = (),
    trust: Ask = refuse,
) -> DataTarget:
    """Return the data that SPEC or ROOT stands for.

    Args:
        what: a spec file or `slotlab:NAME`; or a folder or file of data.
        protocol: the name of a protocol, or a block (`{name: seed, image_size: 64}`), that replaces the
            spec's or the usual one.
        sets: assignments `a.b=c`, laid over the spec, or over what a dataset recognized.
        plugins: single-file plugins to load.
        trust: decides whether to run code that came with another user's run, if `what` is a run's spec.

    Raises:
        SpecError: for settings that are not valid, each with the `--set` or line it comes from.
        SlotlabError: if `what` is neither a spec nor data that a dataset recognizes.
    """
    chosen = () if protocol is None else (Option(f"data.protocol={protocol}", f"--protocol {protocol}"),)
    if is_spec(what):
        spec = load_spec(what, sets=(*chosen, *sets), plugins=plugins, trust=trust).spec
        splits = dict.fromkeys((spec.data.train_split, spec.evaluation.split))
        slots = spec.evaluated_slots
        return DataTarget(spec.name, spec.data, tuple(splits), slots)
    registry = load_registry(plugins)
    tree = _tree({"data": recognize(what, registry, sets)}, Mark(what))
    data = _validate(tree, (*chosen, *sets), registry)
    own = own_splits(data)
    return DataTarget(data.dataset.name, data, (WHOLE,) if own is None else tuple(own))


def is_spec(what: str) -> bool:
    """Return whether a command's argument names a spec, by its spelling; else it names data."""
    return what.startswith(SHIPPED) or what.lower().endswith(_SPEC_ENDINGS)


def _validate(tree: Tree, sets: Sequence[str], registry: Registry) -> DataSpec:
    for assignment in sets:
        tree = apply_set(tree, assignment)
    try:
        return _DataAlone.model_validate(tree.plain(), context={"registry": registry}).data
    except ValidationError as error:
        paths = [(tuple(detail["loc"]), say(detail)) for detail in error.errors()]
        raise SpecError(Problem(tree.locate(path), path, text) for path, text in paths) from None


def _tree(data: Any, mark: Mark) -> Tree:
    """Return plain data as a tree whose every value has the same mark."""
    if isinstance(data, dict):
        return Tree({key: _tree(value, mark) for key, value in data.items()}, mark)
    if isinstance(data, list):
        return Tree([_tree(value, mark) for value in data], mark)
    return Tree(data, mark)
