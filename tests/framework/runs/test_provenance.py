"""Provenance: every fact that a run's folder must hold."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import metadata, version
from pathlib import Path

import pytest
import torch
import yaml

from slotlab.framework.runs import provenance as module
from slotlab.framework.runs.provenance import command_line, commit, package_version, provenance
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import LoadedSpec, load_spec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import Registry


@pytest.fixture
def loaded(tmp_path: Path, tiny: Callable[..., ExperimentSpec]) -> LoadedSpec:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(tiny().model_dump(mode="json")))
    return load_spec(path)


def test_all_facts(loaded: LoadedSpec) -> None:
    facts = provenance(loaded, command=["slotlab", "train"], device=torch.device("cpu"), data={})
    assert json.loads(json.dumps(facts)) == facts
    assert set(facts) == {
        *(
            "run_id",
            "started",
            "command",
            "spec_file",
            "slotlab",
            "commit",
            "python",
            "platform",
            "packages",
            "data",
        ),
        *("device", "threads", "components", "plugins", "plugins_not_loaded"),
    }
    assert facts["run_id"] == run_id(loaded.spec)
    assert datetime.fromisoformat(facts["started"]).tzinfo is not None
    assert facts["command"] == ["slotlab", "train"]
    assert facts["spec_file"] == "…/spec.yaml"
    assert facts["packages"]["torch"] == version("torch")
    assert None not in facts["packages"].values()
    assert facts["device"].startswith("cpu (")


def test_components_in_use_with_their_sources(loaded: LoadedSpec, registry: Registry) -> None:
    listed = module.components(loaded)
    names = {(item["kind"], item["name"]) for item in listed}
    assert {
        ("encoder", "cnn"),
        ("position", "linear_grid"),
        ("metric", "ari"),
        ("schedule", "constant"),
    } <= names
    assert len(names) == len(listed)
    assert ("encoder", "timm") not in names
    assert {item["source"] for item in listed} == {f"slotlab {version('slotlab')}"}
    for item in listed:
        found = registry.find(item["kind"], item["name"])
        assert found is not None
        assert item["version"] == found.component.version


def test_what_a_component_needs_installed_is_recorded(
    tmp_path: Path, tiny: Callable[..., ExperimentSpec]
) -> None:
    path = tmp_path / "spec.yaml"
    plain = tiny().model_dump(mode="json")
    plain["training"]["trackers"] = [{"name": "wandb"}]
    path.write_text(yaml.safe_dump(plain))
    listed = module.components(load_spec(path))
    assert {item["name"]: item["install"] for item in listed if "install" in item} == {
        "wandb": "slotlab[wandb]"
    }


def test_every_extra_that_a_component_requires_is_one_of_slotlab(registry: Registry) -> None:
    known = set(metadata("slotlab").get_all("Provides-Extra") or ())
    named = [item.component.install for item in registry.all() if item.component.install]
    extras = {one for text in named for one in text.removeprefix("slotlab[").removesuffix("]").split(",")}
    assert {"data", "video", "diffusers", "lpips", "ray", "slurm", "mlflow", "wandb"} == extras <= known


def test_commit_of_a_checkout(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert commit(tmp_path) is None
    git("init")
    assert commit(tmp_path) is None
    git("commit", "--allow-empty", "-m", "first")
    assert commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "new").write_text("x")
    assert commit(tmp_path) == git("rev-parse", "HEAD") + "+changes"
    installed = tmp_path / "site-packages"
    installed.mkdir()
    assert commit(installed) is None


def test_package_versions_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    assert package_version("numpy") == version("numpy")
    assert package_version("no-such-package-at-all") is None
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/slotlab", "train", "spec.yaml"])
    assert command_line() == ["slotlab", "train", "spec.yaml"]
