"""The command on a system that it does not run on."""

import subprocess
import sys

import pytest

START = "import runpy, sys\nfor name in {missing}: sys.modules[name] = None\nsys.argv = {argv}\n"
START += "runpy.run_module('slotlab.framework.cli', run_name='__main__')"


def start(missing: list[str], *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a Python without some modules."""
    code = START.format(missing=missing, argv=["slotlab", *words])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("missing", "what"),
    [
        (["fcntl", "resource", "termios", "pwd", "grp"], "fcntl and resource"),
        (["resource"], "resource"),
    ],
    ids=["windows", "one"],
)
def test_a_system_without_posix_is_told_of_in_one_line(missing: list[str], what: str) -> None:
    for words in ((), ("--help",), ("train", "slotlab:demo")):
        found = start(missing, *words)
        assert (found.returncode, found.stdout) == (1, "")
        text = f"error: slotlab runs on Linux and macOS; this Python lacks {what} (on Windows, use slotlab inside WSL)\n"
        assert found.stderr == text


def test_a_system_with_all_that_is_needed() -> None:
    found = start([], "--version")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("slotlab ")
