"""Slots of a run, packed once (`slotlab extract`): the same training, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from slotlab.framework.api.extracting import Extraction, extract_slots
from slotlab.framework.cli.print_stores import print_extracted
from slotlab.framework.contracts import Batch
from slotlab.framework.data.loaders import train_loader
from slotlab.framework.data.store.features import FeatureStore
from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.model import slot_packing
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine
from slotlab.framework.model.slot_stores import with_slots
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.errors import SpecError
from slotlab.framework.spec.identity import run_id
from slotlab.registry import SlotlabError

FRAMES, LENGTH, SLOTS, WIDTH = 4, 5, 3, 8
PARTS = {
    "name": "video_slots",
    "predictor": "transformer",
    "slots": SLOTS,
    "slot_dim": WIDTH,
    "encoder": {"name": "cnn", "channels": [4], "kernel_size": 3},
    "initializer": "learnable",
    "grouping": {"name": "slot_attention", "iterations": 1},
    "decoder": {"name": "spatial_broadcast", "broadcast_size": 4, "channels": [4]},
}
DATA = {
    "dataset": {"name": "moving_scenes", "num_frames": LENGTH, "num_train": 3, "num_val": 1},
    "protocol": {"name": "whole", "image_size": 8},
}


def write_spec(path: Path, **content) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": 1, "name": "stored", **content}))
    return str(path)


def train(spec: str, folder: Path, *sets: str) -> RunFolder:
    loaded = prepare(spec, sets=sets).loaded
    return run_training(loaded, folder, device=torch.device("cpu"), report=lambda told: None)


def parent(folder: Path, **model) -> str:
    spec = write_spec(
        folder / "spec.yaml",
        data={**DATA, "clip": {"frames": 2}},
        model={**PARTS, **model},
        training={"batch_size": 2, "phases": [{"steps": 1, "lr": 0.01}]},
        evaluation={"metrics": ["mse"]},
    )
    return str(train(spec, folder / "run").path)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return parent(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    return parent(tmp_path_factory.mktemp("drawing"), initializer="gaussian")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return parent(tmp_path_factory.mktemp("told"), initializer={"name": "conditional", "hidden_dim": 32})


@pytest.fixture(autouse=True)
def stores(tmp_path, monkeypatch, blank_figures):
    monkeypatch.setenv("SLOTLAB_STORES", str(tmp_path / "stores"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "stores"


def dynamics(run: str, start: str = "random", objective: str = "pixel_mse", **model) -> str:
    return write_spec(
        Path("dynamics.yaml").absolute(),
        data={**DATA, "clip": {"frames": FRAMES, "start": start}},
        model={
            "name": "slot_dynamics",
            "source": {"run": run},
            "slots": SLOTS,
            "history": 2,
            "dynamics": {"name": "slotformer", "width": 8, "layers": 1, "heads": 2, "dropout": 0.1},
            **model,
        },
        objective=objective,
        training={"batch_size": 2, "log_every": 1, "phases": [{"steps": 5, "lr": 0.01}]},
        evaluation={"metrics": ["mse"], "baselines": [], "batch_size": 1},
    )


def losses(run: RunFolder) -> list[float]:
    return [row["loss"] for row in run.read_log() if row["kind"] == "train"]


def loaders(spec: str):
    """The training's loader without and with its store, and the model."""
    loaded = prepare(spec).loaded.spec
    model = build_model(loaded).eval()
    engine = Engine.open(loaded, torch.device("cpu"), warn=print)
    plain = train_loader(loaded, engine.placement)
    return plain, with_slots(loaded, model, plain), model


@pytest.mark.parametrize("start", ["random", "all", "aligned"])
def test_stored_slots_are_those_that_are_found_in_each_clip_of_any_epoch(source, start):
    spec = dynamics(source, start)
    facts = extract_slots(Path(source), data=spec)
    assert (facts["frames"], facts["slots"], facts["slot_dim"]) == (FRAMES, SLOTS, WIDTH)
    assert facts["clips"] == {"random": 6, "all": 6, "aligned": 3}[start]
    plain, stored, model = loaders(spec)
    assert stored.slots is not None
    for epoch in (0, 3):
        order = plain.order(seed=1, epoch=epoch)
        for batch, other in zip(
            plain.epoch(order, epoch=epoch), stored.epoch(order, epoch=epoch), strict=True
        ):
            assert batch.slots_BKD is None
            assert batch.ids == other.ids
            found = model.slot_source.find(batch).flatten(0, 1)
            torch.testing.assert_close(other.slots_BKD, found, rtol=0, atol=2e-6)


