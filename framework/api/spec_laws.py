"""The cheap half of the laws on a spec's own components: what `slotlab validate` adds to its warnings."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from slotlab.framework.laws.runner import check, failures
from slotlab.framework.laws.verdict import Verdict
from slotlab.framework.spec.identity import nodes
from slotlab.framework.spec.load import LoadedSpec
from slotlab.registry import Ref, Registered

SECONDS = 3.0
"""The longest that laws are checked; components that are left are told of."""
SHIPPED = "slotlab"
"""The package whose own components are checked before it is published."""


def own_components(spec: Any) -> Mapping[tuple[str, str], Ref]:
    """Return the components that a typed spec names and that do not come with slotlab, by kind and name.

    Of one that is named several times, the first.
    """
    found: dict[tuple[str, str], Ref] = {}
    for _, value in nodes(spec):
        if isinstance(value, Ref) and is_own(value.registered):
            found.setdefault((value.registered.kind, value.name), value)
    return found


def is_own(item: Registered) -> bool:
    """Return whether a component comes from a plugin file or another package than slotlab."""
    return item.path is not None or item.source.rpartition(" ")[0] != SHIPPED


def broken_laws(loaded: LoadedSpec, seconds: float = SECONDS) -> list[str]:
    """Return what the cheap laws say of a spec's own components, in sentences; nothing if all hold.

    Nothing that a component builds is called.
    """
    own = own_components(loaded.spec)
    until, found = time.monotonic() + seconds, list[str]()
    for number, ((kind, name), ref) in enumerate(own.items()):
        if time.monotonic() > until:
            left = [f"{kind} '{name}'" for kind, name in list(own)[number:]]
            return [*found, f"not checked in {seconds:g} s: {', '.join(left)}; 'slotlab check' checks them"]
        settings = {(kind, name): ref.config.model_dump(mode="json")}
        found += sentences(check([ref.registered], loaded.registry, settings, cheap=True))
    return found


def sentences(verdicts: Iterable[Verdict]) -> list[str]:
    """Return each broken law in a sentence, with its place first and what to do about it last."""
    texts = []
    for one in failures(list(verdicts)):
        place = f"{one.place}: " if one.place else ""
        repair = f"; {one.repair}" if one.repair else ""
        texts.append(f"{place}{one.kind} '{one.component}': not so: {one.law} ({one.reason}){repair}")
    return texts
