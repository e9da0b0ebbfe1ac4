"""Whose code may run: the user's own may; for code that came with another user's run, the user is asked.

The contents that a user has trained with or allowed are remembered, one small file
each, named by its SHA-256, in $XDG_STATE_HOME/slotlab/trusted (~/.local/state/slotlab/trusted). See
docs/explanation/trust.md.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from slotlab.framework.system.atomic import write_atomically
from slotlab.registry import PluginCode


@dataclass(frozen=True)
class Code:
    """A file that runs as a program when it is loaded, identified by its content."""

    path: Path
    digest: str
    """SHA-256, hexadecimal."""
    files: tuple[str, ...] = ()
    """Helpers that are part of it."""

    @property
    def shown(self) -> str:
        """Its path with control characters escaped: on a terminal they could hide the question."""
        return printable(str(self.path))

    @property
    def source(self) -> str:
        """Its file name and the beginning of its hash: `my_encoder.py@29c634b1`."""
        return f"{self.path.name}@{self.digest[:8]}"

    @classmethod
    def of(cls, plugin: PluginCode) -> "Code":
        """Return the code of a plugin."""
        others = (name for name in plugin.files if name != plugin.name)
        return cls(plugin.path, plugin.digest, tuple(map(printable, others)))


def printable(text: str) -> str:
    """Write control characters as escapes."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


Ask = Callable[[Sequence[Code]], bool]
"""Decides whether code that came with another user's run may run."""


def refuse(found: Sequence[Code]) -> bool:
    """Refuse all code that is not known."""
    return False


def allow(found: Sequence[Code]) -> bool:
    """Allow all code."""
    return True


def user_state() -> Path | None:
    """Return the folder for what slotlab remembers of its user; None for a user without a home."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if state.startswith("/"):  # its specification: a relative path is to be ignored
        return Path(state) / "slotlab"
    with suppress(RuntimeError):
        return Path.home() / ".local" / "state" / "slotlab"
    return None


@dataclass(frozen=True)
class Trusted:
    """The code that the user of this process has trained with or allowed, by content."""

    folder: Path | None

    @classmethod
    def user(cls) -> "Trusted":
        """Return what is remembered for the user of this process."""
        state = user_state()
        return cls(None if state is None else state / "trusted")

    def knows(self, code: Code) -> bool:
        """Return whether a content is remembered."""
        try:
            return self.folder is not None and (self.folder / code.digest).is_file()
        except OSError:  # a folder that this user cannot look into
            return False

    def remember(self, every: Iterable[Code]) -> bool:
        """Remember contents; return whether that was possible. Nothing fails where it was not."""
        for code in every:
            if self.knows(code):
                continue
            if self.folder is None:
                return False
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_atomically(self.folder / code.digest, f"{code.path.name}\n".encode())
            except OSError:
                return False
        return True


def admit(found: Sequence[Code], ask: Ask) -> list[Code]:
    """Ask about unknown contents. Remember those that may run and return nothing; else return them."""
    trusted = Trusted.user()
    strange = [code for code in found if not trusted.knows(code)]
    if not strange or ask(strange):
        trusted.remember(strange)
        return []
    return strange


def refusal(code: Code) -> str:
    """Return a message: why code is not run, and what can be done."""
    files = f" and {', '.join(code.files)}" if code.files else ""
    return (
        f"{code.source} came with a run that is not known to be yours, and loading it runs it as a program; "
        f"read {code.shown}{files} first, then give --trust, which is remembered for this content"
    )
