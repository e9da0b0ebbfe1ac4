"""What is exported computes what the run computes; what cannot be exported is told in words."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import slotlab
from slotlab.framework.export import write
from slotlab.framework.export.write import export_model
from slotlab.registry import SlotlabError

FINISHED = Path(__file__).resolve().parents[2] / "fixtures" / "before_the_move" / "finished"
PAGE = Path(__file__).resolve().parents[3] / "docs" / "how_to" / "exporting.md"
Slotlab = Callable[..., tuple[int, str, str]]
FORMATS = ("pt2", pytest.param("onnx", marks=pytest.mark.slow))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose initializer draws."""
    shutil.copytree(FINISHED, tmp_path / "finished")
    return tmp_path / "finished"


def load(path: Path) -> Callable[..., dict[str, np.ndarray[Any, Any]]]:
    """Return a program as another one would load it, with the outputs' names of export.json."""
    facts = json.loads((path.parent / "export.json").read_text())["parts"][path.stem]
    if path.suffix == ".pt2":
        module = torch.export.load(path).module()

        def run(**inputs: Any) -> dict[str, Any]:
            found = module(*(torch.from_numpy(inputs[name]) for name in facts["inputs"]))
            return {
                name: tensor.detach().numpy() for name, tensor in zip(facts["outputs"], found, strict=True)
            }

        return run
    onnxruntime: Any = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == list(facts["inputs"])
    return lambda **inputs: dict(
        zip(facts["outputs"], session.run(list(facts["outputs"]), inputs), strict=True)
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format_", FORMATS)
def test_files_compute_what_the_run_computes(format_: Any, run: Path) -> None:
    opened = slotlab.open_run(run, trust=True, device="cpu")
    found = slotlab.export(opened, "out", format=format_)
    encoder, decoder = (load(Path("out", found["parts"][name]["file"])) for name in ("encoder", "decoder"))
    images = opened.images("val", range(3))
    expected = opened.segment(images, masks="decoder")
    low, high = found["value_range"]
    pictures = (images.images_BCHW.numpy() / 255 * (high - low) + low).astype(np.float32)
    initial = np.load("out/initial.npz")["initial_slots"]
    for chosen in (slice(0, 3), slice(2, 3)):  # batches of another size than was traced
        seen = encoder(images=pictures[chosen], initial_slots=initial[chosen])
        np.testing.assert_allclose(seen["slots"], expected.slots_BKD[chosen], atol=2e-5)
        painted = decoder(slots=seen["slots"])
        np.testing.assert_allclose(painted["masks"], expected.masks_BKHW[chosen], atol=2e-5)
        np.testing.assert_allclose(seen["attention"].sum(axis=1), 1, atol=1e-5)
        assert expected.reconstruction_BCHW is not None
        back = ((painted["reconstruction"] - low) / (high - low)).clip(0, 1)
        assert np.abs(back * 255 - expected.reconstruction_BCHW[chosen].numpy()).max() < 0.51
    assert not np.allclose(
        encoder(images=pictures, initial_slots=initial[:3])["slots"],
        encoder(images=pictures, initial_slots=initial[3:6])["slots"],
    ), "initial slots count"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_program_of_the_page_gives_the_masks_of_the_run(run: Path) -> None:
    pytest.importorskip("onnxruntime")
    run.rename("moved")
    Path("runs").mkdir()
    Path("moved").rename("runs/demo")
    opened = slotlab.open_run("runs/demo", trust=True, device="cpu")
    slotlab.export(opened, "runs/demo/export", format="onnx")
    ((program,),) = [re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)]
    names: dict[str, Any] = {}
    exec(compile(program, PAGE, "exec"), names)
    facts = names["facts"]["parts"]
    assert list(names["slots"].shape[1:]) == facts["encoder"]["outputs"]["slots"][1:]
    assert list(names["masks"].shape[1:]) == facts["decoder"]["outputs"]["masks"][1:]
    np.testing.assert_allclose(names["masks"].sum(axis=1), 1, atol=1e-5)
    assert names["labels"].shape == (2, *names["facts"]["image_size"])


