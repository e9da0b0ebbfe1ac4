"""The list of a pushed run's files with their hashes: what makes a folder a run, and written last.

manifest.json      the files of a run, each with SHA-256 and size, and what the run is called
unfinished.json    the files that a push has sent so far; it goes when manifest.json comes
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from slotlab.framework.runs.json_shapes import Stored, checked
from slotlab.framework.system.json_files import fault, parse_json, to_json
from slotlab.registry import SlotlabError

MANIFEST, UNFINISHED = "manifest.json", "unfinished.json"
CARD = "README.md"
FORMAT = 1
MOST_BYTES = 64 * 2**20
"""Largest size of a manifest."""
TRAVELS = (
    CARD,
    "spec.yaml",
    "plugins",
    "provenance.json",
    "status.json",
    "metrics.jsonl",
    "cost.json",
    "checkpoints",
    "compositions",
    "evaluation",
    "probe",
    "figures",
)
"""What of a run's folder may be in a pushed one, at the top."""
BLOCK = 2**20


class FileFacts(Stored):
    """A file in a manifest."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


class ManifestShape(Stored):
    """manifest.json and unfinished.json."""

    format: int
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}$")]
    run_id: str = ""
    files: dict[str, FileFacts]


@dataclass(frozen=True)
class Entry:
    """What is known of a file."""

    sha256: str
    size: int

    def is_at(self, path: Path) -> bool:
        """Return whether a file exists and has this content."""
        try:
            return path.stat().st_size == self.size and hash_file(path).sha256 == self.sha256
        except OSError:
            return False


@dataclass(frozen=True)
class Manifest:
    """The files of a pushed run."""

    name: str
    """What the run's folder is called."""
    run_id: str
    files: Mapping[str, Entry]

    def to_json(self) -> bytes:
        """Return it as the content of a file, which depends on the run's content alone."""
        files = {name: vars(self.files[name]) for name in sorted(self.files)}
        return to_json({"format": FORMAT, "name": self.name, "run_id": self.run_id, "files": files})

    @classmethod
    def of_json(cls, data: bytes, where: str) -> "Manifest":
        """Read one, which anybody may have written.

        Raises:
            SlotlabError: if it is none, is of a later format, or names a file that no run has.
        """
        try:
            content = parse_json(data)
        except (ValueError, RecursionError) as error:
            raise SlotlabError(f"{where}: {fault(error)}") from None
        if not isinstance(content, dict):
            raise SlotlabError(f"{where}: expected a JSON object {{...}}, and it holds none")
        checked(ManifestShape, content, where)
        if content["format"] != FORMAT:
            raise SlotlabError(f"{where}: this is format {content['format']}, and slotlab reads {FORMAT}")
        for name in content["files"]:
            if not may_travel(name):
                raise SlotlabError(f"{where}: no run has a file {name!r}; nothing was fetched")
        files = {name: Entry(one["sha256"], one["size"]) for name, one in content["files"].items()}
        return cls(content["name"], content.get("run_id", ""), files)


def may_travel(name: str) -> bool:
    """Return whether a relative path is that of a file that a pushed run may have."""
    parts = name.split("/")
    plain = all(part.isprintable() and "\\" not in part and not part.startswith(".") for part in parts)
    return plain and all(parts) and parts[0] in TRAVELS and len(name) < 1000


def digest(data: bytes) -> str:
    """Return the SHA-256 of a content, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def hash_file(path: Path) -> Entry:
    """Return SHA-256 and size of a file."""
    total, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            total.update(block)
            size += len(block)
    return Entry(total.hexdigest(), size)


def folder_name(text: str) -> str:
    """Return a text as the name of a run's folder in a manifest."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text).lstrip(".-")[:200] or "run"
