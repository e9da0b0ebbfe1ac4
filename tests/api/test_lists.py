"""Lists of runs, of studies' runs and of published numbers say what the commands say."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import slotlab
from slotlab.registry import SlotlabError
from slotlab.results import Records

BEFORE = Path(__file__).parents[1] / "fixtures" / "before_the_move"
Slotlab = Callable[..., tuple[int, str, str]]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Runs and a study, as they were written."""
    shutil.copytree(BEFORE, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_runs_are_those_of_the_command(copied: Path, slotlab: Slotlab) -> None:
    import slotlab as front

    found = front.list_runs(copied / "runs", where="seed>=0", show="model.slots")
    assert isinstance(found, Records)
    code, _, _ = slotlab("runs", copied / "runs", "--where", "seed>=0", "--json", copied / "runs.json")
    assert code == 0
    told = json.loads((copied / "runs.json").read_text())
    assert [{key: value for key, value in row.items() if key != "shown"} for row in found] == told
    assert all(row["shown"]["model.slots"] for row in found)
    assert "metrics.ari" in found.frame().columns


def test_a_study_is_that_of_the_command(copied: Path, slotlab: Slotlab) -> None:
    import slotlab as front

    [study] = [path.parent for path in (copied / "studies").rglob("plan.json")]
    code, _, _ = slotlab("watch", study, "--once", "--json", copied / "watch.json")
    assert code == 0
    told = json.loads((copied / "watch.json").read_text())["runs"]
    found = front.study_status(study)
    assert [dict(row) for row in found] == told
    assert found[0] == told[0]
    assert len(found.frame()) == len(found)


def test_published_numbers_are_those_of_a_protocol() -> None:
    every = slotlab.published()
    some = slotlab.published("clevrtex-official")
    assert 0 < len(some) < len(every)
    assert {row["protocol"] for row in some} == {"clevrtex-official"}
    assert "value" in every.frame().columns
    assert repr(some) == f"<Records: {len(some)} rows>"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda folder: slotlab.list_runs(folder, where="ari?"), "ari?"),
        (lambda folder: slotlab.list_runs(folder / "finished"), "is a run itself"),
        (lambda folder: slotlab.study_status(folder / "finished" / "checkpoints"), "checkpoints"),
        (lambda folder: slotlab.open_studio(folder / "nowhere"), "nowhere"),
        (lambda folder: slotlab.open_studio(folder / "finished", settings={"seed": 3}), "seed"),
    ],
)
def test_mistakes_are_told(copied: Path, call: Callable[[Path], object], text: str) -> None:
    with pytest.raises(SlotlabError) as error:
        call(copied)
    assert text in str(error.value)
