"""Going on with a run: only with the run that is there, and with what has changed shown."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.system.json_files import write_json
from slotlab.framework.system.stop_signals import TrainingStopped
from slotlab.framework.training.plan import Progress
from slotlab.framework.training.resume import ChangedSettingsError
from slotlab.registry import SlotlabError
from slotlab.registry.files import file_source

pytestmark = pytest.mark.usefixtures("blank_figures")

SMALL = "data.dataset={name: scenes, max_objects: 3, num_train: 6, num_val: 2, textures: [plain]}"
PHASES = "training.phases=[{epochs: 3, lr: 1e-3}]"


@pytest.fixture
def train(base: str) -> Callable[..., list[str]]:
    """Return a function that trains the small spec with changes, and returns what it warned of."""

    def run(*sets: str, stop_at: int | None = None, **options: Any) -> list[str]:
        notes: list[str] = []

        def report(progress: Progress) -> None:
            if progress.step == stop_at:
                raise KeyboardInterrupt

        loaded = prepare("spec.yaml", sets=[SMALL, PHASES, *sets]).loaded
        cpu = torch.device("cpu")
        run_training(loaded, Path("run"), device=cpu, report=report, warn=notes.append, **options)
        return notes

    return run


def steps() -> list[int]:
    return [line["step"] for line in RunFolder(Path("run")).read_log() if line["kind"] == "train"]


def test_the_same_command_goes_on(train: Callable[..., list[str]]) -> None:
    with pytest.raises(TrainingStopped) as error:
        train(stop_at=5)
    assert str(error.value) == "training stopped at once; the same command goes on from step 3 (run)"
    assert RunFolder(Path("run")).read_status() == {"state": "stopped", "reason": "by Ctrl-C"}
    assert train() == ["run goes on from step 3"]
    facts = RunFolder(Path("run")).read_provenance()
    assert [again["step"] for again in facts["restarts"]] == [3]
    assert RunFolder(Path("run")).read_status() == {"state": "done", "reason": ""}
    assert train() == ["run is trained already; give --overwrite to train it anew"]


def test_a_run_that_goes_on_from_a_checkpoint_tells_of_no_failure_any_more(
    train: Callable[..., list[str]],
) -> None:
    run = RunFolder(Path("run"))
    with pytest.raises(TrainingStopped):
        train(stop_at=5)
    write_json(run.failure, {"reason": "the loss is nan at step 5"})
    assert train() == ["run goes on from step 3"]
    assert not run.failure.exists()


def test_what_was_seen_after_the_checkpoint_is_forgotten(train: Callable[..., list[str]]) -> None:
    run = RunFolder(Path("run"))
    with pytest.raises(TrainingStopped):
        train("training.watch.every_steps=3", stop_at=5)
    run.watch.mkdir(exist_ok=True)
    for step in (2, 4):  # as another spacing of looks left them
        run.picture(step).write_bytes(b"")
    train("training.watch.every_steps=3")
    assert run.picture(2).exists()
    assert not run.picture(4).exists()


def test_without_a_checkpoint_it_starts_anew(train: Callable[..., list[str]]) -> None:
    with pytest.raises(TrainingStopped) as error:
        train(stop_at=2)
    assert str(error.value) == "training stopped before anything was saved in run"
    assert train() == ["run: no checkpoint to go on from; starting anew"]


def test_a_damaged_newest_checkpoint_is_told(train: Callable[..., list[str]]) -> None:
    train()
    newest = RunFolder(Path("run")).checkpoints.all()[0].path
    newest.write_bytes(b"")
    damage = f"{newest} is damaged: its checksum is not the one in its name"
    assert train()[0] == f"{damage}; going on from the checkpoint before it"
    assert RunFolder(Path("run")).load_weights().step == 9


def test_other_settings_are_refused_and_shown(train: Callable[..., list[str]]) -> None:
    train()
    changes = ("training.batch_size=3", "model.encoder=resnet18_style", "seed=4", "training.clip_norm=1")
    with pytest.raises(ChangedSettingsError) as error:
        train(*changes)
    lines = error.value.lines()
    assert lines[0] == "run holds a run with other settings:"
    assert {
        "seed: 0 before, 4 now",
        "model.encoder.name: cnn before, resnet18_style now",
        "training.batch_size: 2 before, 3 now",
        "training.clip_norm: nothing before, 1.0 now",
    } <= set(lines)
    assert lines[-1] == "give --allow PATH to go on all the same, --overwrite to train it again, or --run DIR"


def test_what_changes_no_weight_is_no_other_setting(train: Callable[..., list[str]]) -> None:
    train()
    again = "run is trained already; give --overwrite to train it anew"
    assert train("name=other", "evaluation.metrics=[mse]", "data.workers=1", "training.log_every=7") == [
        again
    ]


def test_allowed_settings_go_through(train: Callable[..., list[str]]) -> None:
    train()
    longer = "training.phases=[{epochs: 4, lr: 1e-3}]"
    with pytest.raises(ChangedSettingsError) as error:
        train(longer, allow=["training.phase"])
    assert "training.phases.0.epochs: 3 before, 4 now" in error.value.lines()
    assert train(longer, allow=["training.phases"]) == ["run goes on from step 9"]
    assert RunFolder(Path("run")).load_weights().step == 12


def test_a_changed_plugin_file_is_seen(
    base: str, plugin: Callable[..., Path], train: Callable[..., list[str]]
) -> None:
    file = plugin("layers.py", "layered")
    mine = ("plugins=[layers.py]", "model.encoder={name: layered}", "model.decoder.strides=[2]")
    train(*mine)
    assert train(*mine) == ["run is trained already; give --overwrite to train it anew"]
    old = RunFolder(Path("run")).read_provenance()
    source = next(item["source"] for item in old["components"] if item["name"] == "layered")
    file.write_text(file.read_text() + "\n# another content\n")
    with pytest.raises(ChangedSettingsError) as error:
        train(*mine)
    line = f"components.encoder.layered: source {source} before, {file_source(file)} now"
    assert error.value.lines()[1] == line
    assert train(*mine, allow=["components.encoder.layered"]) == ["run goes on from step 9"]


def test_another_version_of_an_installed_component_is_seen_and_of_its_package_is_not(
    train: Callable[..., list[str]],
) -> None:
    def note(fact: str, value: object) -> None:
        path = Path("run/provenance.json")
        facts = json.loads(path.read_text())
        next(item for item in facts["components"] if item["name"] == "cnn")[fact] = value
        path.write_text(json.dumps(facts))

    train()
    note("source", "slotlab 0.0.1")
    assert train() == ["run is trained already; give --overwrite to train it anew"]
    note("version", 99)
    with pytest.raises(ChangedSettingsError) as error:
        train()
    assert error.value.lines()[1:-1] == ["components.encoder.cnn: version 99 before, 1 now"]


def test_two_processes_cannot_train_one_run(train: Callable[..., list[str]]) -> None:
    from slotlab.framework.system.locks import exclusive

    Path("run").mkdir()
    with exclusive(Path("run"), "taken"), pytest.raises(SlotlabError) as error:
        train()
    assert str(error.value) == "run is being trained by another process"
    train()


def test_a_file_or_a_folder_of_others_is_left_alone(train: Callable[..., list[str]]) -> None:
    Path("run").mkdir()
    Path("run/mine").write_text("x")
    with pytest.raises(SlotlabError) as error:
        train()
    assert str(error.value) == "run exists and is not a run folder; choose another with --run DIR"
    assert [path.name for path in Path("run").iterdir()] == ["mine"]
    Path("run/mine").unlink()
    Path("run").rmdir()
    Path("run").write_text("x")
    with pytest.raises(SlotlabError) as error:
        train()
    assert str(error.value) == "run is a file; choose another folder with --run DIR"
