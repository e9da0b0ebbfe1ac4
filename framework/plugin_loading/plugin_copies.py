"""Copies of plugin files in a run's folder: where they lie, what is recorded of them, and their check.

RUN/plugins/NAME.py                 a plugin that is one file
RUN/plugins/NAME-DIGEST/NAME.py     one with helpers, beside which these lie
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotlab.framework.system.json_files import read_json
from slotlab.registry import PluginCode, PluginError, SlotlabError, read_code
from slotlab.registry.code import sha256

FOLDER = "plugins"
RECORDS = ("provenance.json", "status.json", "metrics.jsonl", "cost.json", "checkpoints/step-*.pt")
"""Files of which at least one shows that a folder with a spec.yaml is a run's."""


@dataclass(frozen=True)
class Copies:
    """The plugin files that are written into a run's folder."""

    plugins: tuple[str, ...]
    """The plugin files, relative to the run's folder, as its spec names them."""
    files: Mapping[str, bytes]
    """Contents of all files, helpers included, by path relative to the run's folder."""


def copies(codes: Sequence[PluginCode]) -> Copies:
    """Return the copies of plugins, laid out so that each sees only its own helpers beside it."""
    plugins: list[str] = []
    files: dict[str, bytes] = {}
    stems = [code.path.stem for code in codes]
    for code in codes:
        others = list(stems)
        others.remove(code.path.stem)
        alone = code.is_lone and not {code.path.stem, *code.foreign()} & set(others)
        folder = FOLDER if alone else f"{FOLDER}/{code.path.stem}-{code.digest[:8]}"
        plugins.append(f"{folder}/{code.name}")
        files |= {f"{folder}/{name}": content for name, content in code.files.items()}
    return Copies(tuple(plugins), files)


def packages(run: Path) -> dict[tuple[str, str], str]:
    """Return the packages, with their versions, that a run's components came from, by kind and name.

    Those of files, whose copies are in the run, are left out; of a damaged record nothing is known.
    """
    try:
        listed = read_json(run / "provenance.json").get("components", [])
        every = {(str(one["kind"]), str(one["name"])): str(one["source"]) for one in listed}
    except (SlotlabError, OSError, TypeError, LookupError, AttributeError):
        return {}
    return {key: source for key, source in every.items() if "@" not in source}


def read_codes(paths: Iterable[Path]) -> list[PluginCode]:
    """Read plugin files.

    Raises:
        PluginError: if one is missing, or has an import that cannot be followed.
    """
    return [read_code(path) for path in paths]


def facts(codes: Iterable[PluginCode]) -> list[dict[str, Any]]:
    """Return what a run's provenance records of its plugins."""
    return [
        {
            "file": code.name,
            "sha256": code.digest,
            "files": {name: sha256(content) for name, content in code.files.items()},
        }
        for code in codes
    ]


def run_of(folder: Path) -> Path | None:
    """Return the run's folder that a folder is or lies in; None if there is none."""
    for one in (folder, *folder.absolute().parents):
        if (one / "spec.yaml").is_file() and any(any(one.glob(name)) for name in RECORDS):
            return one
    return None


def check_copy(run: Path, code: PluginCode) -> None:
    """Compare the copy of a plugin with what the run was last trained with.

    Raises:
        PluginError: if its content differs.
        SlotlabError: if the run's provenance cannot be read.
    """
    expected, found = list(recorded(run, code.name)), [code.digest]
    if any(len(one) < len(code.digest) for one in expected):  # from before helpers were recorded
        found.append(sha256(code.files[code.name]))
    if not expected or any(digest.startswith(one) for digest in found for one in expected):
        return
    known = " or ".join(dict.fromkeys(one[:8] for one in expected))
    raise PluginError(
        f"{code.path} is not what the run was trained with: its content is {code.digest[:8]}, and "
        f"{run / 'provenance.json'} says {known}; put the original file back, or name the file to use in its "
        f"place with --plugin FILE"
    )


def recorded(run: Path, name: str) -> Iterator[str]:
    """Yield the SHA-256 recorded for a plugin's name at the last start; early runs have its first digits."""
    known = read_json(run / "provenance.json")
    starts = [known, *entries(known, "restarts")]
    last = next((one for one in reversed(starts) if one.get("components")), known)
    if "plugins" in last:
        yield from (str(one.get("sha256")) for one in entries(last, "plugins") if one.get("file") == name)
        return
    for item in entries(last, "components"):
        file, at, digest = str(item.get("source")).rpartition("@")
        if at and file == name:
            yield digest


def entries(record: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the mappings of a list in a record, which another version or hand may have written."""
    listed = record.get(key)
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
