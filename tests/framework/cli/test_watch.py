"""`slotlab watch` of a run and of a study: the metric during the training, and where the latest picture lies."""

import json
from pathlib import Path
from types import ModuleType

import pytest

import slotlab
from slotlab.framework.cli.sparkline import BARS, sparkline
from slotlab.framework.runs.folder import RunFolder
from tests.conftest import Slotlab


@pytest.mark.parametrize("count", [1, 2, 11, 12, 13, 100])
def test_a_curve_keeps_its_order_its_ends_and_its_width(count: int) -> None:
    line = sparkline([number / 7 for number in range(count)])
    assert len(line) == min(count, 12)
    assert list(line) == sorted(line)
    if count > 1:
        assert (line[0], line[-1]) == (BARS[0], BARS[-1])
    assert sparkline([-3 * number / 7 + 5 for number in range(count)])[::-1] == line or count > 12


def test_a_curve_of_values_that_are_not_there() -> None:
    assert sparkline([]) == ""
    assert sparkline([None, None]) == "  "
    assert sparkline([0.5, None, 0.5]) == f"{BARS[0]} {BARS[0]}"


def looked_at(run: RunFolder) -> None:
    """Give a run three looks, the second without a value."""
    run.watch.mkdir()
    for step, value in ((1, 0.25), (2, None), (3, 0.75)):
        run.log({"kind": "watch", "step": step, "epoch": 0, "ari": value, "fg_ari": value})
        run.picture(step).touch()


def test_a_study_shows_the_metric_in_training_and_the_latest_picture(
    synthetic: ModuleType, tmp_path: Path, slotlab: Slotlab
) -> None:
    study = synthetic.write_study(tmp_path, arms=2, seeds=1, images=4)
    code, before, _ = slotlab("watch", study, "--once")
    assert (code, "in training" in before) == (0, False)
    run = RunFolder(sorted((tmp_path / "runs").iterdir())[0])
    looked_at(run)
    _, out, _ = slotlab("watch", study, "--once")
    told = json.loads(slotlab("watch", study, "--json", "-")[1])
    assert "".join(out.split()).endswith("".join(str(run.picture(3)).split()))
    primary = told["primary"]
    assert f"{primary} in training" in " ".join(out.split()) or "training" in out
    assert f"{BARS[0]} {BARS[-1]} 0.750" in out
    [row] = [row for row in told["runs"] if row["watched"]]
    assert [look["step"] for look in row["watched"]] == [1, 2, 3]
    assert row["picture"] == str(run.picture(3))


def test_one_run_is_watched_by_its_folder(synthetic: ModuleType, tmp_path: Path, slotlab: Slotlab) -> None:
    synthetic.write_study(tmp_path, arms=1, seeds=1, images=4)
    run = RunFolder(next((tmp_path / "runs").iterdir()))
    looked_at(run)
    code, out, err = slotlab("watch", run.path, "--once")
    assert (code, err) == (0, "")
    assert "0.750" in out
    assert "latest picture" in out


def test_python_gives_the_same(synthetic: ModuleType, tmp_path: Path) -> None:
    study = synthetic.write_study(tmp_path, arms=1, seeds=1, images=4)
    run = RunFolder(next((tmp_path / "runs").iterdir()))
    looked_at(run)
    [of_study], [of_run] = slotlab.study_status(study), slotlab.study_status(run.path)
    assert of_run["picture"] == str(run.picture(3))
    assert Path(of_study["picture"]).resolve() == run.picture(3).resolve()
    assert [look["step"] for look in of_run["watched"]] == [1, 2, 3]
