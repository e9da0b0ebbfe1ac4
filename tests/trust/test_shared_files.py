"""The shared files of a run do not reveal where it lies and who made it."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

Slotlab = Callable[..., tuple[int, str, str]]
NAME = "zebedee"


@pytest.fixture
def home(tmp_path: Path, sources: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home with a telling name, which holds all files."""
    folder = tmp_path / "home" / NAME
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USER", NAME)
    monkeypatch.chdir(tmp_path)
    for name, text in sources.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.filterwarnings("ignore")
def test_nothing_that_is_shared_names_its_maker(home: Path, slotlab: Slotlab) -> None:
    run, shared = home / "runs" / "one", home.parents[1] / "shared"
    sets = (f"data.stores={home / 'stores'}", "training.trackers=[tensorboard]")
    words = [word for one in sets for word in ("--set", one)]
    code, _, err = slotlab("train", home / "spec.yaml", "--run", run, "--device", "cpu", *words)
    assert code == 0, err
    assert NAME in (run / "spec.yaml").read_text(), "what an evaluation needs stays in the run"
    assert slotlab("evaluate", run, "--device", "cpu", "--no-figures")[0] == 0
    assert slotlab("compose", run, "--mode", "slots", "--count", "1", "--device", "cpu")[0] == 0
    assert slotlab("compare", run, "--json", shared / "comparison.json")[0] == 0
    assert slotlab("report", run, "--out", shared / "report.html")[0] == 0
    local = {run / "spec.yaml"}
    files = [path for folder in (run, shared) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    telling = [path for path in files if path not in local and NAME.encode() in path.read_bytes()]
    assert telling == []
    assert [path for path in files if socket.gethostname() in path.name] == []
    facts = json.loads((run / "provenance.json").read_text())
    assert facts["command"][:3] == ["slotlab", "train", "…/spec.yaml"]
    assert "data.stores=…/stores" in facts["command"]
    assert facts["spec_file"] == "…/spec.yaml"
    report = (shared / "report.html").read_text()
    assert "data.stores=…/stores" in report
    assert json.loads((shared / "comparison.json").read_text())["arms"][0]["runs"][0]["run"] == "one"


def test_runs_of_before_are_shared_without_names_too(home: Path, trained: Path, slotlab: Slotlab) -> None:
    import shutil

    run = home / "old"
    shutil.copytree(trained, run)
    facts = json.loads((run / "provenance.json").read_text())
    facts["command"] = ["slotlab", "train", str(home / "spec.yaml")]
    (run / "provenance.json").write_text(json.dumps(facts))
    (run / "status.json").write_text(json.dumps({"state": "done", "reason": f"see {home}/x"}))
    for words in (("compare", run, "--json", "out.json"), ("report", run, "--out", "out.html")):
        assert slotlab(*words)[0] == 0
    for name in ("out.json", "out.html"):
        assert NAME not in Path(name).read_text()
