"""A terminal shows that a command is loading, before its first line; nothing else is told."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = Path(sys.executable).with_name("slotlab")


def test_a_terminal_is_told_what_takes_seconds_and_a_file_is_not(tmp_path: Path) -> None:
    main, terminal = os.openpty()
    asked = [COMMAND, "validate", "slotlab:demo"]
    shown = subprocess.run(
        asked, cwd=tmp_path, stdout=subprocess.PIPE, stderr=terminal, env={**os.environ, "TERM": "xterm"}
    )
    os.close(terminal)
    assert b"loading PyTorch" in os.read(main, 100_000)
    os.close(main)
    piped = subprocess.run(asked, cwd=tmp_path, capture_output=True, check=True)
    assert (piped.stdout, piped.stderr) == (shown.stdout, b"")
