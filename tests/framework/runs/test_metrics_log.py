"""The log of a run that goes on is that of its checkpoint, whatever became of the file since."""

from collections.abc import Callable
from pathlib import Path

import pytest

from slotlab.framework.runs.metrics_log import MetricsLog

LINES = b'{"kind": "train", "step": 1}\n{"kind": "train", "step": 2}\n'


@pytest.mark.parametrize(
    ("since", "told"),
    [
        (lambda text: text, False),
        (lambda text: text + b'{"kind": "train", "step": 3}\n', False),
        (lambda text: text + b'{"kind": "tra', False),
        (lambda text: text[:-1], True),
        (lambda text: text[:30], True),
        (lambda text: b"", True),
        (lambda text: text.replace(b"2", b"9"), True),
        (lambda text: text[30:] + text[:30], True),
    ],
)
def test_it_is_put_back_to_the_byte(tmp_path: Path, since: Callable[[bytes], bytes], told: bool) -> None:
    """What was logged since goes without a word; what is missing or other comes back, and that is told."""
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.path.write_bytes(LINES)
    saved = {**log.saved(), "step": 2}
    log.path.write_bytes(since(LINES))
    notes = log.restore(saved)
    assert log.path.read_bytes() == LINES
    assert notes == (
        [f"{log.path} was not as the checkpoint of step 2 knows it: it was put back"] if told else []
    )
    log.path.unlink()
    assert log.restore(saved)
    assert log.path.read_bytes() == LINES
    assert log.restore(saved) == []


def test_a_log_of_which_only_the_length_is_known_keeps_its_whole_lines(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    known = {"log_bytes": len(LINES), "log": None, "step": 2}
    log.path.write_bytes(LINES + b"more\n")
    assert log.restore(known) == []
    assert log.path.read_bytes() == LINES
    log.path.write_bytes(LINES[:-5])
    [note] = log.restore(known)
    assert f"has lost its last {len(LINES) - LINES.index(b'{', 1)} bytes" in note
    assert log.path.read_bytes() == LINES[: LINES.index(b"{", 1)]


def test_a_training_that_had_logged_nothing_begins_its_log_anew(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    saved = {**log.saved(), "step": 1}
    assert log.restore(saved) == []
    log.path.write_bytes(LINES)
    assert log.restore(saved) == []
    assert log.path.read_bytes() == b""
