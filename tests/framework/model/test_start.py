"""What a training starts from: the weights that the spec names, bit by bit, or an error at their line."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.model.build import build_model
from slotlab.framework.model.start import check_weights, initial_model
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import ComponentError, SlotlabError

CPU = torch.device("cpu")
Slotlab = Callable[..., tuple[int, str, str]]
SPEC = """
format: 1
name: small
seed: SEED
data:
  dataset: {name: scenes, min_objects: 2, max_objects: 2, num_train: 4, num_val: 4, textures: [plain]}
  protocol: {name: whole, image_size: 8}
model:
  slots: 3
  slot_dim: 8
  encoder: {name: cnn, channels: [4]}
  initializer: gaussian
  grouping: GROUPING
  decoder: {name: spatial_broadcast, broadcast_size: 4, channels: [4]}
training:
  start: START
  batch_size: 2
  ema_decay: 0.5
  log_every: 1
  checkpoint: {keep: 9}
  phases: [{steps: 4, lr: 0.05}]
evaluation: {baselines: []}
"""
PLAIN = "{name: slot_attention, iterations: 1}"
ADAPTIVE = f"{{name: adaptive_slots, grouping: {PLAIN}}}"
SAME = ("encoder", "projection", "initializer", "decoder")
PARTS = "".join(f"{one}: {one}, " for one in SAME) + "grouping.grouping: grouping"
LINE = 16


def spec_file(path: Path, start: str = "null", *, grouping: str = PLAIN, seed: int = 0) -> Path:
    text = SPEC.replace("GROUPING", grouping).replace("START", start).replace("SEED", str(seed))
    path.write_text(text)
    return path


def spec_of(start: str = "null", **changes: Any) -> ExperimentSpec:
    return load_spec(spec_file(Path("user.yaml"), start, **changes)).spec


def trained(folder: Path, start: str = "null", **changes: Any) -> Path:
    loaded = prepare(spec_file(folder / "spec.yaml", start, **changes)).loaded
    return run_training(loaded, folder / "run", device=CPU, report=lambda progress: None).path


def from_run(run: Path, parts: str = "") -> str:
    return f"{{name: from_run, source: {{run: {run}}}{f', parts: {{{parts}}}' if parts else ''}}}"


def saved(run: Path, step: int, kind: str = "model") -> dict[str, Tensor]:
    found: dict[str, Tensor] = RunFolder.open(run).checkpoints.of_step(step).read()[kind]
    return found


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run with averaged weights."""
    return trained(tmp_path_factory.mktemp("source"), seed=7)


# --- what is taken -----------------------------------------------------------------------


def test_without_a_start_weights_are_drawn() -> None:
    spec = spec_of()
    assert equal(initial_model(spec).state_dict(), build_model(spec).state_dict())


def test_a_whole_model_has_the_weights_of_the_run(source: Path) -> None:
    model = initial_model(spec_of(from_run(source)))
    assert equal(model.state_dict(), saved(source, 4, "ema"))
    assert all(weight.requires_grad for weight in model.parameters())


def test_parts_have_the_weights_of_the_run_and_the_rest_is_drawn(source: Path) -> None:
    """AdaSlot: the trained grouping lies inside of the one that drops slots."""
    spec = spec_of(from_run(source, PARTS), grouping=ADAPTIVE, seed=3)
    model, drawn, given = (
        initial_model(spec).state_dict(),
        build_model(spec).state_dict(),
        saved(source, 4, "ema"),
    )
    moved = {name.replace("grouping.grouping.", "grouping."): name for name in model}
    taken = {there: here for there, here in moved.items() if there in given}
    assert taken.keys() == given.keys()
    assert all(torch.equal(model[here], given[there]) for there, here in taken.items())
    others = model.keys() - set(taken.values())
    assert {name.partition(".")[0] for name in others} == {"grouping"}
    assert all(torch.equal(model[name], drawn[name]) for name in others)


def test_random_streams_do_not_see_the_start(source: Path) -> None:
    before = torch.get_rng_state()
    initial_model(spec_of(from_run(source)))
    assert torch.equal(torch.get_rng_state(), before)


# --- what a training does with it --------------------------------------------------------


def test_a_training_goes_on_from_the_runs_weights(source: Path, tmp_path: Path) -> None:
    """At a rate that changes nothing its first checkpoint is the run's model."""
    path = spec_file(tmp_path / "spec.yaml", from_run(source))
    path.write_text(path.read_text().replace("lr: 0.05", "lr: 1.0e-30"))
    run = run_training(prepare(path).loaded, tmp_path / "run", device=CPU, report=lambda progress: None)
    assert equal(saved(run.path, 4), saved(source, 4, "ema"))


class Killed(Exception):  # noqa: N818 - stands for a power cut
    """The training ends here."""


def test_a_killed_training_goes_on_to_the_same_bits(source: Path, tmp_path: Path) -> None:
    whole = trained(tmp_path, from_run(source), seed=3)
    loaded = prepare(tmp_path / "spec.yaml").loaded

    def report(progress: Any) -> None:
        if progress.step == 3:
            raise Killed

    with pytest.raises(Killed):
        run_training(loaded, tmp_path / "killed", device=CPU, report=report)
    run_training(loaded, tmp_path / "killed", device=CPU, report=lambda progress: None)
    assert equal(saved(tmp_path / "killed", 4), saved(whole, 4))


