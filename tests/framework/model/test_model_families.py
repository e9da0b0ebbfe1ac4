"""A model family of a third party, in one file: trained, resumed, evaluated, shown and compared as any other.

The evaluation, the figures, the composition and the studio ask what a model can do, never which one it is.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import slotlab
from slotlab.framework.composition.composer import Composer
from slotlab.framework.jobs.train import run_training
from slotlab.framework.spec.identity import run_id
from slotlab.framework.training.plan import Progress
from slotlab.registry import SlotlabError

FAMILIES = Path(__file__).parents[2] / "fixtures" / "families"
PAGE = Path(__file__).parents[3] / "docs" / "how_to" / "plugins" / "model.md"
DATA = """
  dataset: {name: scenes, num_train: 8, num_val: 6, min_objects: 1, max_objects: 2, textures: [plain], ground_textures: [plain]}
  protocol: {name: whole, image_size: 8}
"""
SPEC = """
format: 1
name: foreign
plugins: [%s]
data: %s
model: %s
training: {batch_size: 4, accumulate: 2, ema_decay: 0.5, log_every: 1, phases: [{steps: 6, lr: 1e-2}]}
evaluation: {metrics: [ari, mse, slot_usage], baselines: [position_grid], mask_source: decoder}
"""
MIXTURE = "{name: mixture, slots: 3, painter: {name: flat, gain: 0.5}}"


def code_of(plugin: str) -> str:
    """The code of a plugin: the documentation's own, or that of a file beside the tests."""
    shown = re.search(rf"```python file={plugin}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return (FAMILIES / plugin).read_text() if shown is None else shown[1]


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write a spec and the plugin that it names."""

    def write(plugin: str, model: str, **changes: str) -> Path:
        (tmp_path / plugin).write_text(code_of(plugin))
        path = tmp_path / "spec.yaml"
        text = SPEC % (plugin, DATA, model)
        for old, new in changes.items():
            text += f"{old}: {new}\n"
        path.write_text(text)
        return path

    return write


def test_trained_evaluated_and_shown(written: Callable[..., Path], tmp_path: Path) -> None:
    run = slotlab.train(written("mixture.py", MIXTURE), run=tmp_path / "run", device="cpu")
    [summary] = run.summaries().values()
    assert set(summary["methods"]["model"]) == {"ari", "mse", "slot_usage"}
    assert summary["slots"] == 3
    assert summary["figures_left_out"] == {} if "figures_left_out" in summary else True
    found = run.segment(run.images(positions=[0, 1]))
    assert found.reconstruction_BCHW is not None
    assert found.masks_BKHW.shape == (2, 3, 8, 8)
    for kind in ("panels", "slots", "mixes", "composition"):
        assert list((tmp_path / "run" / "figures").glob(f"{kind}-*.png")), kind
    composer = Composer.open(tmp_path / "run", device=torch.device("cpu"))
    seen = composer.look("val", [0, 1])
    assert composer.decode(seen.slots).images_BCHW.shape == (2, 3, 8, 8)


def test_killed_and_resumed_to_the_bit(written: Callable[..., Path], tmp_path: Path) -> None:
    spec = written("mixture.py", MIXTURE)
    whole = slotlab.train(spec, run=tmp_path / "whole", device="cpu", evaluate=False)

    def die(progress: Progress) -> None:
        if progress.step == 5:
            raise MemoryError

    with pytest.raises(MemoryError):
        run_training(
            slotlab.load_spec(spec).loaded, tmp_path / "parts", device=torch.device("cpu"), report=die
        )
    parts = slotlab.train(spec, run=tmp_path / "parts", device="cpu", evaluate=False)
    assert [line["step"] for line in parts.folder.read_provenance()["restarts"]] == [4]
    ours, theirs = parts.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_rows_do_not_depend_on_the_batch(
    written: Callable[..., Path], tmp_path: Path, blank_figures: None
) -> None:
    run = slotlab.train(written("mixture.py", MIXTURE), run=tmp_path / "run", device="cpu")
    path = next((tmp_path / "run" / "evaluation").glob("*/images.csv"))
    before = [line.split(",") for line in path.read_text().splitlines()]
    for batch_size in (1, 4):
        slotlab.open_run(run.path, settings={"evaluation.batch_size": batch_size}).evaluate()
        after = [line.split(",") for line in path.read_text().splitlines()]
        for one, other in zip(before, after, strict=True):
            assert one[:2] == other[:2]
            for a, b in zip(one[2:], other[2:], strict=True):
                assert a == b or float(a) == pytest.approx(float(b), abs=1e-6)


def test_a_model_without_pictures_is_trained_and_not_evaluated(
    written: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = written("counter.py", "{name: counter}").read_text()
    path = tmp_path / "spec.yaml"
    path.write_text(spec.replace(", baselines: [position_grid]", "").replace("steps: 6", "steps: 60"))
    run = slotlab.train(path, run=tmp_path / "run", device="cpu")
    assert run.state == "done"
    assert run.summaries() == {}
    text = "the model 'counter' neither segments nor reconstructs images: there is nothing to evaluate"
    assert text in capsys.readouterr().err.replace("\n", " ")
    losses = run.log()["loss"].dropna()
    assert losses.iloc[-20:].mean() < losses.iloc[:20].mean()
    with pytest.raises(SlotlabError, match="neither segments nor reconstructs"):
        run.evaluate()


@pytest.mark.parametrize(
    ("model", "changes", "text"),
    [
        ("{name: mixture}", {}, "model.slots: this key is required"),
        ("{name: mixture, slots: 3, painter: {name: flot}}", {}, "no painter is called 'flot'; did you mean"),
        (
            "{name: mixture, slots: 3, painter: {name: flat, gain: high}}",
            {},
            "model.painter.gain: expected a number",
        ),
        (MIXTURE, {"objective": "{name: pixel_mse, x: 1}"}, "objective.x: unknown key"),
    ],
)
def test_mistakes_are_told_at_their_line(
    written: Callable[..., Path], model: str, changes: dict[str, str], text: str
) -> None:
    with pytest.raises(SlotlabError) as error:
        slotlab.load_spec(written("mixture.py", model, **changes))
    assert text in str(error.value)


def test_what_the_model_cannot_do_is_refused(written: Callable[..., Path]) -> None:
    path = written("counter.py", "{name: counter}")
    settings: dict[str, Any] = {"evaluation.slots": 3, "training.checkpoint.best": "mse"}
    with pytest.raises(SlotlabError) as error:
        slotlab.load_spec(path, settings)
    text = str(error.value)
    assert "evaluation.slots: the model 'counter' has no slots; leave 'slots' out" in text
    assert "training.checkpoint.best: the model 'counter' neither segments nor reconstructs" in text


def test_a_family_is_part_of_the_identity_and_the_default_family_is_not(
    written: Callable[..., Path], tmp_path: Path
) -> None:
    demo = slotlab.load_spec("slotlab:demo").loaded.spec
    named = slotlab.load_spec("slotlab:demo", {"model.name": "slot_autoencoder"}).loaded.spec
    assert run_id(named) == run_id(demo)
    one = run_id(slotlab.load_spec(written("mixture.py", MIXTURE)).loaded.spec)
    other = run_id(slotlab.load_spec(written("mixture.py", MIXTURE.replace("0.5", "0.25"))).loaded.spec)
    assert one != other


def test_settings_of_two_families_never_mix(written: Callable[..., Path], tmp_path: Path) -> None:
    written("mixture.py", MIXTURE)
    child = tmp_path / "child.yaml"
    child.write_text(f"extends: slotlab:demo\nname: child\nplugins: [mixture.py]\nmodel: {MIXTURE}\n")
    assert slotlab.load_spec(child).loaded.spec.model.name == "mixture"
    back = tmp_path / "back.yaml"
    back.write_text("extends: child.yaml\nname: back\nmodel: {slots: 4}\n")  # still the mixture
    assert slotlab.load_spec(back).loaded.spec.slots == 4
    with pytest.raises(SlotlabError) as error:
        slotlab.load_spec(child, {"model.name": "slot_autoencoder"})
    assert "model.encoder: this key is required" in str(error.value)
    changed = slotlab.load_spec("slotlab:demo", {"model.slots": 5, "model.name": "slot_autoencoder"})
    assert (changed.loaded.spec.model.name, changed.loaded.spec.slots) == ("slot_autoencoder", 5)
