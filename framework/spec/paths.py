"""Paths in a spec are relative to the file in which they are written."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer


class SpecString(str):
    """A string that knows the folder of the spec file it was read from."""

    folder: Path

    def __new__(cls, text: str, folder: Path) -> "SpecString":
        """Make a string that remembers `folder`."""
        string = super().__new__(cls, text)
        string.folder = folder
        return string

    def __getnewargs__(self) -> tuple[str, Path]:  # type: ignore[override]
        """Copy and pickle with the folder."""
        return str(self), self.folder


def expand(text: str) -> Path:
    """Replace a leading `~`; as in a shell, it stays if there is no such user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def resolve(value: Any) -> Any:
    """Return an absolute path for a string from a spec; anything else as it is."""
    if not isinstance(value, str):
        return value
    folder = value.folder if isinstance(value, SpecString) else Path()
    return Path(os.path.normpath((folder / expand(value)).absolute()))


SpecPath = Annotated[Path, BeforeValidator(resolve), PlainSerializer(str, return_type=str)]
"""A path field of a Config: absolute after validation, and not part of a run's identity."""


@dataclass(frozen=True)
class Program:
    """Marks a path whose file is run as a program, such as TorchScript (see docs/explanation/trust.md)."""

    name: str | None = None
    """Name of the file in a folder, if the setting may name the folder."""

    def file(self, path: Path) -> Path:
        """Return the file that is run."""
        return path if self.name is None or path.name == self.name else path / self.name


ProgramPath = Annotated[SpecPath, Program()]
"""A path field whose file runs as a program: the user is asked if another user's run names it."""
