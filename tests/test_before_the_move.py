"""What earlier slotlab wrote still works: ids of runs, run folders, packed stores and studies from before a move.

`fixtures/before_the_move` was written by the slotlab from before the modules of `framework/` were moved into
folders. A run's weights, its copies of plugins and its numbers must outlive such changes, so all is asked of the
command alone, and of a copy of the folder in another place.

Where a test fails, first ask whether users' own runs may stop working, too; mostly they may not. What is meant
to change is a component's `version`: runs of the version before are then refused, their ids change, and the
fixtures, which pin the versions of their day, are made again by `python tests/fixtures/make_before_the_move.py`
in the commit that raises the version.
"""

import csv
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

FIXTURES = Path(__file__).resolve().parent / "fixtures" / "before_the_move"
LAST_WRITTEN = 1_600_000_000
"""Seconds: when the pictures of the store were last written, as the script that makes them says."""
SAME = 1e-5
"""Beyond the rounding of float32 with other processors' instructions (1e-8 was seen), and of a gray level of a
generated picture. Between a pixel's two largest masks lies more, so that labels, and ARI, stay."""
TRAINED = 1e-4
"""The same, as a part, after some thirty steps of training, through which rounding grows (1e-6 was seen here).
An optimizer that has lost its moments differs by 2e-3."""
Slotlab = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank_figures: None) -> None:
    """A user who has trained nothing yet, in a folder with a copy of all that was written."""
    shutil.copytree(FIXTURES, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "pictures").rglob("*.png"):
        os.utime(path, (LAST_WRITTEN, LAST_WRITTEN))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def done(slotlab: Slotlab) -> Callable[..., str]:
    """Run the command, which must succeed; return what it prints."""

    def run(*words: object) -> str:
        code, out, err = slotlab(*words)
        assert code == 0, out + err
        return out

    return run


