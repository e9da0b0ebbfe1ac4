"""Find the dataset that reads a folder or file: each dataset that can recognize its data is asked.

A dataset takes part if its Config has the two members of `RecognizesData`, whichever plugin it comes from.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slotlab.framework.contracts import Recognized, RecognizesData
from slotlab.framework.contracts.component_calls import called
from slotlab.framework.spec.data import DataSpec
from slotlab.framework.spec.paths import expand
from slotlab.registry import Registry, SlotlabError

_DATASET = "data.dataset"


def recognize(what: str, registry: Registry, sets: Sequence[str] = ()) -> dict[str, Any]:
    """Return the section `data` of a spec for a folder or file: the dataset and its usual protocol.

    If several datasets recognize it, those whose claims are not `general` are preferred. If several are left,
    `data.dataset.name` in `sets` decides.

    Args:
        what: the folder or file.
        registry: the datasets that are asked.
        sets: assignments `a.b=c` that will be laid over the result.

    Raises:
        SlotlabError: if `what` is missing, no dataset or more than one recognizes it, or the user must
            choose the value of a setting.
    """
    root = expand(what).absolute()
    if not root.exists():
        raise SlotlabError(f"there is no file or folder {what}; {_right(registry)}")
    name, claim = _choose(what, _claims(root, registry), registry, _assigned(sets))
    for setting, values in claim.choices.items():
        if not any(key in _assigned(sets) for key in (_DATASET, f"{_DATASET}.{setting}")):
            hint = f"give the folder or file of one of them, or --set {_DATASET}.{setting}={values[0]}"
            text = (
                f"{root} holds data of '{name}' for {len(values)} values of {setting} ({', '.join(values)})"
            )
            raise SlotlabError(f"{text}; {hint}")
    usual = claim.protocol or DataSpec.model_fields["protocol"].default
    return {"dataset": {"name": name, **claim.settings}, "protocol": usual}


def _claims(root: Path, registry: Registry) -> dict[str, Recognized]:
    """Return what each dataset that recognizes `root` reads from it, by the datasets' names."""
    found: dict[str, Recognized] = {}
    for name, config in _askable(registry).items():
        with called(f"'recognize' of dataset '{name}'"):
            claim: object = config.recognize(root)
        if claim is None:
            continue
        if not isinstance(claim, Recognized):
            text = f"'recognize' of dataset '{name}' returned a {type(claim).__name__}; it must return"
            raise SlotlabError(
                f"{text} Recognized or None (see RecognizesData in slotlab.framework.contracts)"
            )
        found[name] = claim
    return found


def _askable(registry: Registry) -> dict[str, RecognizesData]:
    """Return the Configs, which are classes, of the datasets that can recognize their data, by name."""
    configs: dict[str, Any] = {one.component.name: one.component.config for one in registry.all("dataset")}
    return {name: config for name, config in configs.items() if isinstance(config, RecognizesData)}


def _choose(
    what: str, claims: Mapping[str, Recognized], registry: Registry, assigned: Mapping[str, str]
) -> tuple[str, Recognized]:
    chosen = assigned.get(f"{_DATASET}.name", "")
    if chosen in claims:
        return chosen, claims[chosen]
    specific = {name: claim for name, claim in claims.items() if not claim.general}
    best = list((specific or claims).items())
    if not best:
        found = _describe(expand(what).absolute())
        raise SlotlabError(f"{what} is no data of a known kind: {found}; {_right(registry)}")
    if len(best) > 1:
        names = ", ".join(f"'{name}'" for name, _ in best)
        hint = f"choose one, such as --set {_DATASET}.name={best[0][0]}"
        raise SlotlabError(f"{what} is recognized by {len(best)} datasets ({names}); {hint}")
    return best[0]


def _assigned(sets: Sequence[str]) -> dict[str, str]:
    """Return the values of assignments `a.b=c` by their keys, as they are written."""
    parts = (assignment.partition("=") for assignment in sets)
    return {key.strip(): value.strip() for key, _, value in parts}


def _right(registry: Registry) -> str:
    """Say what may be given instead."""
    known = [config.recognized_data for config in _askable(registry).values()]
    return f"give a spec (FILE.yaml or slotlab:NAME), {', '.join(known[:-1])}, or {known[-1]}"


def _describe(root: Path) -> str:
    """Say what was found instead."""
    if root.is_file():
        return f"a file that ends in '{root.suffix}'" if root.suffix else "a file without an ending"
    entries = sorted(root.iterdir())
    if not entries:
        return "the folder is empty"
    kinds = Counter("folder" if entry.is_dir() else entry.suffix or "no ending" for entry in entries)
    listed = ", ".join(f"{number} x {kind}" for kind, number in kinds.most_common(4))
    return f"it holds {listed}"
