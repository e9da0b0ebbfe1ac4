"""Runs that an ablation trains before its arms, and that all of them share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import slotlab
from slotlab.framework.study.load import load_ablation
from slotlab.registry import SlotlabError

DATA = {
    "dataset": {"name": "scenes", "num_train": 4, "num_val": 2, "textures": ["plain"], "ground_textures": ["plain"]},
    "protocol": {"name": "whole", "image_size": 8},
}  # fmt: skip
CODEC = {
    "format": 1,
    "name": "codec",
    "data": DATA,
    "model": {"name": "codec", "codec": {"name": "dvae", "width": 4, "codes": 4}},
    "training": {"batch_size": 2, "phases": [{"steps": 2, "lr": 1e-3}]},
    "evaluation": {"metrics": ["mse"]},
}
BASE = {
    "format": 1,
    "name": "tokens",
    "data": DATA,
    "model": {
        "slots": 2,
        "slot_dim": 4,
        "encoder": {"name": "cnn", "channels": [4], "strides": [4]},
        "initializer": "gaussian",
        "grouping": "slot_attention",
        "decoder": {"name": "autoregressive", "blocks": "slate", "layers": 1, "heads": 1, "width": 4},
    },
    "objective": {
        "name": "token_cross_entropy",
        "codec": {"name": "trained", "source": {"run": "shared/codec"}},
    },
    "training": {"batch_size": 2, "phases": [{"steps": 2, "lr": 1e-3}]},
    "evaluation": {"metrics": ["ari"], "mask_source": "attention"},
}
STUDY = {
    "format": 1,
    "name": "study",
    "question": "Does it work?",
    "base": "tokens.yaml",
    "first": [{"spec": "codec.yaml", "run": "shared/codec"}],
    "axes": [{"name": "iterations", "path": "model.grouping.iterations", "values": [1, 2]}],
    "seeds": [0],
    "launcher": {"name": "local", "jobs": 1},
}


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write the specs and an ablation with changed sections."""

    def write(**changes: Any) -> Path:
        for name, content in (("codec", CODEC), ("tokens", BASE), ("study", {**STUDY, **changes})):
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        return tmp_path / "study.yaml"

    return write


@pytest.mark.slow
def test_what_arms_share_is_trained_once_and_before_them(
    written: Callable[..., Path], tmp_path: Path
) -> None:
    path = written()
    study = slotlab.ablate(path, studies=tmp_path / "studies", runs=tmp_path / "runs", device="cpu")
    assert [run["state"] for run in study.runs] == ["done", "done"]
    codec = slotlab.open_run(tmp_path / "shared" / "codec")
    assert codec.state == "done"
    inputs = {
        str(slotlab.open_run(run["run"]).spec.settings["objective"]["codec"]["source"]["digest"])
        for run in study.runs
    }
    before = (tmp_path / "shared" / "codec" / "status.json").stat().st_mtime_ns
    again = slotlab.ablate(path, studies=tmp_path / "studies", runs=tmp_path / "runs", device="cpu")
    assert len(inputs) == 1
    assert [run["run_id"] for run in again.runs] == [run["run_id"] for run in study.runs]
    assert (tmp_path / "shared" / "codec" / "status.json").stat().st_mtime_ns == before


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(SlotlabError) as error:
        slotlab.ablate(path, device="cpu", **options)
    return " ".join(str(error.value).split())


def test_without_it_the_arms_are_not_read(written: Callable[..., Path], tmp_path: Path) -> None:
    path = written()
    run, spec = tmp_path / "shared" / "codec", tmp_path / "codec.yaml"
    text = f"study.yaml:6: first.0: {run} is not there: 'slotlab ablate' trains it before it reads the arms"
    found = refusal(path, dry_run=True)
    assert text in found
    assert f"and so does 'slotlab train {spec} --run {run}'" in found


def test_a_spec_that_is_not_there_is_told_at_its_line(written: Callable[..., Path], tmp_path: Path) -> None:
    path = written(first=[{"spec": "nowhere.yaml", "run": "shared/codec"}])
    assert "study.yaml:6: first.0.spec: there is no spec file" in refusal(path)


def test_a_folder_that_holds_another_run_is_refused(written: Callable[..., Path], tmp_path: Path) -> None:
    path, run = written(), tmp_path / "shared" / "codec"
    slotlab.train(tmp_path / "codec.yaml", {"seed": 5}, run=run, device="cpu", evaluate=False)
    found = refusal(path, studies=tmp_path / "studies", runs=tmp_path / "runs")
    assert f"{run} holds another run than that of {tmp_path / 'codec.yaml'}" in found
    assert "move it away, or name another folder" in found


def test_a_run_that_fails_is_told_and_no_arm_is_started(written: Callable[..., Path], tmp_path: Path) -> None:
    path = written(retries=0)
    broken = {**CODEC, "training": {**CODEC["training"], "phases": [{"steps": 2, "lr": 1e30}]}}  # type: ignore[dict-item]
    (tmp_path / "codec.yaml").write_text(yaml.safe_dump(broken))
    found = refusal(path, studies=tmp_path / "studies", runs=tmp_path / "runs")
    assert f"{tmp_path / 'shared' / 'codec'} could not be trained, which the arms need:" in found
    assert not (tmp_path / "runs").exists()


def test_the_file_of_a_study_names_it_by_whole_paths(written: Callable[..., Path], tmp_path: Path) -> None:
    path = written()
    slotlab.train(tmp_path / "codec.yaml", run=tmp_path / "shared" / "codec", device="cpu", evaluate=False)
    [one] = load_ablation(path).spec.first
    assert (one.spec, one.run) == (str(tmp_path / "codec.yaml"), tmp_path / "shared" / "codec")
