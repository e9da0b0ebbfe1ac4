"""The command `slotlab studio`, up to the moment when it serves."""

import shutil
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from slotlab.framework.studio import serve

pytest.importorskip("uvicorn")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would be served where; nothing is."""
    calls: list[dict[str, Any]] = []

    def note(studio: Any, *, tell: Callable[[str], None], **where: Any) -> None:
        calls.append(where)
        tell("http://there")

    monkeypatch.setattr(serve, "serve", note)
    return calls


def test_the_page_is_for_this_machine_alone(
    slotlab: Run, run_path: Path, served: list[dict[str, Any]]
) -> None:
    assert slotlab("studio", str(run_path)) == (
        0,
        "studio of 'demo' with 12 images at http://there (Ctrl-C ends it)\n",
        "",
    )
    assert served == [{"host": "127.0.0.1", "port": 8765}]


def test_whoever_comes_early_is_not_refused() -> None:
    with closing(serve.listen("127.0.0.1", 0)) as listener:
        socket.create_connection(listener.getsockname(), timeout=5).close()


def test_others_are_let_in_with_a_warning(slotlab: Run, run_path: Path, served: list[dict[str, Any]]) -> None:
    words = ("--host", "0.0.0.0", "--port", "9000", "--set", "evaluation.split=train")
    _, _, err = slotlab("studio", str(run_path), *words)
    text = "the studio has no password: whoever reaches 0.0.0.0:9000 can use it and see the data"
    assert err == f"warning: {text}\n"
    assert served == [{"host": "0.0.0.0", "port": 9000}]


def test_without_a_run(slotlab: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert slotlab("studio", "nothing") == (1, "", "error: nothing does not exist\n")


def test_without_weights(slotlab: Run, run_path: Path, tmp_path: Path) -> None:
    shutil.copytree(run_path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    words = f"{tmp_path / 'run'} has no whole checkpoint (the run is done); train it again"
    assert slotlab("studio", str(tmp_path / "run")) == (1, "", f"error: {words}\n")


def test_without_the_extra(slotlab: Run, run_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "uvicorn" else object())
    words = "the studio needs uvicorn: pip install 'slotlab[studio]'"
    assert slotlab("studio", str(run_path)) == (1, "", f"error: {words}\n")


def test_a_split_that_is_not_there(slotlab: Run, run_path: Path, served: list[dict[str, Any]]) -> None:
    code, _, err = slotlab("studio", str(run_path), "--set", "evaluation.split=tset")
    assert (code, served) == (1, [])
    assert "tset" in err
    assert "Traceback" not in err
