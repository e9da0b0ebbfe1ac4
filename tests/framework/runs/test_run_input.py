"""A run as an input of another one: known by its weights' content, frozen to the bit, never missing in silence."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from slotlab.framework.data.device_placement import Placement
from slotlab.framework.data.loaders import evaluation_loader
from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.model.build import build_model
from slotlab.framework.model.check import check_parts
from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.checkpoints import checksum
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training.loop import train
from slotlab.framework.training.validation import Validation
from slotlab.registry import SlotlabError

CPU = torch.device("cpu")
Slotlab = Callable[..., tuple[int, str, str]]
SPEC = """
format: 1
name: small
seed: SEED
data:
  dataset: {name: scenes, min_objects: 2, max_objects: 2, num_train: 4, num_val: 4, textures: [plain]}
  protocol: {name: whole, image_size: SIZE}
model:
  slots: 3
  slot_dim: 8
  encoder: ENCODER
  initializer: gaussian
  grouping: {name: slot_attention, iterations: 1}
  decoder: {name: spatial_broadcast, broadcast_size: BROADCAST, channels: [4]}
training:
  batch_size: 2
  ema_decay: 0.5
  log_every: 1
  checkpoint: {keep: 9}
  phases: [{steps: 4, lr: 0.05}]
evaluation: {baselines: []}
"""
CNN = "{name: resnet18_style, stem: 4, blocks: [4]}"


def spec_file(path: Path, encoder: str, *, seed: int = 0, size: int = 8) -> Path:
    text = SPEC.replace("ENCODER", encoder).replace("SEED", str(seed)).replace("SIZE", str(size))
    path.write_text(text.replace("BROADCAST", str(size // 2)))
    return path


def trained(folder: Path, encoder: str, **changes: Any) -> Path:
    loaded = prepare(spec_file(folder / "spec.yaml", encoder, **changes)).loaded
    return run_training(loaded, folder / "run", device=CPU, report=lambda progress: None).path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs of one spec with other seeds, whose encoders have batch norms."""
    folders = [tmp_path_factory.mktemp(f"source{seed}") for seed in (1, 2)]
    one, two = (trained(folder, CNN, seed=seed) for seed, folder in enumerate(folders, 1))
    return one, two


