"""Every shipped spec is valid, and trains a step and evaluates at reduced size."""

import json
import os
from importlib import resources
from pathlib import Path

import pytest
import torch
from PIL import Image

from slotlab.framework.contracts import DatasetContext
from slotlab.framework.discovery import builtin_modules
from slotlab.framework.evaluations import run_evaluation
from slotlab.framework.experiment import prepare, run_training
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.json_schema import spec_schema
from slotlab.framework.spec.merge import SHIPPED, shipped_specs
from slotlab.plugins.datasets.scenes import ScenesConfig, ScenesDataset
from slotlab.registry import Registry

SHARED = Path(os.environ.get("SLOTLAB_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SAMPLE = SHARED / "data" / "clevrtex_sample"
REDUCED = (
    "data.protocol.image_size=32",
    "training.batch_size=2",
    "training.phases=[{steps: 1, lr: 1e-3}]",
    "training.log_every=1",
    "evaluation.max_images=3",
    "evaluation.baselines=[one_segment]",
)


@pytest.fixture(scope="module")
def small_clevrtex(tmp_path_factory):
    """Thirty generated scenes in the official CLEVRTex tree."""
    root = tmp_path_factory.mktemp("clevrtex")
    folder = root / "clevrtex_full" / "0"
    folder.mkdir(parents=True)
    config = ScenesConfig(min_objects=3, max_objects=6, num_train=30)
    scenes = ScenesDataset(config, DatasetContext(split="train", image_size=(240, 320)))
    for index in range(len(scenes)):
        sample = scenes[index]
        stem = folder / f"CLEVRTEX_full_{index:06d}"
        Image.fromarray(sample.image_CHW.permute(1, 2, 0).numpy()).convert("RGBA").save(f"{stem}.png")
        mask = Image.fromarray(sample.mask_HW.to(torch.uint8).numpy(), mode="L").convert("P")
        mask.save(f"{stem}_flat.png")
        facts = {
            "num_objects": sample.attributes["num_objects"],
            "objects": list(sample.attributes["objects"]),
        }
        Path(f"{stem}.json").write_text(json.dumps({**facts, "ground_material": "generated"}))
    return root


def reduced(name, tree):
    """The settings that make a spec small, without changing what it is made of."""
    sets = [*REDUCED]
    prepared = prepare(f"{SHIPPED}{name}")
    if prepared.loaded.spec.data.dataset.name == "clevrtex":
        sets += [f"data.dataset.root={tree}", "model.decoder.broadcast_size=2"]
    else:
        sets += ["data.dataset.num_train=2", "data.dataset.num_val=3"]
    return prepare(f"{SHIPPED}{name}", sets=sets).loaded


@pytest.mark.parametrize("name", shipped_specs())
def test_shipped_spec_is_valid_and_without_warnings(name):
    assert list(prepare(f"{SHIPPED}{name}").warnings) == []


def test_shipped_specs_are_different_runs():
    ids = {name: run_id(prepare(f"{SHIPPED}{name}").loaded.spec) for name in shipped_specs()}
    same = ids.pop("ablations/clevrtex6_resnet18_style_learnable")
    assert same == ids["clevrtex6"], "this arm of the ablation is the seed's own run"
    assert len(set(ids.values())) == len(ids)


@pytest.mark.parametrize("name", shipped_specs())
def test_shipped_spec_trains_a_step_and_evaluates(name, tmp_path, small_clevrtex):
    loaded = reduced(name, small_clevrtex)
    run = run_training(loaded, tmp_path / "run", device=torch.device("cpu"), report=lambda progress: None)
    summary = run_evaluation(run, loaded, device=torch.device("cpu"))
    assert run.read_status()["state"] == "done"
    assert set(summary["methods"]) == {"model", "one_segment"}
    assert summary["methods"]["one_segment"]["ari"]["mean"] == 0.0
    dataset = loaded.spec.data.dataset.name
    for figure in ("loss", "learning_rate", f"panels-{dataset}-val-{loaded.spec.data.protocol.name}-decoder"):
        assert (run.figures / f"{figure}.png").stat().st_size > 5000
    again = prepare(run.spec).loaded
    assert run_id(again.spec) == run_id(loaded.spec), "the resolved spec is the same run"


@pytest.mark.slow
@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"the rendered CLEVRTex sample is not at {SAMPLE}")
def test_clevrtex6_trains_and_evaluates_on_the_rendered_sample(tmp_path):
    sets = [
        f"data.dataset.root={SAMPLE}",
        "data.protocol.image_size=64",
        "model.decoder.broadcast_size=4",
        "model.encoder.blocks=[16, 64]",
        "training.batch_size=4",
        "training.log_every=1",
        "training.phases=[{steps: 3, lr: 1e-3}]",
        "evaluation.max_images=4",
    ]
    loaded = prepare(f"{SHIPPED}clevrtex6", sets=sets).loaded
    run = run_training(loaded, tmp_path / "run", device=torch.device("cpu"), report=lambda progress: None)
    summary = run_evaluation(run, loaded, device=torch.device("cpu"))
    assert [line["step"] for line in run.read_log() if line["kind"] == "train"] == [1, 2, 3]
    assert summary["images"] == 4
    assert -0.5 <= summary["methods"]["model"]["ari"]["mean"] <= 1


def test_schema_that_specs_name_is_up_to_date():
    registry = Registry()
    for module in builtin_modules():
        registry.add(module, source="slotlab")
    stored = json.loads(resources.files("slotlab.experiments").joinpath("schema.json").read_text())
    assert stored == json.loads(json.dumps(spec_schema(registry))), "run 'make schema' and commit it"


@pytest.mark.parametrize("name", shipped_specs())
def test_shipped_spec_names_the_schema(name):
    text = resources.files("slotlab.experiments").joinpath(f"{name}.yaml").read_text()
    steps = "../" * name.count("/")
    assert text.startswith(f"# yaml-language-server: $schema={steps}schema.json\n")