@pytest.mark.parametrize("weights", [{}, {"image_loss": 0}], ids=["images", "slots"])
def test_a_training_from_a_store_is_the_training_without_one(source, weights):
    """Up to the rounding of sums: a store's clips may have been packed in other batches."""
    spec = dynamics(source, **weights)
    without = train(spec, Path("without"), "data.feature_store=off")
    extract_slots(Path(source), data=spec)
    reads = train(spec, Path("with"), "data.feature_store=required")
    assert losses(reads) == pytest.approx(losses(without), rel=1e-5)
    assert RunFolder(Path("with")).read_provenance()["data"]["train"]["slots"]["store"]["path"]
    assert "slots" not in RunFolder(Path("without")).read_provenance()["data"]["train"]
    ids = [
        run_id(prepare(str(folder / "spec.yaml")).loaded.spec) for folder in (Path("with"), Path("without"))
    ]
    assert ids[0] == ids[1]


def test_a_training_from_a_store_never_runs_the_parent(source, monkeypatch):
    spec = dynamics(source)
    extract_slots(Path(source), data=spec)
    _, stored, model = loaders(spec)
    monkeypatch.setattr(
        type(model.parent), "encode", lambda *given, **told: pytest.fail("the parent was run")
    )
    model.losses(next(stored.epoch())).total.backward()


def test_targets_of_features_are_still_encoded(source):
    """An objective whose target is made of features: the encoder runs, the grouping does not."""

    class OfFeatures:
        target_shape = None

        def target(self, images_BCHW, features_BCHW):
            return features_BCHW

    _, _, model = loaders(dynamics(source))
    images = torch.rand(4, 3, 8, 8)
    assert torch.equal(model.parent.target(images, None), images)
    model.parent.objective = OfFeatures()
    assert torch.equal(model.parent.target(images, None), model.parent.encoder(images))


def test_a_run_that_draws_is_stored_once_and_read_where_the_spec_says_so(drawing):
    spec = dynamics(drawing)
    each = run_id(prepare(spec).loaded.spec)
    assert extract_slots(Path(drawing), data=spec)["drawn_once"]
    _, stored, _ = loaders(spec)
    assert stored.slots is None
    assert "holds slots for which the run drew once; write 'draws: once'" in stored.selection.notes[-1]
    with pytest.raises(SpecError, match="drew once"):
        train(spec, Path("each"), "data.feature_store=required")
    spec = dynamics(drawing, draws="once")
    assert run_id(prepare(spec).loaded.spec) != each
    plain, stored, model = loaders(spec)
    assert stored.slots is not None
    batch, other = next(plain.epoch()), next(stored.epoch())
    torch.testing.assert_close(
        model.slot_source.find(batch).flatten(0, 1), other.slots_BKD, rtol=0, atol=2e-6
    )
    again = model.slot_source.find(batch, torch.Generator().manual_seed(5))
    assert torch.equal(again, model.slot_source.find(batch))


def test_a_run_that_is_told_boxes_is_packed_with_them(told):
    spec = dynamics(told)
    extract_slots(Path(told), data=spec)
    plain, stored, model = loaders(spec)
    assert model.supervised
    masked = next(iter(plain.epoch()))
    assert masked.masks_BHW is None  # `run_training` asks for them
    batch, other = next(replace(plain, masks=True).epoch()), next(stored.epoch())
    torch.testing.assert_close(
        model.slot_source.find(batch).flatten(0, 1), other.slots_BKD, rtol=0, atol=2e-6
    )


