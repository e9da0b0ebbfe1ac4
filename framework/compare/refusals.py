"""Runs that must not be averaged or compared, said so that one knows which and what to do."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slotlab.registry import SlotlabError

_SHOWN = 4
"""Runs that are named for each value."""


@dataclass(frozen=True)
class Refusal:
    """One thing in which runs differ although they must not."""

    what: str
    """Such as `mixed protocols`."""
    groups: Mapping[str, tuple[Path, ...]]
    """The runs that have each value."""
    hint: str
    """What would be right."""

    def lines(self) -> list[str]:
        """One line for the fact, one for each value, and one that says what can be done."""
        values = (f"  {value}: {name_all(runs)}" for value, runs in self.groups.items())
        return [self.what, *values, f"  {self.hint}"]


class RefusedError(SlotlabError):
    """Everything for which a comparison is refused."""

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
    """Bring together the runs that have the same value, in the order of the values."""
    found: dict[str, list[Path]] = {}
    for value, run in pairs:
        found.setdefault(value, []).append(run)
    return {value: tuple(sorted(found[value])) for value in sorted(found)}