def test_a_trained_run_is_evaluated_without_what_it_started_from(
    source: Path, tmp_path: Path, slotlab: Slotlab
) -> None:
    gone = Path(shutil.copytree(source, tmp_path / "gone"))
    run = trained(tmp_path, from_run(gone))
    shutil.rmtree(gone)
    code, _, err = slotlab("evaluate", run, "--device", "cpu", "--no-figures")
    assert code == 0, err
    recorded = yaml.safe_load((run / "spec.yaml").read_text())["training"]["start"]["source"]
    assert recorded["digest"] == RunFolder.open(source).checkpoints.all()[0].checksum


# --- identity ----------------------------------------------------------------------------


def test_the_start_is_part_of_the_identity_by_its_content(source: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    other = trained(tmp_path, seed=8)
    here, there = run_id(spec_of(from_run(source))), run_id(spec_of(from_run(copy)))
    assert here == there
    ids = {here, run_id(spec_of()), run_id(spec_of(from_run(other)))}
    ids |= {run_id(spec_of(from_run(source, PARTS), grouping=ADAPTIVE)), run_id(spec_of(grouping=ADAPTIVE))}
    assert len(ids) == 5


# --- mistakes ----------------------------------------------------------------------------


def problem(start: str, slotlab: Slotlab, **changes: Any) -> str:
    spec_file(Path("user.yaml"), start, **changes)
    code, out, err = slotlab("validate", "user.yaml")
    assert code != 0, out
    [line] = [line for line in (out + err).splitlines() if "training.start" in line]
    assert line.startswith(f"error: user.yaml:{LINE}: training.start"), line
    return line.partition("training.start")[2]


KNOWN = "(parts: decoder, encoder, grouping, initializer, projection)"
HINT = "; name under 'parts' what is to be taken, as {encoder: encoder}"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            "decodr: decoder",
            f"this model has no weights in a part 'decodr'; did you mean 'decoder'? {KNOWN}",
        ),
        ("decoder: paint", f"the run's model has no weights in a part 'paint' {KNOWN}"),
    ],
)
def test_a_part_that_is_not_there_is_refused_at_its_line(
    parts: str, said: str, source: Path, slotlab: Slotlab
) -> None:
    assert problem(from_run(source, parts), slotlab) == f".parts: from_run: {said}"


def test_a_run_that_lacks_weights_is_refused(source: Path, slotlab: Slotlab) -> None:
    text = problem(from_run(source, "grouping: grouping"), slotlab, grouping=ADAPTIVE)
    name = "'grouping.grouping.norm_tokens.weight'"
    assert text == f".parts: from_run: its 'grouping' lacks 23 of 23 weights, such as {name}{HINT}"
    text = problem(from_run(source), slotlab, grouping=ADAPTIVE)
    assert text.startswith(".source: from_run: it lacks 23 of ")
    assert text.endswith(f"{name}{HINT}")


def test_a_run_with_more_weights_is_refused(tmp_path: Path, slotlab: Slotlab) -> None:
    more = trained(tmp_path, grouping="{name: slot_attention, iterations: 1, readout: true}")
    text = problem(from_run(more), slotlab)
    name = "'grouping.readout.0.weight'"
    assert text == f".source: from_run: it has 4 weights that this model lacks, such as {name}{HINT}"


def test_weights_of_another_shape_are_refused(source: Path, slotlab: Slotlab) -> None:
    text = problem(
        from_run(source, "grouping: grouping"), slotlab, grouping="{name: slot_attention, mlp_dim: 5}"
    )
    assert text.startswith(
        ": from_run: gives 'grouping.mlp.1.weight' the shape (16, 8), and the model's has (5, 8); "
    )


def test_a_missing_run_is_an_error_to_train_and_none_to_read(
    source: Path, tmp_path: Path, slotlab: Slotlab
) -> None:
    assert (
        problem(from_run(tmp_path / "nowhere"), slotlab)
        == f".source: {tmp_path / 'nowhere'} does not exist; "
        f"train it first: slotlab train SPEC --run {tmp_path / 'nowhere'}, "
        "or name another: --set training.start.source.run=FOLDER"
    )
    known = f"{{name: from_run, source: {{run: nowhere, digest: {'a' * 16}}}}}"
    text = problem(known, slotlab)
    assert text.startswith(".source: from_run: the run ")
    assert "nowhere does not exist" in text
    other = f"{{name: from_run, source: {{run: {source}, digest: {'a' * 16}}}}}"
    assert "are others by now" in problem(other, slotlab)
    with pytest.raises(SlotlabError, match="nowhere does not exist"):
        initial_model(spec_of(known))


NAN = torch.full((2,), torch.nan)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1], "should give tensors by name, not a list"),
        ({"a": 1}, "should give tensors by name, not a dict"),
        ({}, "gives no weights at all; leave 'start' out"),
        ({"decodr": torch.zeros(2)}, "the model has no weight 'decodr'; did you mean 'decoder'?"),
        ({"decoder": torch.zeros(3)}, "gives 'decoder' the shape (3,), and the model's has (2,); "),
        ({"decoder": NAN}, "gives 'decoder' values that are not finite"),
    ],
)
def test_what_is_no_weights_of_the_model_is_refused(given: Any, said: str) -> None:
    with pytest.raises(ComponentError) as raised:
        check_weights({"decoder": (2,)}, given)
    assert str(raised.value).startswith(said)
