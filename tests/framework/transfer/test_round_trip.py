"""What is pushed arrives, whatever the place; what is there is neither sent nor fetched again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import slotlab
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.transfer.folder_store import FolderStore
from slotlab.registry import SlotlabError

Files = dict[str, bytes]
PLACES = ("folder", "file", "memory")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "slotlab" / "runs"


def place(kind: str, tmp_path: Path, memory: str) -> str:
    return {"folder": "shared/run", "file": f"file://{tmp_path}/shared/run", "memory": memory}[kind]


@pytest.mark.parametrize("kind", PLACES)
def test_a_run_arrives_as_it_was(
    kind: str, run: Path, tmp_path: Path, memory: str, cache: Path, files: Callable[[Path], Files]
) -> None:
    address = place(kind, tmp_path, memory)
    before = files(run)
    sent = slotlab.push(run, address)
    assert files(run) == before, "a push changes nothing of the run"
    found = slotlab.pull(address)
    assert found.is_relative_to(cache)
    assert found.name == "finished"
    arrived = files(found)
    assert set(arrived) == {"README.md", "manifest.json"} | set(before) - {
        "checkpoints/best.json",
        "checkpoints/step-000000048-bf78ffcb98b3b60c.pt",
    }
    same = [name for name, content in arrived.items() if before.get(name) == content]
    assert len(same) > 12, "records without anything private stay as they are"
    assert sent["bytes"] == sum(len(content) for content in arrived.values()) - len(arrived["manifest.json"])
    mine, theirs = RunFolder(run).load_weights(), RunFolder(found).load_weights()
    assert mine.step == theirs.step
    assert all(torch.equal(mine.model[name], theirs.model[name]) for name in mine.model)
    assert RunFolder(found).read_spec() == RunFolder(run).read_spec()


@pytest.mark.parametrize("kind", PLACES)
def test_what_is_there_is_not_sent_or_fetched_again(
    kind: str, run: Path, tmp_path: Path, memory: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = place(kind, tmp_path, memory)
    slotlab.push(run, address)
    first = slotlab.pull(address)
    (first / "mine.txt").write_text("written after it was fetched")

    def refused(*given: object) -> None:
        raise AssertionError(given)

    monkeypatch.setattr(FolderStore, "send", refused)
    monkeypatch.setattr(FolderStore, "fetch", refused)
    assert slotlab.push(run, address)["sent"] == 0
    assert slotlab.pull(address) == first
    assert (first / "mine.txt").is_file()


def test_another_content_has_another_place_and_replaces_only_what_differs(
    run: Path, memory: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slotlab.push(run, memory)
    first = slotlab.pull(memory)
    (run / "status.json").write_text(json.dumps({"state": "stopped", "reason": "enough"}))
    with pytest.raises(SlotlabError, match=r"memory://shared/run: 'finished' lies there, .* --overwrite"):
        slotlab.push(run, memory)
    names: list[str] = []
    send = FolderStore.send
    monkeypatch.setattr(
        FolderStore, "send", lambda self, name, item: (names.append(name), send(self, name, item))
    )
    slotlab.push(run, memory, overwrite=True)
    assert set(names) == {"unfinished.json", "status.json", "README.md", "manifest.json"}
    second = slotlab.pull(memory)
    assert second != first
    assert RunFolder(second).read_status()["state"] == "stopped"
    assert RunFolder(first).read_status()["state"] == "done"
    names.clear()
    slotlab.push(run, memory, overwrite=True)  # the same content: all is sent, for a place that was damaged
    assert "spec.yaml" in names


def test_what_is_no_longer_wanted_goes(run: Path, tmp_path: Path) -> None:
    slotlab.push(run, "shared")
    slotlab.push(run, "shared", evaluations=False, figures=False, overwrite=True)
    kept = {path.name for path in Path("shared").rglob("*") if path.is_file()}
    assert "summary.json" not in kept
    assert "grid.png" not in kept
    assert not {"unfinished.json"} & kept
    assert slotlab.pull("shared", "again") == Path("again")


@pytest.mark.parametrize(
    ("wanted", "steps", "evaluates"),
    [((), [108], "last"), ("best", [48], "best"), (48, [48], 48), (["last", "best"], [48, 108], "last")],
)
def test_checkpoints_are_chosen_and_the_spec_evaluates_one_that_was_sent(
    wanted: object, steps: list[int], evaluates: object, run: Path, memory: str
) -> None:
    found = slotlab.push(run, memory, checkpoint=wanted)  # type: ignore[arg-type]
    assert sorted(found["checkpoints"].values()) == steps
    arrived = RunFolder(slotlab.pull(memory, "there"))
    assert sorted(one.step for one in arrived.checkpoints.all()) == steps
    assert arrived.read_spec()["evaluation"]["checkpoint"] == evaluates
    best = arrived.checkpoints.best()
    assert (best is not None) == (48 in steps)
    assert slotlab.open_run("there", trust=True, device="cpu").step == (108 if evaluates == "last" else 48)


def test_checkpoints_that_are_not_there(run: Path, memory: str) -> None:
    for wanted, reason in (("newest", "write best, last or the step"), (7, "there are those of 48, 108")):
        with pytest.raises(SlotlabError, match=reason):
            slotlab.push(run, memory, checkpoint=wanted)
    (run / "checkpoints" / "best.json").unlink()
    with pytest.raises(SlotlabError, match="has no best checkpoint; push the last one"):
        slotlab.push(run, memory, checkpoint="best")
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(b"damaged")
    with pytest.raises(SlotlabError, match=r"has no checkpoint to push; .* is damaged"):
        slotlab.push(run, memory)


def test_places_where_something_else_lies_are_left_alone(run: Path, files: Callable[[Path], Files]) -> None:
    Path("full").mkdir()
    Path("full", "README.md").write_text("mine")
    with pytest.raises(SlotlabError, match="full: 1 files that are no pushed run lie there"):
        slotlab.push(run, "full")
    assert Path("full", "README.md").read_text() == "mine"
    with pytest.raises(SlotlabError, match="finished is the run itself"):
        slotlab.push(run, run, overwrite=True)
    other = run.with_name("other")
    other.mkdir()
    (other / "spec.yaml").write_text("name: other")
    with pytest.raises(SlotlabError, match="other: a run that was not pushed lies there"):
        slotlab.push(run, other, overwrite=True)
    slotlab.push(run, "shared")
    with pytest.raises(SlotlabError, match="full holds something else already"):
        slotlab.pull("shared", "full")
    assert set(files(Path("full"))) == {"README.md"}


def test_a_run_that_is_being_trained_is_not_pushed(run: Path, memory: str) -> None:
    from slotlab.framework.system.locks import exclusive

    (run / "status.json").write_text(json.dumps({"state": "running", "reason": ""}))
    with exclusive(run, "taken"), pytest.raises(SlotlabError, match="finished is being trained"):
        slotlab.push(run, memory)
