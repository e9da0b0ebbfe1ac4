"""What a run needs installed, as its provenance tells: packages with its components, and extras."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from slotlab.framework.plugin_loading.plugin_copies import entries

OWN = "slotlab"
SAFE = re.compile(r"[A-Za-z0-9][\w.-]*(?:\[[\w.,-]+\])?")
"""Names of packages, with extras: nothing else goes into a command that others copy."""
VERSION = re.compile(r"[\w.!+-]+")


def needs(provenance: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the card's section on packages; none if slotlab alone is enough.

    Args:
        provenance: the run's provenance.json, which another version or hand may have written.
    """
    used = _last(provenance)
    version = str(provenance.get("slotlab") or "")
    packages: dict[str, list[str]] = {}
    versions = {OWN: version}
    for one in used:
        name, _, found = str(one.get("source")).rpartition(" ")
        extra, what = str(one.get("install") or ""), f"{one.get('kind')} `{one.get('name')}`"
        if "@" not in str(one.get("source")) and name != OWN and SAFE.fullmatch(name):
            versions[name] = found
            packages.setdefault(name, []).append(what)
        if SAFE.fullmatch(extra):
            packages.setdefault(extra, []).append(what)
    if not packages:
        return
    yield "## Needs\n"
    yield "| package | version | for |\n|---|---|---|"
    wanted = []
    for name, parts in packages.items():
        found = versions.get(name.partition("[")[0], "")
        known = VERSION.fullmatch(found) is not None
        wanted.append(f"'{name}=={found}'" if known else f"'{name}'")
        yield f"| `{name}` | {found if known else ''} | {', '.join(parts)} |"
    yield f"\n```console\n$ pip install {' '.join(wanted)}\n```\n"
    yield "A package that pip does not find is not published: ask who made the run for it.\n"


def _last(provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the components of the training's last start."""
    starts = [provenance, *entries(provenance, "restarts")]
    last = next((one for one in reversed(starts) if one.get("components")), provenance)
    return entries(last, "components")
