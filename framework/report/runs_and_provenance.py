"""The runs of a comparison, and their provenance: versions, machines, data and commands."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from slotlab.framework.compare.results import Comparison
from slotlab.framework.compare.run_records import RunRecord
from slotlab.framework.report.page import Fact, RunRow
from slotlab.framework.system.privacy import nameless

MOST_VALUES = 40
"""How many values of one fact are shown; of the user's own plugins, all are."""
MOST_COMMANDS = 12
"""The same of commands, which are long."""
PACKAGE = "slotlab"
"""What the source of a component begins with that comes with it."""
OWN = "own plugins"
PACKAGES = ("torch", "numpy", "timm")
NO_ARM, DID_NOT_BIND = "not counted", "did not bind"


def counted(comparison: Comparison) -> list[RunRecord]:
    """Return the runs of all arms, including those that failed."""
    return [run for arm in comparison.arms for run in (*(member.run for member in arm.members), *arm.failed)]


def run_rows(comparison: Comparison, seen_from: Path | None) -> list[RunRow]:
    """Return a row for each run, arm by arm; runs that do not count come last.

    Paths are relative to `seen_from` where they lie in it, else to the folder that all runs have in
    common, so that the page does not reveal its author's folders.
    """
    places = comparison.places

    def where(path: Path) -> str:
        if seen_from is not None and path.resolve().is_relative_to(seen_from.resolve()):
            return nameless(path.resolve().relative_to(seen_from.resolve()).as_posix())
        return places[path]

    rows = []
    for position, arm in enumerate(comparison.arms):
        not_bound = {id(member) for member in arm.not_bound}
        for member in arm.members:
            run, values = member.run, member.evaluation.values
            known = {name: value for name, value in values.items() if value is not None}
            reason = DID_NOT_BIND if id(member) in not_bound else run.reason
            seed, path, remarkable = str(run.seed), where(run.path), id(member) in not_bound
            rows.append(RunRow(position, seed, run.state, reason, path, known, remarkable))
        for run in arm.failed:
            rows.append(RunRow(position, str(run.seed), run.state, run.reason, where(run.path), {}, True))
    for item in comparison.left_out:
        rows.append(RunRow(None, "", NO_ARM, nameless(item.reason), where(item.path), {}, True))
    return rows


def provenance(comparison: Comparison) -> list[Fact]:
    """Return the facts that the runs recorded, each value with the number of runs that have it."""
    runs = [run.provenance for run in counted(comparison)]
    facts = []
    for label, read in FACTS.items():
        most = None if label == OWN else MOST_COMMANDS if label == "command" else MOST_VALUES
        facts.append(Fact(label, tally(map(read, runs), most), code=label == "command"))
    return [fact for fact in facts if fact.values]


def tally(values: Iterable[Sequence[str]], most: int | None = MOST_VALUES) -> list[tuple[str, int]]:
    """Count values, the most frequent first; those beyond `most` are counted together."""
    found = Counter(value for several in values for value in several).most_common()
    kept, others = found[:most], found[len(found) if most is None else most :]
    return kept + ([(f"… and {len(others):,} more", sum(count for _, count in others))] if others else [])


def one(key: str) -> Callable[[Mapping[str, Any]], list[str]]:
    """Return a function that reads one fact."""
    return lambda facts: [str(facts[key])] if facts.get(key) else []


def packages(facts: Mapping[str, Any]) -> list[str]:
    """Return the versions of the most important packages."""
    known = facts.get("packages") or {}
    found = [f"{name} {known[name]}" for name in PACKAGES if known.get(name)]
    return [", ".join(found)] if found else []


def components(facts: Mapping[str, Any], *, own: bool) -> list[str]:
    """Return each component with its version and source: the user's own, or those of slotlab."""
    used = facts.get("components") or ()
    return [
        f"{item['kind']} {item['name']}, version {item['version']} ({item['source']})"
        for item in used
        if own != str(item["source"]).startswith(f"{PACKAGE} ")
    ]


def data(facts: Mapping[str, Any]) -> list[str]:
    """Return the data of training and evaluation, with their fingerprints."""
    found = []
    for use, item in (facts.get("data") or {}).items():
        text = f"{use}: {item.get('dataset')} {item.get('split')}, {item.get('images')} images"
        found.append(f"{text}, fingerprint {item['fingerprint']}" if item.get("fingerprint") else text)
    return found


def command(facts: Mapping[str, Any]) -> list[str]:
    """Return the command line."""
    return [shlex.join(map(str, facts["command"]))] if facts.get("command") else []


FACTS: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "slotlab": one("slotlab"),
    "commit": one("commit"),
    "hardware": one("device"),
    "platform": one("platform"),
    "Python": one("python"),
    "packages": packages,
    "data": data,
    OWN: partial(components, own=True),
    "components": partial(components, own=False),
    "command": command,
}