def rows(file: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Return the rows of an images.csv, by method and image."""
    with file.open(newline="") as lines:
        return {(row["method"], row["id"]): row for row in csv.DictReader(lines)}


def tables(run: Path) -> dict[str, dict[tuple[str, str], dict[str, str]]]:
    """Return the rows of each evaluation of a run, by the evaluation's name."""
    return {file.parent.name: rows(file) for file in run.glob("evaluation/*/images.csv")}


def same(found: Any, expected: Any, *, within: float, place: str = "") -> None:
    """Compare JSON data: words and whole numbers exactly, other numbers to within a difference."""
    if isinstance(expected, dict):
        assert isinstance(found, dict), place
        assert found.keys() == expected.keys(), place
        for key, value in expected.items():
            same(found[key], value, within=within, place=f"{place}.{key}")
    elif isinstance(expected, list):
        assert isinstance(found, list), place
        assert len(found) == len(expected), place
        for number, value in enumerate(expected):
            same(found[number], value, within=within, place=f"{place}[{number}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=0, abs=within), place
    else:
        assert found == expected, place


def numbers(row: dict[str, str]) -> dict[str, Any]:
    """Return a row of a table with its numbers as numbers."""
    return {key: number(value) for key, value in row.items()}


def number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


# --- ids ------------------------------------------------------------------------------------


def test_shipped_specs_and_ablations_name_the_same_runs(done: Callable[..., str]) -> None:
    expected = json.loads(Path("run_ids.json").read_text())
    specs = [name for name, found in expected.items() if isinstance(found, str)]
    found = {one["spec"]: one["run_id"] for one in json.loads(done("validate", *specs, "--json", "-"))}
    for name in expected.keys() - set(specs):
        plan = json.loads(done("ablate", name, "--dry-run", "--no-estimate", "--json", "-"))
        found[name] = {f"{run['arm']}, seed {run['seed']}": run["run_id"] for run in plan["runs"]}
    assert found == expected


def test_a_spec_with_a_plugin_names_the_same_run(done: Callable[..., str]) -> None:
    expected = json.loads(Path("finished/provenance.json").read_text())["run_id"]
    results = json.loads(done("validate", "spec.yaml", "finished/spec.yaml", "--trust", "--json", "-"))
    assert [one["run_id"] for one in results] == [expected, expected]


# --- a finished run ---------------------------------------------------------------------------


def test_its_numbers_are_measured_again(slotlab: Slotlab, done: Callable[..., str]) -> None:
    Path("jittered_slots.py").unlink()  # the run has a copy
    run = Path("finished")
    before = tables(run)
    assert len(before) == 2
    words = ("evaluate", run, "--device", "cpu", "--no-figures")
    code, _, err = slotlab(*words)
    assert (code, "jittered_slots.py@" in err, "give --trust" in err) == (1, True, True)
    for folder in run.glob("evaluation/*"):
        (folder / "images.csv").unlink()
    done(*words, "--trust")
    done(*words, "--checkpoint", "best")
    after = tables(run)
    assert after.keys() == before.keys(), "the same measurement has the same name"
    for name, expected in before.items():
        found = after[name]
        assert found.keys() == expected.keys()
        for key, row in expected.items():
            same(numbers(found[key]), numbers(row), within=SAME, place=f"{name} {key}")


def test_a_copy_of_its_plugin_that_was_changed_is_refused(slotlab: Slotlab) -> None:
    with Path("finished/plugins/jittered_slots.py").open("a") as file:
        file.write("# changed\n")
    code, _, err = slotlab("evaluate", "finished", "--device", "cpu", "--trust")
    assert (code, "is not what the run was trained with" in err) == (1, True)


def test_its_slots_are_mixed_to_the_same_pictures(done: Callable[..., str]) -> None:
    [old] = Path("finished/compositions").iterdir()
    words = ("--mode", "mix", "--image", "0", "--image", "1", "--out", "again")
    done("compose", "finished", "--device", "cpu", "--trust", *words)
    facts = [json.loads((folder / "composition.json").read_text()) for folder in (Path("again"), old)]
    assert facts[0] == facts[1]
    for picture in facts[1]["pictures"]:
        new, known = (
            np.asarray(Image.open(folder / picture["file"])).astype(int) for folder in (Path("again"), old)
        )
        assert np.abs(new - known).max() <= 1, "a gray level of rounding"


# --- an interrupted run -----------------------------------------------------------------------


def test_it_goes_on_as_if_it_had_never_stopped(done: Callable[..., str]) -> None:
    run, whole = Path("interrupted"), Path("finished")
    saved_at = max(int(file.name.split("-")[1]) for file in run.glob("checkpoints/step-*.pt"))
    done("train", "spec.yaml", "--run", run, "--device", "cpu")
    assert json.loads((run / "status.json").read_text())["state"] == "done"
    assert [one["step"] for one in restarts(run)] == [saved_at]
    found, expected = log(run), log(whole)
    assert [(line["kind"], line["step"]) for line in found] == [
        (line["kind"], line["step"]) for line in expected
    ]
    losses, others = ([line["loss"] for line in lines] for lines in (found, expected))
    assert losses == pytest.approx(others, rel=TRAINED)
    measured = rows(run / "evaluation" / "scenes-val-whole-attention" / "images.csv")
    for key, row in rows(whole / "evaluation" / "scenes-val-whole-attention" / "images.csv").items():
        if row["mse"]:
            assert float(measured[key]["mse"]) == pytest.approx(float(row["mse"]), rel=TRAINED)


def log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def restarts(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run / "provenance.json").read_text())["restarts"]
    return found


# --- a packed store ---------------------------------------------------------------------------


def test_the_store_is_whole_and_is_read_in_place_of_the_pictures(done: Callable[..., str]) -> None:
    [store] = Path("stores").iterdir()
    manifest = json.loads((store / "manifest.json").read_text())
    [verified] = json.loads(done("data", "verify", "pictures.yaml", "--json", "-"))["stores"]
    assert (Path(verified["path"]).name, verified["problems"]) == (store.name, [])
    assert verified["checksum"] == manifest["checksum"]
    before = {path: path.read_bytes() for path in Path("stores").rglob("*") if path.is_file()}
    for path in Path("pictures").rglob("*.png"):  # of the same size and time, which tell a file's state
        path.write_bytes(bytes(path.stat().st_size))
        os.utime(path, (LAST_WRITTEN, LAST_WRITTEN))
    done("train", "pictures.yaml", "--run", "run", "--device", "cpu")
    assert {path: path.read_bytes() for path in Path("stores").rglob("*") if path.is_file()} == before


# --- a study ----------------------------------------------------------------------------------


def known_parts(now: Any, before: Any) -> Any:
    """Return what is told now without what was not told before: more may be."""
    if isinstance(before, dict):
        return {name: known_parts(now[name], part) for name, part in before.items()}
    if isinstance(before, list):
        assert len(now) == len(before)
        return [known_parts(*pair) for pair in zip(now, before, strict=True)]
    return now


def cut(end: float, bounds: list[float | None]) -> float:
    """Return an end of an interval as it is told since intervals of means end where their metric does."""
    low, high = bounds
    return min(max(end, -math.inf if low is None else low), math.inf if high is None else high)


def test_its_comparison_says_the_same(done: Callable[..., str]) -> None:
    words = ("compare", "studies/iterations", "--format")
    figures = [
        re.findall(r"\d+(?:\.\d+)?", text)
        for text in (done(*words, "table"), Path("comparison.txt").read_text())
    ]
    assert set(figures[1]) <= set(figures[0]), "headings and notes may be worded better, numbers stay"
    found = list(csv.DictReader(done(*words, "csv").splitlines()))
    with Path("comparison.csv").open(newline="") as lines:
        expected = list(csv.DictReader(lines))
    now, before = json.loads(done(*words, "json")), json.loads(Path("comparison.json").read_text())
    for row in expected:
        bounds = before["metrics"][row["metric"]]["bounds"]
        row.update({end: str(cut(float(row[end]), bounds)) for end in ("low", "high") if row[end]})
    for arm in before["arms"]:
        for name, one in arm["statistics"].items():
            ends, bounds = one["interval"], before["metrics"][name]["bounds"]
            one["interval"] = ends and [cut(end, bounds) for end in ends]
    known = [{name: row[name] for name in one} for row, one in zip(found, expected, strict=True)]
    same([numbers(row) for row in known], [numbers(row) for row in expected], within=1e-9)
    assert len(now.pop("notes")) >= len(before.pop("notes")), "sentences, which may be worded better"
    same(known_parts(now, before), before, within=1e-9)


def test_nothing_of_it_is_trained_again(done: Callable[..., str]) -> None:
    expected = json.loads(Path("studies/iterations/plan.json").read_text())
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    for words in (("--dry-run", "--no-estimate"), ()):  # so that a failure trains nothing
        outcome = json.loads(done("ablate", "ablation.yaml", "--device", "cpu", *words, "--json", "-"))
        assert [run["state"] for run in outcome["runs"]] == ["done"] * 4
    now = json.loads(Path("studies/iterations/plan.json").read_text())
    assert known_parts(now, expected) == expected
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == before
