"""The run folder: refusals, what overwriting removes, files that are whole or not there."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.atomic import write_atomically
from slotlab.framework.system.json_files import write_json
from slotlab.framework.system.locks import exclusive
from slotlab.registry import SlotlabError

Specs = Callable[..., ExperimentSpec]
CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path: Path, tiny: Specs) -> RunFolder:
    return RunFolder.create(tmp_path / "run", tiny())


def refusal(path: Path, spec: ExperimentSpec, **options: bool) -> str:
    with pytest.raises(SlotlabError) as error:
        RunFolder.create(path, spec, **options)
    return str(error.value)


# --- creating and opening ----------------------------------------------------------------


def test_the_spec_in_the_folder_is_the_spec(run: RunFolder, tiny: Specs) -> None:
    data = yaml.safe_load(run.spec.read_text())
    assert ExperimentSpec.model_validate(data, context={"registry": load_registry()}) == tiny()
    assert load_spec(run.spec).spec == tiny()
    assert RunFolder.open(run.path) == run


def test_a_run_is_not_overwritten_unasked(run: RunFolder, tiny: Specs) -> None:
    text = "{} holds a run already ({}); give --overwrite to train it again, or --run DIR"
    run.write_status("running")
    assert refusal(run.path, tiny()) == text.format(run.path, "running")
    run.write_status("stopped", "KeyboardInterrupt: ")
    assert refusal(run.path, tiny()) == text.format(run.path, "stopped")


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_folders_and_files_are_refused(tmp_path: Path, tiny: Specs, overwrite: bool) -> None:
    folder, file = tmp_path / "thesis", tmp_path / "file"
    folder.mkdir()
    (folder / "chapter.tex").write_text("x")
    file.write_text("x")
    for path in (folder, file):
        text = f"{path} exists and is not a run folder; choose another with --run DIR"
        assert refusal(path, tiny(), overwrite=overwrite) == text
    assert (folder / "chapter.tex").read_text() == "x"


def test_an_empty_folder_is_taken(tmp_path: Path, tiny: Specs) -> None:
    assert RunFolder.create(tmp_path, tiny()).spec.is_file()


def test_overwriting_removes_the_run_and_nothing_else(run: RunFolder, tiny: Specs) -> None:
    run.write_status("done")
    run.log({"kind": "train", "step": 1})
    run.checkpoints.save({"step": 1, "model": {}, "ema": None}, keep=1)
    write_json(run.evaluation("scenes-val-whole-decoder") / "summary.json", {})
    write_atomically(run.figures / "loss.png", b"")
    run.write_provenance({})
    (run.path / "notes.txt").write_text("mine")
    again = RunFolder.create(run.path, tiny(name="other"), overwrite=True)
    assert sorted(p.name for p in run.path.iterdir()) == ["notes.txt", "spec.yaml", "status.json"]
    assert load_spec(again.spec).spec.name == "other"


def test_plugins_are_copied_even_from_the_folder_itself(
    tmp_path: Path, tiny: Specs, plugin: Callable[..., Path]
) -> None:
    file = plugin("my_run_plugin.py")
    text = file.read_text()
    run = RunFolder.create(tmp_path / "run", tiny(plugins=[str(file)]))
    copy = run.path / "plugins" / file.name
    assert copy.read_text() == text
    assert yaml.safe_load(run.spec.read_text())["plugins"] == ["plugins/my_run_plugin.py"]
    file.unlink()
    again = load_spec(run.spec, trust=lambda strange: True).spec  # from the copy
    RunFolder.create(run.path, again, overwrite=True)
    assert copy.read_text() == text


def test_opening_what_is_no_run(tmp_path: Path, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SlotlabError) as error:
        RunFolder.open(tmp_path)
    assert str(error.value) == f"{tmp_path} is not a run folder: it has no spec.yaml"
    (tmp_path / "runs").mkdir()
    run.path.rename(tmp_path / "runs" / "tiny")
    with pytest.raises(SlotlabError) as error:
        RunFolder.open(Path("elsewhere"))
    assert str(error.value) == "elsewhere does not exist (runs here: runs/tiny)"


# --- files -------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"old")

    def fail(number: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_names_the_file_that_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "there"
    path.mkdir()
    with pytest.raises(OSError) as caught:
        write_atomically(path, b"new")
    assert caught.value.filename == str(path)


def test_a_run_that_was_killed_is_not_running(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.read_state() is None
    run.write_status("running")
    assert run.read_state() == "interrupted"
    with exclusive(tmp_path, "taken"):
        assert run.read_state() == "running"
    run.write_status("stopped")
    assert run.read_state() == "stopped"


def test_json_holds_numbers_only(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"b": float("nan")})


def test_status_and_log(run: RunFolder) -> None:
    assert (run.read_status(), run.read_log()) == ({"state": "beginning", "reason": ""}, [])
    run.write_status("failed", "OSError: disk full")
    assert run.read_status() == {"state": "failed", "reason": "OSError: disk full"}
    lines = [{"kind": "train", "step": 1, "loss": 0.5}, {"kind": "validation", "step": 1}]
    for line in lines:
        run.log(line)
    assert run.read_log() == lines


# --- weights -----------------------------------------------------------------------------


def save(run: RunFolder, step: int, ema: dict[str, torch.Tensor] | None = None) -> None:
    weights = {"a": torch.full((3, 4), float(step))}
    run.checkpoints.save({"step": step, "model": weights, "ema": ema}, keep=3)


def test_the_newest_weights_are_loaded(run: RunFolder) -> None:
    save(run, 7)
    save(run, 8)
    loaded = run.load_weights()
    assert (loaded.step, loaded.complaints) == (8, ())
    assert torch.equal(loaded.model["a"], torch.full((3, 4), 8.0))


def test_averaged_weights_come_first(run: RunFolder) -> None:
    save(run, 7, ema={"a": torch.zeros(3, 4)})
    assert torch.equal(run.load_weights().model["a"], torch.zeros(3, 4))


def test_no_weights_yet(run: RunFolder) -> None:
    for which, kind in (("last", "whole"), ("best", "best")):
        with pytest.raises(SlotlabError) as error:
            run.load_weights(which)  # type: ignore[arg-type]
        text = f"{run.path} has no {kind} checkpoint (the run is beginning); train it again"
        assert str(error.value) == text


def test_damaged_weights_are_named(run: RunFolder) -> None:
    save(run, 1)
    save(run, 2)
    newest, oldest = run.checkpoints.all()
    newest.path.write_bytes(b"")
    loaded = run.load_weights()
    assert (loaded.step, len(loaded.complaints)) == (1, 1)
    oldest.path.write_bytes(b"")
    with pytest.raises(SlotlabError) as error:
        run.load_weights()
    damage = "{} is damaged: its checksum is not the one in its name"
    assert str(error.value) == (
        f"{run.path} has no whole checkpoint (the run is beginning); "
        f"{damage.format(newest.path)}; {damage.format(oldest.path)}; train it again"
    )


def test_overwriting_removes_plugins_that_the_new_run_has_not(
    run: RunFolder, tiny: Specs, plugin: Callable[..., Path]
) -> None:
    for name in ("old.py", "deep/helper.py"):
        write_atomically(run.path / "plugins" / name, b"")
    RunFolder.create(run.path, tiny(plugins=[str(plugin("fresh_plugin.py"))]), overwrite=True)
    found = [path.relative_to(run.path).as_posix() for path in (run.path / "plugins").rglob("*")]
    assert found == ["plugins/fresh_plugin.py"]


def test_what_was_saved_says_that_the_run_is_more_than_begun(run: RunFolder, tiny: Specs) -> None:
    assert run.is_begun()
    assert not run.has_saved()
    run.note_checkpoint(3)
    assert not run.is_begun()
    assert run.has_saved()
    assert run.read_provenance() == {"first_checkpoint": 3}
