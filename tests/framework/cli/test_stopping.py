"""Ctrl-C ends a command with 130, and a sentence that says what is left."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from slotlab.framework.api import comparison as comparing
from slotlab.framework.api import composing, evaluating, scoring
from slotlab.framework.compare import comparison
from slotlab.framework.composition import album

Slotlab = Callable[..., tuple[int, str, str]]


def stop(*args: Any, **options: Any) -> None:
    raise KeyboardInterrupt


NOTHING = "nothing was written"
SCORE = ("score", "--true", "t", "--pred", "p", "--csv", "rows.csv")
KEPT = "completed evaluations are written"


@pytest.mark.parametrize(
    ("module", "name", "words", "left"),
    [
        (comparison, "compare_paths", ("compare", "runs", "--out", "out"), NOTHING),
        (comparison, "compare_paths", ("report", "runs", "--out", "x.html"), "no report was written"),
        (scoring, "score_masks", SCORE, NOTHING),
        (
            composing,
            "compose_run",
            ("compose", "run"),
            "no pictures were written, and earlier ones are unchanged",
        ),
        (
            evaluating,
            "evaluate_runs",
            ("evaluate", "run"),
            f"{KEPT}, except perhaps the figures of the last one; the others are as before",
        ),
        (
            evaluating,
            "evaluate_runs",
            ("evaluate", "run", "--no-figures", "--save-masks"),
            f"{KEPT}; the others are as before; some masks of the interrupted one are written",
        ),
    ],
)
def test_a_command_says_what_it_leaves(
    module: ModuleType,
    name: str,
    words: tuple[str, ...],
    left: str,
    slotlab: Slotlab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, name, stop)
    assert slotlab(*words) == (130, "", f"error: stopped; {left}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_that_is_being_written(
    slotlab: Slotlab, synthetic: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = synthetic.write_study(tmp_path, arms=2, seeds=2, images=4)
    out = tmp_path / "out"
    monkeypatch.setattr(comparing, "write_comparison", stop)
    code, _, err = slotlab("compare", study, "--out", out)
    text = f"the files in {out} are complete, but some files and figures may be missing"
    assert (code, err) == (130, f"error: stopped; {text}\n")


def test_an_album_that_is_being_replaced_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "album"
    with album.writing(folder) as one:
        one.close({})
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    replace = Path.replace

    def stopped(path: Path, target: Path) -> Path:
        if path.suffix == ".tmp" and target == folder:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt), album.writing(folder) as one:
        one.close({"other": 1})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]