def test_what_an_interrupted_extraction_left_is_kept_and_the_store_is_the_same(
    source, monkeypatch, capsys, stores
):
    spec = dynamics(source, "all")
    whole = extract_slots(Path(source), data=spec, stores=stores / "whole")["checksum"]
    made, calls = slot_packing.SlotPacking.made, []

    def stop(self, chunk):
        calls.append(chunk)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return made(self, chunk)

    monkeypatch.setattr(slot_packing.SlotPacking, "made", stop)
    with pytest.raises(SlotlabError, match="packing again goes on from there"):
        extract_slots(Path(source), data=spec)
    assert list(stores.glob("*slots*.partial"))
    assert loaders(spec)[1].slots is None
    facts = extract_slots(Path(source), data=spec)
    assert [index for chunk in calls[2:] for index in chunk] == [2, 3, 4, 5]
    assert "2 of 6 clips are there" in capsys.readouterr().err
    assert facts["checksum"] == whole


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("data.clip.start=first", "other clips"),
        ("data.clip.frames=3", "other clips"),
        ("data.dataset.speed=2.0", "pictures prepared otherwise"),
        ("data.seed=1", "pictures of another seed"),
    ],
)
def test_a_store_of_other_clips_is_named_and_not_read(source, change, words):
    spec = dynamics(source)
    extract_slots(Path(source), data=spec)
    with pytest.raises(SpecError) as caught:
        train(spec, Path("run"), change, "data.feature_store=required")
    text = str(caught.value)
    assert "data.feature_store" in text
    assert words in text
    assert f"extract them with 'slotlab extract {source} --data SPEC'" in text


def test_a_store_of_other_weights_is_named_and_not_read(source, tmp_path):
    spec = dynamics(source)
    extract_slots(Path(source), data=spec)
    other = parent(tmp_path / "other", slots=SLOTS, first_iterations=2)
    with pytest.raises(SpecError, match="other weights"):
        train(dynamics(other), Path("run"), "data.feature_store=required")


def test_a_store_that_holds_something_else_is_refused(source, stores):
    spec = dynamics(source)
    path = Path(extract_slots(Path(source), data=spec)["path"])
    store = FeatureStore.open(path)
    array = store._arrays["slots.npy"].copy()
    array[-1] += 1
    header = (path / "slots.npy").read_bytes()[: -array.nbytes]
    (path / "slots.npy").write_bytes(header + array.tobytes())
    with pytest.raises(SlotlabError, match="does not hold the slots that are found from"):
        train(spec, Path("run"))


def test_what_cannot_be_extracted_is_told(source, tmp_path):
    images = write_spec(
        tmp_path / "images.yaml",
        data=DATA,
        model={key: value for key, value in PARTS.items() if key not in ("name", "predictor")},
        training={"batch_size": 2, "phases": [{"steps": 1, "lr": 0.01}]},
        evaluation={"metrics": ["mse"]},
    )
    mistakes = {
        "its frames are single pictures; say which clips": {"data": images},
        "has no split 'vall'; did you mean 'val'": {"split": "vall"},
        "was trained on images of 8x8 pixels": {"sets": ["data.protocol.image_size=16"]},
        "changes clips, whose slots no store can hold": {"sets": ["data.augmentation.flip=true"]},
        "has no checkpoint of step 7": {"checkpoint": "7"},
    }
    for words, options in mistakes.items():
        with pytest.raises(SlotlabError) as caught:
            extract_slots(Path(source), **options)
        assert words in str(caught.value), str(caught.value)


def test_the_command_prints_the_store_and_data_verify_reads_it(source, slotlab):
    spec = dynamics(source)
    code, out, _ = slotlab("extract", source, "--data", spec, "--split", "val")
    assert code == 0
    assert f"moving_scenes val: 2 clips, {SLOTS} slots of width {WIDTH} in each of {FRAMES} frames" in out
    store = out.rsplit("store: ", 1)[1].strip()
    assert slotlab("data", "verify", store)[:2][0] == 0
    code, out, err = slotlab("data", "inspect", store)
    assert "Traceback" not in err


def test_extraction_reads_batches_of_the_training(source):
    """What is packed together is as many clips as a step has, so that sums are rounded as in a step."""
    sizes = []
    extraction = Extraction.open(Path(source), data=dynamics(source, "aligned"))
    find = extraction.slots.find
    batches = [batch for _, batch in extraction.every.share(range(3))]
    for batch in batches:
        assert isinstance(batch, Batch)
        sizes.append(len(batch))
        assert find(batch).shape == (len(batch), FRAMES, SLOTS, WIDTH)
    assert sizes == [2, 1]


def test_printing_says_what_was_drawn_once(capsys):
    store = {"slots": 3, "slot_dim": 8, "frames": 4, "drawn_once": True, "dataset": "d", "split": "train"}
    print_extracted({**store, "clips": 5, "bytes": 4, "run": "runs/a", "checksum": "c", "path": "p"})
    assert "5 clips, 3 slots of width 8 in each of 4 frames, drawn once" in capsys.readouterr().out
