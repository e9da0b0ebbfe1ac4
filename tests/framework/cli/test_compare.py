"""`slotlab compare` as a user gives it."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def study(synthetic: ModuleType, tmp_path: Path) -> str:
    return str(synthetic.write_study(tmp_path, arms=3, seeds=3, images=8))


def test_a_study_is_printed_with_what_to_bear_in_mind(slotlab: Run, study: str) -> None:
    code, out, err = slotlab("compare", study)
    assert (code, err) == (0, "")
    heads = [line for line in out.splitlines() if line and not line.startswith((" ", "encoder", "arm"))]
    base = "encoder=cnn slots=4 iterations=1"
    assert heads[:6] == [
        "synthetic: mean ± standard deviation over seeds",
        "runs that bound: ari at least 0.3 (declared by the study)",
        "settings that differ between arms",
        "ari ↑ over seeds",
        f"ari ↑: difference to '{base}', paired by seed",
        "cost of training a run, mean over runs",
    ]
    assert heads[6] == "question: Which encoder, how many slots, how many iterations?"
    assert heads[7].startswith("evaluated on: dataset scenes, protocol whole (image_size 32), split val")
    assert any(line.startswith("note: with 3 pairs, a paired t test finds") for line in heads)
    code, out, _ = slotlab("compare", study, "--metric", "mse", "--metric", "fg_ari")
    assert "mse ↓ over seeds" in out
    assert "fg_ari ↑ over seeds" in out


def test_other_formats_go_to_stdout_alone(slotlab: Run, study: str) -> None:
    for name, start in (
        ("markdown", "### synthetic"),
        ("latex", "% needs"),
        ("csv", "arm,metric,"),
        ("json", "{"),
    ):
        code, out, err = slotlab("compare", study, "--format", name)
        assert (code, err) == (0, "")
        assert out.startswith(start)
    assert json.loads(slotlab("compare", study, "--json", "-")[1]) == json.loads(out)
    rows = list(csv.DictReader(io.StringIO(slotlab("compare", study, "--format", "csv")[1])))
    assert len(rows) == 9


def test_everything_is_written_to_a_folder(slotlab: Run, study: str, tmp_path: Path) -> None:
    code, _, err = slotlab("compare", study, "--metric", "ari", "--out", str(tmp_path / "out"))
    assert code == 0
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"comparison.md", "comparison.csv", "comparison.tex", "comparison.json"} <= files
    assert {"intervals-ari.png", "intervals-ari.pdf", "cost-time.png", "objects-ari.pdf"} <= files
    figures = len([name for name in files if name.endswith(".png")])
    assert err == f"written: {tmp_path}/out/comparison.{{md,csv,tex,json}} and {figures} figures\n"


def test_what_is_refused_is_an_error_with_its_lines(slotlab: Run, study: str, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "000000000001" / "provenance.json"
    run.write_text(run.read_text().replace('"version": 1', '"version": 2', 1))
    code, out, err = slotlab("compare", study)
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert lines[0] == "error: mixed versions of dataset scenes:"
    assert lines[2].endswith(f"version 2: {run.parent}")
    code, _, err = slotlab("compare", str(tmp_path / "nowhere"))
    assert code == 1
    assert err == (
        f"error: {tmp_path}/nowhere: it does not exist; give run folders, folders of runs or a study\n"
    )


def test_a_file_is_no_folder_for_the_outputs(slotlab: Run, study: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    code, out, err = slotlab("compare", study, "--out", str(tmp_path / "taken"))
    assert (code, out) == (1, "")
    assert err == f"error: {tmp_path}/taken is a file; choose another folder with --out DIR\n"
    assert (tmp_path / "taken").read_text() == "mine"


def test_unpaired_is_printed_and_on_the_page(slotlab: Run, study: str, tmp_path: Path) -> None:
    code, out, err = slotlab("compare", study, "--unpaired")
    assert (code, err) == (0, "")
    assert "', not paired" in out
    assert slotlab("report", study, "--unpaired", "--out", str(tmp_path / "page.html"))[0] == 0
    assert "p (Welch, Holm)" in (tmp_path / "page.html").read_text()
    assert slotlab("report", study, "--out", str(tmp_path / "page.html"))[0] == 0
    assert "p (Welch, Holm)" not in (tmp_path / "page.html").read_text()


def test_an_arm_of_which_only_some_runs_bound_is_headed_by_how_many_on_the_page(
    slotlab: Run, study: str, tmp_path: Path
) -> None:
    arms = json.loads(slotlab("compare", study, "--json", "-")[1])["arms"]
    threshold = str(sorted(arms[1]["statistics"]["ari"]["by_seed"].values())[1])  # of three: two bind
    told = json.loads(slotlab("compare", study, "--failed-below", threshold, "--json", "-")[1])
    assert (told["arms"][1]["binding"]["bound"], told["arms"][1]["binding"]["runs"]) == (2, 3)
    page = tmp_path / "page.html"
    code, out, _ = slotlab("report", study, "--failed-below", threshold, "--out", str(page))
    assert code == 0
    assert f"{told['arms'][1]['name']} bound in 2 of 3 runs (rate 0.67" in out
    assert "2 of 3 bound<small>if bound " in page.read_text()
    assert "The threshold is an option of this comparison; the study declares 0.3." in page.read_text()
