"""What a law is, how it is broken, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["passed", "failed", "skipped", "excepted"]
"""`excepted`: it is broken, and the author has declared so, with a reason."""


@dataclass(frozen=True)
class Place:
    """A line of a component's code."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Broken(Exception):  # noqa: N818 - it is what a law says, not an error of the program
    """A law is broken: why, and perhaps a repair and a place that are closer than those of the law."""

    def __init__(self, reason: str, repair: str | None = None, *, place: Place | None = None):
        super().__init__(reason)
        self.reason, self.repair, self.place = reason, repair, place


class Skip(Exception):  # noqa: N818
    """A law does not concern a component, or cannot be checked on it: why."""


@dataclass(frozen=True)
class Law:
    """One law."""

    name: str
    """What holds, in words: the key in `EXCEPTIONS`."""
    check: Callable[[Any], None]
    """Called with a `Subject`; raises `Broken` or `Skip`. Any other exception breaks the law, too."""
    repair: str
    """What an author does about it, unless `check` knows more."""
    needs: tuple[str, ...] = ()
    """The laws without which this one says nothing."""
    cheap: bool = False
    """Whether it is checked without calling what the component builds."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of one law for one component."""

    kind: str
    component: str
    law: str
    state: State
    reason: str = ""
    """Why it failed, was skipped, or may be broken."""
    repair: str = ""
    """What to do about a failure."""
    file: str = ""
    """Where the mistake is; empty if that is not known, or if there is none."""
    line: int | None = None

    @property
    def place(self) -> str:
        """File and line, as editors read them."""
        return f"{self.file}:{self.line}" if self.line else self.file

    def __str__(self) -> str:
        where = f" ({self.place})" if self.file else ""
        repair = f"; {self.repair}" if self.repair else ""
        text = f": {self.reason}{where}{repair}" if self.reason else ""
        return f"{self.kind} '{self.component}': {self.law}: {self.state}{text}"
