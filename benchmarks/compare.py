"""Time and memory of comparing and reporting many runs: 2,000 synthetic run folders.

python benchmarks/compare.py [--arms 400] [--seeds 5] [--images 16]

Each command runs in a process of its own, as for a user. There are no limits to pass; the numbers are
for docs/benchmarks.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from synthetic_study import write_study


def measure(*words: str) -> tuple[float, float]:
    """Run `slotlab WORDS` and return seconds and peak memory in MiB."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "slotlab.framework.cli", *words]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.monotonic() - begun, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--arms", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = str(write_study(folder, arms=options.arms, seeds=options.seeds, images=options.images))
        print(f"{options.arms * options.seeds} runs, {options.arms} arms")
        commands = {
            "compare, to a table": ("compare", study),
            "compare, to JSON": ("compare", study, "--json", str(folder / "comparison.json")),
            "compare, all files and figures": ("compare", study, "--out", str(folder / "out")),
            "report": ("report", study, "--out", str(folder / "report.html")),
        }
        for label, words in commands.items():
            seconds, memory = measure(*words)
            print(f"{label:32s} {seconds:6.1f} s  {memory:6.0f} MiB")


if __name__ == "__main__":
    main()
