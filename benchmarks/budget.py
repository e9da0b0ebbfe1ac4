"""A time budget for quick benchmarks: rows that would not fit are left out, and named."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

QUICK = 150.0
"""Seconds from the start of the process in which `--quick` measures; it ends within three minutes."""


def process_began():
    """Return when this process was started, on the clock of `time.monotonic`: imports count, too."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):  # not Linux
        return time.monotonic()
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age


@dataclass
class Budget:
    """The seconds that a benchmark may take, and what was left out for them."""

    seconds: float = QUICK
    begun: float = field(default_factory=process_began)
    longest: float = 0.0
    """The longest row so far, in seconds: the next one may take as long."""

    @property
    def left(self):
        """The seconds that are left."""
        return self.begun + self.seconds - time.monotonic()

    def fits(self, name, share=1.0):
        """Return whether a row that takes a share of the longest so far fits; if not, name it."""
        if self.longest * share <= self.left:
            return True
        self.leave_out(name, f"about {self.longest * share:.0f} s, and {max(self.left, 0):.0f} s are left")
        return False

    def leave_out(self, name, reason):
        """Say that a row is left out, and why."""
        print(f"left out: {name}: {reason}", flush=True)

    def row(self, name, measure, share=1.0):
        """Measure a row if it fits, and print how long it took; return whether it was measured."""
        if not self.fits(name, share):
            return False
        begun = time.monotonic()
        measure()
        self.longest = max(self.longest, (time.monotonic() - begun) / share)
        return True