@pytest.fixture
def source(runs: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the first run, to be changed."""
    return Path(shutil.copytree(runs[0], tmp_path / "source"))


def user_of(source: object, settings: str = "", **changes: Any) -> ExperimentSpec:
    """Return the spec of a run with the encoder of another."""
    path = Path("user.yaml")
    return load_spec(
        spec_file(path, f"{{name: trained, source: {{run: {source}{settings}}}}}", **changes)
    ).spec


def digest(spec: ExperimentSpec) -> str:
    found: str = spec.model.config.encoder.config.source.digest
    return found


def weights(run: Path, part: str, kind: str = "model") -> dict[str, Tensor]:
    newest, _ = RunFolder.open(run).checkpoints.newest()
    assert newest is not None
    return {name.removeprefix(part): t for name, t in newest[kind].items() if name.startswith(part)}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- identity ----------------------------------------------------------------------------


def test_the_same_weights_elsewhere_are_the_same_run(runs: tuple[Path, Path], source: Path) -> None:
    here, there = user_of(runs[0]), user_of(source)
    assert run_id(here) == run_id(there)
    newest = RunFolder.open(runs[0]).checkpoints.all()[0]
    assert digest(here) == digest(there) == newest.checksum == checksum(newest.path.read_bytes())
    assert run_id(user_of(source, f", checkpoint: {newest.step}")) == run_id(here), "how they are found"


def test_other_weights_in_the_same_place_are_another_run(runs: tuple[Path, Path], source: Path) -> None:
    before = run_id(user_of(source))
    shutil.rmtree(source)
    shutil.copytree(runs[1], source)
    assert run_id(user_of(source)) != before


def test_another_checkpoint_is_another_run(source: Path) -> None:
    steps = [one.step for one in RunFolder.open(source).checkpoints.all()]
    assert steps[0] == 4
    assert len(steps) > 1
    assert run_id(user_of(source, f", checkpoint: {steps[1]}")) != run_id(user_of(source))


def test_a_trained_run_whose_input_changed_is_refused(
    runs: tuple[Path, Path], source: Path, tmp_path: Path, slotlab: Slotlab
) -> None:
    run = trained(tmp_path, f"{{name: trained, source: {{run: {source}}}}}")
    recorded = yaml.safe_load((run / "spec.yaml").read_text())["model"]["encoder"]["source"]
    assert recorded["digest"] == RunFolder.open(source).checkpoints.all()[0].checksum
    assert slotlab("evaluate", run, "--device", "cpu", "--no-figures")[0] == 0
    shutil.rmtree(source)
    shutil.copytree(runs[1], source)
    now = RunFolder.open(source).checkpoints.all()[0].checksum
    code, _, err = slotlab("evaluate", run, "--device", "cpu", "--no-figures")
    assert code != 0
    assert (
        f"model.encoder.source: trained: the run {source} cannot be used: the weights in {source} are others by now: {now}, and were {recorded['digest']}; "
        "name the right run and checkpoint, or leave 'digest' out" in err
    )
    assert "spec.yaml:" in err


# --- what is missing ---------------------------------------------------------------------


def problem(settings: str, tmp_path: Path) -> str:
    path = spec_file(tmp_path / "user.yaml", f"\n    name: trained\n    source: {settings}")
    with pytest.raises(SlotlabError) as error:
        load_spec(path)
    text = str(error.value)
    assert text.startswith(f"{path}:13: model.encoder.source: "), text
    return text.partition("model.encoder.source: ")[2]


def test_a_missing_run_is_an_error_at_its_line(tmp_path: Path, slotlab: Slotlab) -> None:
    text = problem("{run: nowhere}", tmp_path)
    assert (
        text
        == f"{tmp_path / 'nowhere'} does not exist; train it first: slotlab train SPEC --run {tmp_path / 'nowhere'}, "
        "or name another: --set model.encoder.source.run=FOLDER"
    )
    code, out, err = slotlab("validate", "user.yaml")
    assert code != 0
    assert "warning" not in out + err


def test_a_missing_checkpoint_is_an_error_at_its_line(source: Path, tmp_path: Path) -> None:
    text = problem(f"{{run: {source}, checkpoint: 77}}", tmp_path)
    assert "has no checkpoint of step 77; there are those of" in text
    text = problem(f"{{run: {source}, checkpoint: best}}", tmp_path)
    assert text == f"{source} has no best checkpoint; train it first"
    for one in (source / "checkpoints").glob("step-*"):
        one.unlink()
    text = problem(f"{{run: {source}}}", tmp_path)
    assert text == f"{source} has no last checkpoint; train it first"


def test_a_damaged_checkpoint_is_refused_at_the_setting(source: Path) -> None:
    newest = RunFolder.open(source).checkpoints.all()[0]
    newest.path.write_bytes(newest.path.read_bytes()[:-9])
    [found] = [str(one) for one in check_parts(user_of(source))]
    assert found.startswith(f"model.encoder.source: trained: the run {source} cannot be used: {newest.path} ")


def test_images_of_another_protocol_are_refused(source: Path) -> None:
    [found] = [str(one) for one in check_parts(user_of(source, size=16))]
    text = "its run was trained on images of 8x8 pixels in [-1, 1]; take the same protocol here"
    assert found == f"model.encoder.source: trained: {text}"


# --- what is frozen ----------------------------------------------------------------------


def test_a_frozen_encoder_stays_equal_to_the_bit(source: Path, tmp_path: Path) -> None:
    run = trained(tmp_path, f"{{name: trained, source: {{run: {source}}}}}", seed=5)
    expected = weights(source, "encoder.", "ema")
    assert any("running_mean" in name for name in expected)
    for kind in ("model", "ema"):
        assert equal(weights(run, "encoder.encoder.", kind), expected)
    assert not equal(weights(run, "grouping."), weights(source, "grouping."))


def test_an_encoder_that_is_trained_on_starts_from_the_runs_weights(source: Path, tmp_path: Path) -> None:
    block = f"{{name: trained, frozen: false, source: {{run: {source}}}}}"
    model = build_model(load_spec(spec_file(tmp_path / "user.yaml", block)).spec).train()
    expected = weights(source, "encoder.", "ema")
    assert equal(dict(model.encoder.encoder.state_dict()), expected)
    assert all(p.requires_grad for p in model.encoder.parameters())
    assert model.encoder.encoder.training
    run = trained(tmp_path, block, seed=5)
    after = weights(run, "encoder.encoder.")
    assert any("running_mean" in name and not torch.equal(after[name], expected[name]) for name in expected)


def test_a_frozen_encoder_is_always_in_evaluation_mode(source: Path) -> None:
    model = build_model(user_of(source))
    for one in (model.train(), copy.deepcopy(model).train()):
        assert one.encoder.training
        assert not any(part.training for part in one.encoder.encoder.modules())
        assert not any(p.requires_grad for p in one.encoder.parameters())


def test_features_are_those_of_the_run(source: Path) -> None:
    """With averaged weights, if the run has them: what its own evaluation uses."""
    images = torch.rand(2, 3, 8, 8)
    theirs = build_model(load_spec(source / "spec.yaml").spec).eval()
    theirs.encoder.load_state_dict(weights(source, "encoder.", "ema"))
    assert torch.equal(build_model(user_of(source)).encoder(images), theirs.encoder(images))


def test_inputs_do_not_change_how_the_other_weights_are_drawn(source: Path) -> None:
    drawn = build_model(user_of(source)).grouping.state_dict()
    again = build_model(user_of(source)).grouping.state_dict()
    before = torch.get_rng_state()
    build_model(user_of(source))
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(dict(drawn), dict(again))


class Killed(Exception):  # noqa: N818 - stands for a power cut
    """The training ends here."""


@pytest.mark.parametrize("kill_at", [1, 3])
def test_a_training_with_inputs_goes_on_to_the_same_bits(
    runs: tuple[Path, Path], tmp_path: Path, kill_at: int
) -> None:
    """With a frozen encoder and a teacher that draws its own slots."""
    path = spec_file(tmp_path / "user.yaml", f"{{name: trained, source: {{run: {runs[0]}}}}}")
    block = f"auxiliary: [{{name: attention_distill, weight: 1.0, teacher: {{run: {runs[1]}}}}}]\ntraining:"
    path.write_text(path.read_text().replace("training:", block, 1))
    spec = load_spec(path).spec

    def attempt(folder: Path, kill_at: int | None) -> dict[str, Tensor]:
        torch.manual_seed(kill_at or 99)

        def report(progress: Any) -> None:
            if progress.step == kill_at:
                raise Killed

        run = RunFolder.open(folder) if folder.exists() else RunFolder.create(folder, spec)
        model, engine = build_model(spec), Engine.open(spec, CPU, warn=print)
        loader = evaluation_loader(spec, Placement(CPU))
        loader = copy.copy(loader)
        object.__setattr__(loader, "batch_size", 2)
        saved, _ = run.checkpoints.newest()
        train(engine, model, loader, run, validation=Validation(loader), report=report, saved=saved)
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}

    whole = attempt(tmp_path / "whole", None)
    with pytest.raises(Killed):
        attempt(tmp_path / "killed", kill_at)
    assert equal(attempt(tmp_path / "killed", None), whole)


def test_the_content_is_recorded_where_a_spec_is_written(source: Path) -> None:
    spec = user_of(source)
    text = json.dumps(spec.model.config.encoder.dump())
    assert json.loads(text)["source"] == {"run": str(source), "checkpoint": "last", "digest": digest(spec)}
