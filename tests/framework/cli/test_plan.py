"""`slotlab plan` as a user gives it."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def study(synthetic: ModuleType, tmp_path: Path) -> str:
    return str(synthetic.write_study(tmp_path, arms=3, seeds=4, images=8))


def test_a_study_is_planned_as_a_table(slotlab: Run, study: str) -> None:
    code, out, err = slotlab("plan", study, "--difference", "0.05", "--rate-difference", "0.5")
    assert (code, err) == (0, "")
    base = "encoder=cnn slots=4 iterations=1"
    lines = out.splitlines()
    assert lines[0] == f"synthetic: seeds that ari needs against '{base}'"
    assert lines[1].split("  ")[0] == "arm"
    assert len([line for line in lines if line.startswith("encoder=cnn slots=4 iterations=")]) == 6
    assert lines[8].startswith("note: needed: for the observed spread or rate")


def test_runs_are_planned_as_json(slotlab: Run, study: str) -> None:
    runs = str(Path(study).parents[1] / "runs")
    arms = [arm["name"] for arm in json.loads(slotlab("compare", runs, "--json", "-")[1])["arms"]]
    code, out, err = slotlab(
        "plan", runs, "--baseline", arms[0], "--primary", "mse", "--width", "0.01", "--json", "-"
    )
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["metric"], told["baseline"]) == ("mse", arms[0])
    assert [(need["arm"], need["design"]) for need in told["needs"]] == [
        (arm, design) for arm in arms[1:] for design in ("paired", "unpaired")
    ]


def test_what_is_missing_is_said(slotlab: Run, study: str) -> None:
    code, out, err = slotlab("plan", study)
    assert (code, out) == (1, "")
    assert err == "error: say what is wanted: --difference X, --width X or --rate-difference X\n"
