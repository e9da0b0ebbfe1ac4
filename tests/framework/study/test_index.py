"""The index says what the folders say, whatever happened to it."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.study.folder import StudyFolder
from slotlab.framework.study.index import NAME, Index, RunFilter
from slotlab.framework.study.plan import StudyRun
from slotlab.framework.system.json_files import write_json
from slotlab.registry import SlotlabError

STATES = "states: waiting, running, interrupted, stopped, failed, trained, done, damaged"
Slotlab = Callable[..., tuple[int, str, str]]
Planned = Callable[..., tuple[StudyFolder, list[StudyRun]]]


@pytest.fixture
def trained(planned: Planned, pretend: Any) -> list[StudyRun]:
    """Eight runs, the first failed, the others evaluated with rising values."""
    _, runs = planned()
    for number, run in enumerate(runs):
        pretend.training(run, state="done" if number else "failed", reason="" if number else "NaN")
        if number:
            pretend.evaluation(run, value=number / 10)
    return runs


def ask(*conditions: str) -> list[str]:
    index = Index(Path("runs"))
    index.refresh()
    return sorted(record["run"] for record in index.find([RunFilter.read(text) for text in conditions]))


def test_questions_are_answered_as_the_folders_would(trained: list[StudyRun]) -> None:
    ids = [run.run_id for run in trained]
    assert ask() == sorted(ids)
    assert ask("state=failed") == ids[:1]
    assert ask("state!=failed") == sorted(ids[1:])
    assert ask("seed=1") == sorted(ids[4:])
    assert ask("model.slots>7") == sorted(run.run_id for run in trained if run.spec.slots == 8)
    assert ask("model.initializer.name = gaussian", "seed<1", "state=done") == ids[2:3]
    assert ask("ari>=0.3", "ari<0.55") == sorted(ids[3:6])
    assert ask("scenes-val-whole-decoder/mse<=0.1") == ids[1:2]
    assert ask("model.encoder.channels=[4, 4]") == sorted(ids)
    assert ask("evaluation.max_images=null") == sorted(ids)
    assert ask("evaluation.max_images!=5") == sorted(ids), "what has no value is another value too"
    assert ask("evaluation.max_images!=null") == []


def test_a_metrics_bare_name_is_that_of_the_evaluation_which_the_run_declares(
    trained: list[StudyRun],
) -> None:
    """Others lie beside it: later in name and in time, with a changed setting, another checkpoint or split."""
    run = RunFolder(trained[1].folder)
    own = run.evaluation("scenes-val-whole-decoder")
    summary = json.loads((own / "summary.json").read_text())
    others: dict[str, dict[str, Any]] = {
        "scenes-val-whole-decoder-1a2b3c4d": {"changes": {"evaluation.slots": 11}},
        "scenes-val-whole-decoder-best": {"checkpoint": "best"},
        "scenes-test-whole-decoder": {"split": "test"},
        "scenes-val-whole-zattention": {"mask_source": "attention"},
    }
    for name, facts in others.items():
        methods = {"model": {"ari": {"mean": 0.999}, "mbo": {"mean": 0.5}}}
        write_json(run.evaluation(name) / "summary.json", {**summary, "methods": methods, **facts})
    assert trained[1].run_id not in ask("ari>0.9")
    assert trained[1].run_id in ask("ari<0.2")
    assert ask("scenes-val-whole-decoder-best/ari>0.9") == [trained[1].run_id]
    assert ask("mbo=0.5") == [trained[1].run_id]


def test_only_what_changed_is_read_again(trained: list[StudyRun], pretend: Any) -> None:
    index = Index(Path("runs"))
    assert [index.refresh() for _ in range(2)] == [8, 0]
    RunFolder(trained[0].folder).write_status("stopped", "by Ctrl-C")
    pretend.evaluation(trained[1], value=0.99)
    assert index.refresh() == 2
    assert ask("state=stopped") == [trained[0].run_id]
    assert ask("ari>0.9") == [trained[1].run_id]
    RunFolder(trained[2].folder).spec.unlink()
    assert trained[2].run_id not in ask()


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x" * 5000)])
def test_it_is_made_anew_from_the_folders(trained: list[StudyRun], damage: Callable[[Path], Any]) -> None:
    index = Index(Path("runs"))
    index.refresh()
    before = index.find()
    damage(index.path)
    assert index.refresh() == 8
    assert index.find() == before


def test_many_writers_at_once(trained: list[StudyRun]) -> None:
    code = (
        "from pathlib import Path; from slotlab.framework.study.index import Index\n"
        "for _ in range(5): Index(Path('runs')).refresh(); assert len(Index(Path('runs')).find()) == 8"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)]
    errors = [writer.communicate()[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4, errors
    assert len(ask()) == 8
    assert ask("ari>0.55") == sorted(run.run_id for run in trained[6:])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ari", "--where ari: write NAME=VALUE, or !=, <, <=, >, >= in place of ="),
        (
            "state=finishd",
            f"--where state=finishd: there is no state 'finishd' ({STATES})",
        ),
        ("model.slots>five", "--where model.slots>five: > takes a number, got 'five'"),
        (
            "state=fail",
            f"--where state=fail: there is no state 'fail'; did you mean 'failed'? ({STATES})",
        ),
        ("stat=done", "no run has 'stat'; did you mean 'state'?"),
    ],
)
def test_questions_that_are_none(trained: list[StudyRun], text: str, message: str) -> None:
    with pytest.raises(SlotlabError) as caught:
        ask(text)
    assert str(caught.value) == message


def test_a_column_that_no_run_has(trained: list[StudyRun]) -> None:
    index = Index(Path("runs"))
    index.refresh()
    assert len(index.find((), ["model.slots", "ari"])) == 8
    with pytest.raises(SlotlabError) as caught:
        index.find((), ["model.slotz"])
    assert str(caught.value) == "no run has 'model.slotz'; did you mean 'model.slots'?"


def test_runs_of_others_are_listed_too(
    trained: list[StudyRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ask("ari>0.2")
    Index(Path("runs")).path.unlink()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert ask("ari>0.2") == expected
    assert Index(Path("runs")).path.is_relative_to(tmp_path / "cache")
    assert not (Path("runs") / NAME).exists()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


def statements(text: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as database:
            database.executescript(text)

    return change


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


def a_page_of_garbage(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "garbage": lambda path: path.write_bytes(b"x" * 5000),
    "half of it": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "a page of garbage": a_page_of_garbage,
    "a header only": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "empty": lambda path: path.write_bytes(b""),
    "a folder": replaced_by_a_folder,
    "a table is missing": statements("DROP TABLE facts"),
    "a column is missing": statements("DROP TABLE runs; CREATE TABLE runs (path TEXT)"),
    "records are no JSON": statements("UPDATE runs SET record = '{'"),
    "records are lists": statements("UPDATE runs SET record = '[]'"),
    "of a newer slotlab": statements("PRAGMA user_version = 99; DROP TABLE runs; CREATE TABLE runs (other)"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_index_keeps_an_answer_from_being_given(trained: list[StudyRun], damage: str) -> None:
    expected = ask("ari>0.2")
    DAMAGES[damage](Path("runs") / NAME)
    assert ask("ari>0.2") == expected
    assert ask() == sorted(run.run_id for run in trained)


def test_an_index_that_another_process_holds_is_left_alone(
    trained: list[StudyRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ask("ari>0.2")
    monkeypatch.setattr("slotlab.framework.study.index.PATIENCE", 0.01)
    before = (Path("runs") / NAME).read_bytes()
    with locked(Path("runs") / NAME):
        assert ask("ari>0.2") == expected
    assert (Path("runs") / NAME).read_bytes() == before


def test_an_index_that_cannot_be_written_is_left_alone(
    trained: list[StudyRun], pretend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index(Path("runs"))
    index.refresh()
    pretend.evaluation(trained[1], value=0.99)
    before = index.path.read_bytes()
    real = sqlite3.connect
    monkeypatch.setattr(  # root may write everywhere
        sqlite3, "connect", lambda name, **options: real(
            name if name == ":memory:" else f"file:{name}?mode=ro", uri=True, **options
        )
    )  # fmt: skip
    assert ask("ari>0.9") == [trained[1].run_id]
    assert index.path.read_bytes() == before


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SlotlabError) as caught:
        Index(Path("nowhere")).refresh()
    assert str(caught.value) == "there is no folder of runs nowhere"
    assert Index(tmp_path).refresh() == 0
    assert Index(tmp_path).find([RunFilter.read("state=done")]) == []


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        (
            "status.json",
            "{",
            "not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ("status.json", "[]", "expected a JSON object {...}, and it holds none"),
        ("status.json", '{"state": "done", "reason": null}', "reason: expected text, got nothing"),
        ("provenance.json", '{"run_id": []}', "run_id: expected text, got []"),
        ("provenance.json", '{"components": [{"name": "cnn"}]}', "components.0.kind: this key is required"),
        (
            "spec.yaml",
            "name: x\nseed: one\ntraining: {batch_size: 1, phases: []}",
            "seed: expected a whole number, got 'one'",
        ),
        ("spec.yaml", "a: " + "[" * 100, "blocks are nested deeper than 64 levels"),
        (
            "spec.yaml",
            "name: x\ntraining: {batch_size: 0, phases: []}",
            "training.batch_size: must be at least 1, got 0",
        ),
        ("cost.json", '{"seconds": NaN}', "not valid JSON: NaN is not a JSON number"),
        (
            "cost.json",
            '{"seconds": 1e999}',
            "not valid JSON: the number 1e999 is larger than anything that is measured",
        ),
        ("cost.json", "", "not valid JSON: Expecting value: line 1 column 1 (char 0)"),
        (
            "metrics.jsonl",
            '{"kind": "train", "step": 1}\nx\n',
            "not valid JSON: Expecting value: line 1 column 1 (char 0)",
        ),
    ],
)
def test_a_damaged_run_is_listed_with_the_reason(
    trained: list[StudyRun], slotlab: Slotlab, file: str, content: str, reason: str
) -> None:
    bad = trained[3].folder
    (bad / file).write_text(content)
    code, out, err = slotlab("runs", "--where", "state=damaged")
    assert (code, out.splitlines()[-1]) == (0, "1 run")
    where = {"metrics.jsonl": "metrics.jsonl, line 2"}.get(file, file)
    where = "spec.yaml:1: a.0.0" if "nested" in reason else where
    assert err == f"warning: runs/{bad.name} is damaged: {where}: {reason}\n"
    assert bad.name in out
    assert slotlab("runs")[1].splitlines()[-1] == "8 runs"


FILES = ("spec.yaml", "status.json", "metrics.jsonl", "provenance.json", "cost.json")


def test_no_content_of_a_file_hides_the_other_runs(trained: list[StudyRun]) -> None:
    for file in (trained[0].folder / name for name in FILES):
        before = file.read_bytes() if file.is_file() else b"{}"
        for content in (b"a: [\n", b"\xff\xfe\n", b"7\n", b"[[]]\n"):
            file.write_bytes(content)
            assert len(ask()) == 8, (file.name, content)
            assert ask("state=damaged") == [trained[0].run_id], (file.name, content)
        file.write_bytes(before)
    RunFolder(trained[0].folder).path.joinpath("status.json").write_text('{"state": []}')
    assert ask("state=damaged") == [trained[0].run_id]


def test_where_runs_would_lie(trained: list[StudyRun], slotlab: Slotlab) -> None:
    Path("empty").mkdir()
    where = "each is a folder with a spec.yaml, directly in it"
    assert slotlab("runs", "empty")[2] == (
        f"warning: there is no run in empty: {where}; trainings write theirs into the folder runs by default\n"
    )
    assert slotlab("runs", ".")[2] == f"warning: there is no run in .: {where}; there are some in runs\n"
    study = "studies/small_study"
    message = f"{study} is a study, and its runs lie elsewhere; 'slotlab runs runs' lists them"
    how = f"'slotlab watch {study}' shows their status"
    assert slotlab("runs", study) == (1, "", f"error: {message}, {how}\n")
    run = Path("runs") / trained[0].run_id
    message = f"{run} is a run itself; 'slotlab runs runs' lists it with the others"
    assert slotlab("runs", run) == (1, "", f"error: {message}\n")
