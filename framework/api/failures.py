"""Commands that work on many runs: one that cannot be worked on is told, and the others go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from slotlab.framework.system import processes
from slotlab.registry.errors import SlotlabError


@dataclass
class Failures:
    """The runs that could not be evaluated; the others are evaluated all the same."""

    reasons: dict[str, str] = field(default_factory=dict)
    first: SlotlabError | OSError | None = None

    @contextmanager
    def collecting(self, run: Path) -> Iterator[None]:
        """Collect what keeps a run from being evaluated; Ctrl-C ends all."""
        try:
            yield
        except (SlotlabError, OSError) as error:
            if getattr(error, "exit_code", 1) != 1 or processes.several():  # others would wait for this one
                raise
            self.first = self.first or error
            self.reasons[str(run)] = str(error)
