"""Checkpoints: written whole, known by their content, and never lost to a newer one that fails."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from slotlab.framework.runs.checkpoints import Checkpoint, Checkpoints, Value
from slotlab.framework.runs.json_shapes import Best, read_stored
from slotlab.framework.system.json_files import write_json
from slotlab.registry import SlotlabError


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints")


def state(step: int) -> dict[str, Any]:
    return {"step": step, "model": {"a": torch.full((3, 4), float(step))}, "facts": [1, 2.5, None, "x"]}


def steps(checkpoints: Checkpoints) -> list[int]:
    return [one.step for one in checkpoints.all()]


def test_what_is_saved_comes_back(checkpoints: Checkpoints) -> None:
    one = checkpoints.save(state(7), keep=2)
    loaded, complaints = checkpoints.newest()
    assert loaded is not None
    assert complaints == []
    assert torch.equal(loaded.pop("model")["a"], state(7)["model"]["a"])
    assert loaded == {"format": 2, "step": 7, "facts": [1, 2.5, None, "x"], "best": None}
    assert Checkpoint.at(one.path) == one
    assert (one.step, one.path.name) == (7, f"step-000000007-{one.checksum}.pt")


def test_the_newest_few_are_kept_and_the_best(checkpoints: Checkpoints) -> None:
    for step in range(1, 7):
        checkpoints.save(state(step), keep=2, best=Value("ari", 0.5) if step == 2 else None)
    assert steps(checkpoints) == [6, 5, 2]
    best = checkpoints.best()
    assert best is not None
    assert best.read()["step"] == 2
    assert sorted(path.name for path in checkpoints.folder.iterdir())[0] == "best.json"


@pytest.mark.parametrize(
    ("higher", "value", "better"),
    [
        *((True, 0.6, True), (True, 0.4, False), (False, 0.4, True), (False, 0.6, False)),
        *((True, 0.5, False), (False, 0.5, False)),  # of equals the first is kept
    ],
)
def test_better_by_the_metrics_own_direction(
    checkpoints: Checkpoints, higher: bool, value: float, better: bool
) -> None:
    assert checkpoints.is_better(Value("ari", -1.0), higher=higher)  # there is none yet
    checkpoints.save(state(1), keep=1, best=Value("ari", 0.5))
    assert checkpoints.is_better(Value("ari", value), higher=higher) is better
    assert checkpoints.is_better(Value("loss", value), higher=higher), "another metric starts anew"
    assert not checkpoints.is_better(Value("loss", float("nan")), higher=higher)


@pytest.mark.parametrize("folder", ["../", "elsewhere/"])
def test_the_best_is_never_looked_for_in_another_folder(checkpoints: Checkpoints, folder: str) -> None:
    best = checkpoints.save(state(1), keep=1, best=Value("ari", 0.5))
    name = f"{folder}{best.path.name}"
    (checkpoints.folder / name).parent.mkdir(exist_ok=True)
    (checkpoints.folder / name).write_bytes(best.path.read_bytes())
    write_json(checkpoints.best_file, {"file": name, "metric": "ari", "value": 0.5, "step": 1})
    with pytest.raises(SlotlabError) as error:
        read_stored(Best, checkpoints.best_file)
    words = "may hold only letters, digits, '.', '_' and '-', starting with a letter or digit"
    assert str(error.value) == f"{checkpoints.best_file}: file: '{name}' {words}"
    assert checkpoints.best() is None
    assert checkpoints.is_better(Value("ari", 0.1), higher=True)


@pytest.mark.parametrize("last", [0, 1, 2])
def test_of_several_checkpoints_of_one_step_the_last_written_counts(
    checkpoints: Checkpoints, last: int
) -> None:
    made = [checkpoints.save({**state(4), "facts": branch}, keep=3) for branch in range(3)]
    for one in made:
        os.utime(one.path, (1e9, 1e9 + (one == made[last])))
    assert checkpoints.of_step(4) == made[last]


def test_a_best_that_is_gone_is_known_to_no_later_one(checkpoints: Checkpoints) -> None:
    best = checkpoints.save(state(1), keep=1, best=Value("ari", 0.5))
    assert checkpoints.save(state(2), keep=1).read()["best"]["file"] == best.path.name
    best.path.unlink()
    assert checkpoints.save(state(3), keep=1).read()["best"] is None
    assert checkpoints.is_better(Value("ari", 0.1), higher=True)


def test_a_best_that_is_damaged_stands_in_the_way_of_no_later_one(checkpoints: Checkpoints) -> None:
    best = checkpoints.save(state(1), keep=1, best=Value("ari", 0.9))
    best.path.write_bytes(best.path.read_bytes()[:-1])
    later = Checkpoints(checkpoints.folder)  # a new process, which has not seen the file whole
    later.save(state(2), keep=1)
    assert later.best() is None
    assert later.is_better(Value("ari", 0.1), higher=True)
    assert best.path.is_file(), "what cannot be read is never removed"


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_newest_falls_back(checkpoints: Checkpoints, damage: str) -> None:
    checkpoints.save(state(1), keep=3)
    newest = checkpoints.save(state(2), keep=3)
    data = bytearray(newest.path.read_bytes())
    data[len(data) // 2] ^= 1
    newest.path.write_bytes({"cut": data[:200], "flip": bytes(data), "empty": b""}[damage])
    loaded, complaints = checkpoints.newest()
    assert loaded is not None
    assert loaded["step"] == 1
    assert complaints == [f"{newest.path} is damaged: its checksum is not the one in its name"]


class Harmful:
    def __reduce__(self) -> object:
        return (Path.touch, (Path("executed"),))


def put(checkpoints: Checkpoints, content: object) -> Checkpoint:
    """Save what is no checkpoint under a name with the right checksum."""
    one = checkpoints.save({"step": 1, "model": {}}, keep=1)
    torch.save(content, one.path)
    from slotlab.framework.runs.checkpoints import checksum

    path = one.path.with_name(f"step-000000001-{checksum(one.path.read_bytes())}.pt")
    one.path.rename(path)
    found = Checkpoint.at(path)
    assert found is not None
    return found


def test_reading_executes_no_code(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    one = put(checkpoints, {"format": 2, "step": 1, "model": Harmful()})
    with pytest.raises(SlotlabError) as error:
        one.read()
    assert str(error.value) == f"{one.path} cannot be read: UnpicklingError"
    assert not Path("executed").exists()


@pytest.mark.parametrize("content", [{"format": 1}, {"state_dict": {}}, [1]])
def test_a_file_of_another_format(checkpoints: Checkpoints, content: object) -> None:
    one = put(checkpoints, content)
    with pytest.raises(SlotlabError) as error:
        one.read()
    assert str(error.value) == f"{one.path} is not a checkpoint of slotlab's format 2"


@pytest.mark.parametrize("before", [0, 3])
def test_a_full_disk_keeps_what_was_there(
    checkpoints: Checkpoints, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(1, before + 1):
        checkpoints.save(state(step), keep=2)
    names = sorted(checkpoints.folder.glob("*"))

    def fail(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SlotlabError) as error:
        checkpoints.save(state(9), keep=2)
    kept = "the checkpoint of step 3 is kept" if before else "no checkpoint was written yet"
    assert str(error.value) == (
        f"the disk is full: a checkpoint of 0 MiB does not fit into {checkpoints.folder}; {kept}. "
        "Free some space and give the same command again"
    )
    assert sorted(checkpoints.folder.glob("*")) == names


def test_other_files_are_no_checkpoints(checkpoints: Checkpoints) -> None:
    checkpoints.folder.mkdir(parents=True)
    for name in ("last.pt", "step-1-0.pt", ".step-000000001-0123456789abcdef.pt.1.tmp"):
        (checkpoints.folder / name).write_bytes(b"")
    assert list(checkpoints.all()) == []
    assert checkpoints.newest() == (None, [])
    assert checkpoints.best() is None
