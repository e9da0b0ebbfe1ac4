"""The error for runs that must not be averaged or compared: which runs, why, and what to do."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slotlab.registry import SlotlabError

_SHOWN = 4
"""How many runs are named for each value."""


@dataclass(frozen=True)
class Refusal:
    """One fact in which runs differ although they must not."""

    what: str
    """The fact, such as `mixed protocols cannot be compared:`."""
    groups: Mapping[str, tuple[Path, ...]]
    """The runs that have each value."""
    hint: str
    """What to do about it."""

    def lines(self) -> list[str]:
        """The fact, then one line for each value, then what to do."""
        values = (f"  {value}: {name_all(runs)}" for value, runs in self.groups.items())
        return [self.what, *values, f"  {self.hint}"]


class RefusedError(SlotlabError):
    """A comparison is refused; the message lists all reasons."""

    def __init__(self, refusals: Sequence[Refusal]):
        self.refusals = tuple(refusals)
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """The lines of all refusals."""
        return [line for refusal in self.refusals for line in refusal.lines()]


def name_all(runs: Sequence[Path], shown: int = _SHOWN) -> str:
    """Name some runs and count the rest."""
    names = [str(run) for run in sorted(runs)]
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")


def gather(pairs: Iterable[tuple[str, Path]]) -> dict[str, tuple[Path, ...]]:
    """Return the runs that have each value, in the order of the values."""
    found: dict[str, list[Path]] = {}
    for value, run in pairs:
        found.setdefault(value, []).append(run)
    return {value: tuple(sorted(found[value])) for value in sorted(found)}