@pytest.mark.filterwarnings("ignore")
def test_slots_that_are_learned_are_no_input_and_the_decoder_may_stay() -> None:
    spec = slotlab.load_spec(
        "slotlab:slot_attention_demo", {"data.protocol.image_size": 16, "model.decoder.broadcast_size": 4}
    )
    model = slotlab.build_model(spec)
    done = export_model(model, spec.loaded.spec, Path("out"), "pt2", step=7, decoder=False)
    assert list(done.record["parts"]["encoder"]["inputs"]) == ["images"]
    assert (done.record["initial"], done.record["step"]) == (None, 7)
    assert {path.name for path in Path("out").iterdir()} == {"encoder.pt2", "export.json"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format_", FORMATS)
def test_what_belongs_to_slots_goes_with_them(format_: Any) -> None:
    spec = slotlab.load_spec(
        "slotlab:demo", {"data.protocol.image_size": 16, "model.decoder.broadcast_size": 4}
    )
    done = export_model(
        slotlab.build_model(spec), spec.loaded.spec, Path("out"), format_, step=7, decoder=True
    )
    encoder, decoder = (done.record["parts"][name] for name in ("encoder", "decoder"))
    pose = ["position", "scale"]
    assert list(encoder["inputs"]) == [
        "images",
        "initial_slots",
        *(f"initial_{name}" for name in (*pose, "rotation")),
    ]
    assert list(encoder["outputs"]) == ["slots", *pose, "attention"]
    assert list(decoder["inputs"]) == ["slots", *pose]
    initial = np.load("out/initial.npz")
    pictures = np.zeros((2, 3, 16, 16), np.float32)
    found = load(Path("out", encoder["file"]))(
        images=pictures, **{name: drawn[:2] for name, drawn in initial.items()}
    )
    painted = load(Path("out", decoder["file"]))(**{name: found[name] for name in decoder["inputs"]})
    np.testing.assert_allclose(painted["masks"].sum(axis=1), 1, atol=1e-5)
    assert sorted(initial.files) == sorted(set(encoder["inputs"]) - {"images"})
    assert (initial["initial_slots"][0] == initial["initial_slots"][1]).all()  # learned
    assert not (initial["initial_position"][0] == initial["initial_position"][1]).any()  # drawn


def test_models_without_such_parts_are_refused() -> None:
    spec = slotlab.load_spec("slotlab:savi_demo")
    model = slotlab.build_model("slotlab:savi_demo")
    with pytest.raises(SlotlabError, match="'video_slots' goes from frame to frame, and cannot be exported"):
        export_model(model, spec.loaded.spec, Path("out"), "pt2", step=1, decoder=True)
    demo = slotlab.load_spec("slotlab:demo")
    with pytest.raises(SlotlabError, match="has no encoder and grouping of a slot_autoencoder"):
        export_model(OtherModel(), demo.loaded.spec, Path("out"), "pt2", step=1, decoder=True)
    assert not Path("out").exists()


class OtherModel(slotlab.contracts.Model):
    """A model of another kind."""

    def __init__(self) -> None:
        super().__init__(None)

    def losses(self, batch: Any, *, generator: Any = None) -> Any:
        raise AssertionError


def test_parts_that_draw_or_need_more_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = slotlab.load_spec("slotlab:demo").loaded.spec
    model: Any = slotlab.build_model("slotlab:demo")
    monkeypatch.setattr(model.decoder, "sample", lambda slots, **told: None, raising=False)
    with pytest.raises(
        SlotlabError, match="makes pictures step by step, which is no graph; export the encoder"
    ):
        export_model(model, spec, Path("out"), "pt2", step=1, decoder=True)
    monkeypatch.undo()
    grouping = model.grouping.forward

    def noisy(tokens_BND: Any, slots: Any, *, generator: Any = None, **told: Any) -> Any:
        torch.rand(1, generator=generator)
        return grouping(tokens_BND, slots, generator=generator, **told)

    monkeypatch.setattr(model.grouping, "forward", noisy)
    with pytest.raises(SlotlabError, match="draws noise while it finds slots, and cannot be exported"):
        export_model(model, spec, Path("out"), "pt2", step=1, decoder=True)


@pytest.mark.filterwarnings("ignore")
def test_a_file_that_computes_something_else_is_removed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "pt2_bytes", lambda graph: b"")
    monkeypatch.setattr(
        write,
        "runner",
        lambda path, graph, format_: (
            lambda inputs: {name: 1.01 * tensor for name, tensor in graph.run(inputs).items()}
        ),
    )
    with pytest.raises(SlotlabError, match=r"encoder.pt2 computes something else .* is 0.01 of the largest"):
        slotlab.export(run, "out", format="pt2", trust=True)
    assert not list(Path("out").glob("*"))


def test_the_command_and_its_mistakes(run: Path, slotlab_: Slotlab, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in ((), ("--onnx", "--pt2")):
        code, _, err = slotlab_("export", run, *words)
        assert (code, err) == (1, "error: write --onnx or --pt2, one of the two\n")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    code, _, err = slotlab_("export", run, "--onnx", "--trust")
    assert code == 1
    assert "--onnx needs onnxscript; it comes with: pip install 'slotlab[export]'; --pt2 needs nothing" in err


@pytest.fixture
def slotlab_(slotlab: Slotlab) -> Slotlab:
    """The command; the module has its name here."""
    return slotlab
