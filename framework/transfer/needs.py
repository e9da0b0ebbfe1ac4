"""What a run needs installed, as its provenance tells: packages with its components, and extras."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from slotlab.framework.plugin_loading.plugin_copies import entries
from slotlab.registry.component import NAME, PACKAGE

OWN = "slotlab"
VERSION = re.compile(r"[\w.!+-]+", re.ASCII)


def needs(provenance: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the card's section on packages; none if slotlab alone is enough.

    Only what is called as slotlab calls components and packages goes into the table, and into a command that
    others copy: the rest is left out.

    Args:
        provenance: the run's provenance.json, which another version or hand may have written.
    """
    used = _last(provenance)
    version = str(provenance.get("slotlab") or "")
    packages: dict[str, list[str]] = {}
    versions = {OWN: version}
    for one in used:
        kind, called = str(one.get("kind")), str(one.get("name"))
        if not (NAME.fullmatch(kind) and NAME.fullmatch(called)):
            continue
        source, what = str(one.get("source")), f"{kind} `{called}`"
        name, _, found = source.rpartition(" ")
        if "@" not in source and name != OWN and PACKAGE.fullmatch(name):
            versions[name] = found
            packages.setdefault(name, []).append(what)
        if PACKAGE.fullmatch(extra := str(one.get("install") or "")):
            packages.setdefault(extra, []).append(what)
    if not packages:
        return
    yield "## Needs\n"
    yield "| package | version | for |\n|---|---|---|"
    wanted = []
    for text, parts in packages.items():
        name, asked = PACKAGE.fullmatch(text).groups()  # type: ignore[union-attr]  # only such are taken
        known = versions.get(name, "") if asked is None else ""
        found = known if VERSION.fullmatch(known) else ""
        wanted.append(f"'{text}=={found}'" if found else f"'{text}'")
        yield f"| `{text}` | {found} | {', '.join(parts)} |"
    yield f"\n```console\n$ pip install {' '.join(wanted)}\n```\n"
    yield "A package that pip does not find is not published: ask who made the run for it.\n"


def _last(provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the components of the training's last start."""
    starts = [provenance, *entries(provenance, "restarts")]
    last = next((one for one in reversed(starts) if one.get("components")), provenance)
    return entries(last, "components")
