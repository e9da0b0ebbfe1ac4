"""Problems of a spec, each with its file, line and path."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from slotlab.registry import SlotlabError

MOST_LINES = 100
"""Most problems that are listed one by one."""
Path = tuple[str | int, ...]
"""Keys and list positions from the top of a spec: `("training", "phases", 0, "lr")`."""


def dotted(path: Path) -> str:
    """Write a path as it is written in `--set`: `training.phases.0.lr`."""
    return ".".join(str(part) for part in path)


@dataclass(frozen=True, order=True)
class Mark:
    """Where something was written. `origin` is a file or `--set a.b=c`, which has no lines."""

    origin: str
    line: int | None = None

    def __str__(self) -> str:
        return self.origin if self.line is None else f"{self.origin}:{self.line}"


@dataclass(frozen=True)
class Problem:
    """One mistake, or one warning, at one place."""

    mark: Mark
    path: Path
    text: str

    def __str__(self) -> str:
        where = f"{self.mark}: {dotted(self.path)}" if self.path else str(self.mark)
        return f"{where}: {self.text}".replace("\n", "\\n")  # a problem takes one line, whatever it quotes


class SpecError(SlotlabError):
    """All mistakes of a spec, in the order of their lines."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems: Sequence[Problem] = sorted(problems, key=lambda p: (p.mark.origin, p.mark.line or 0))
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """Return one line for each listed problem, and one with the number of the others."""
        more = len(self.problems) - MOST_LINES
        rest = [f"and {more:,} more mistakes"] if more > 0 else []
        return [*map(str, self.problems[:MOST_LINES]), *rest]


class PathProblem(SlotlabError):  # noqa: N818 - a Problem whose mark is not known yet
    """A mistake found at a path of a spec whose file and line are not known here."""

    def __init__(self, path: Path, text: str):
        super().__init__(f"{dotted(path)}: {text}")
        self.path = path
        self.text = text


def shorten(text: str, most: int = 60) -> str:
    """Return the beginning of a text that is too long for a message."""
    return text if len(text) <= most else f"{text[:most]}..."
