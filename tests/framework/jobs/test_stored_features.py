"""Features of a frozen encoder, stored in 16 bits: the same training, and what is refused."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from slotlab.framework.api.feature_packing import pack_features, verify_feature_stores
from slotlab.framework.cli.print_stores import print_packed_features, print_verified
from slotlab.framework.data.store import feature_pack
from slotlab.framework.data.store.features import FeatureStore
from slotlab.framework.data.store.format import StoreError
from slotlab.framework.evaluation.conditions import own_condition
from slotlab.framework.jobs.evaluate import run_evaluations
from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.model.build import build_model
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.errors import SpecError
from slotlab.framework.spec.identity import run_id
from slotlab.registry import SlotlabError

PLUGIN = '''
"""Encoders whose features of an image do not depend on its batch to the last bit."""
import torch
from torch import nn
from torch.nn import functional as F
from slotlab import Component, ComponentConfig, hookimpl

SLOTLAB_API = 1


class PooledConfig(ComponentConfig):
    """Settings."""

    gain: float = 1.0
    """Multiplies the features."""
    frozen: bool = True
    """Whether the encoder says so."""
    leaky: bool = False
    """Whether it has weights that are trained although it says that it is frozen."""


class Pooled(nn.Module):
    def __init__(self, config, context):
        super().__init__()
        self.frozen, self.gain, self.channels = config.frozen, config.gain, 5
        self.grid = (context.image_size[0] // 4, context.image_size[1] // 4)
        trained = config.leaky or not config.frozen
        self.weight = nn.Parameter(torch.randn(5, 3, 1, 1), requires_grad=trained)

    def forward(self, images_BCHW):
        pooled_BCHW = F.avg_pool2d(images_BCHW, 4)
        return self.gain * (pooled_BCHW[:, None] * self.weight).sum(dim=2)


class Silent(Pooled):
    def __init__(self, config, context):
        super().__init__(config, context)
        del self.frozen


@hookimpl
def slotlab_encoders():
    yield Component(name="pooled", config=PooledConfig, build=Pooled, summary="pooled colors")
    yield Component(name="silent", config=PooledConfig, build=Silent, summary="does not say that it is frozen")
'''


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a plugin and pictures with masks; stores go there too."""
    monkeypatch.setenv("SLOTLAB_STORES", str(tmp_path / "stores"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "pooled.py").write_text(PLUGIN)
    stream = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / "tree" / name).mkdir(parents=True)
        for index in range(10):
            shape = (16, 16, 3) if name == "images" else (16, 16)
            pixels = stream.integers(0, 256 if name == "images" else 3, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "tree" / name / f"{index}.png")
    return tmp_path


def spec_file(place: Path, **data: Any) -> str:
    content = {
        "format": 1,
        "name": "stored",
        "plugins": ["pooled.py"],
        "data": {
            "dataset": {"name": "image_folder", "images": "tree/images", "masks": "tree/masks"},
            "protocol": {"name": "whole", "image_size": 16},
            "features": "half",
            **data,
        },
        "model": {
            "slots": 3,
            "slot_dim": 8,
            "encoder": "pooled",
            "initializer": "gaussian",
            "grouping": {"name": "slot_attention", "iterations": 1},
            "decoder": {"name": "patch_mlp", "hidden": [8]},
        },
        "objective": "feature_mse",
        "training": {"batch_size": 3, "log_every": 1, "phases": [{"steps": 7, "lr": 0.01}]},
        "evaluation": {"batch_size": 2, "metrics": ["fg_ari"], "baselines": [], "split": "val"},
    }
    (place / "spec.yaml").write_text(yaml.safe_dump(content))
    return str(place / "spec.yaml")


def trained(spec: str, folder: Path, *sets: str) -> RunFolder:
    loaded = prepare(spec, sets=sets).loaded
    cpu = torch.device("cpu")
    run = run_training(loaded, folder, device=cpu, report=lambda progress: None)
    run_evaluations(run, loaded, [own_condition(loaded)], device=cpu, figures=False)
    return run


def curve(run: RunFolder) -> list[tuple[Any, ...]]:
    return [(line["kind"], line["step"], line["loss"]) for line in run.read_log()]


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    return dict(run.load_weights("last").model)


def stored(run: RunFolder) -> list[Any]:
    data = run.read_provenance()["data"]
    return [data[split]["features"]["store"] for split in ("train", "evaluation")]


def refusal(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    with pytest.raises(SlotlabError) as caught:
        call(*arguments, **options)
    return "\n".join(caught.value.lines())


# --- the same training ---------------------------------------------------------------------


@pytest.mark.parametrize(("flip", "precision"), [(False, "float32"), (True, "bfloat16")])
def test_a_training_from_a_store_is_that_with_rounded_features(
    place: Path, flip: bool, precision: str
) -> None:
    spec = spec_file(place, augmentation={"flip": flip})
    sets = (f"training.precision={precision}",)
    [facts] = pack_features(spec)["stores"]
    assert facts["mirrored"] == flip
    computed = trained(spec, place / "computed", *sets, "data.feature_store=off")
    read = trained(spec, place / "read", *sets, "data.feature_store=required")
    assert curve(read) == curve(computed)
    assert all(
        torch.equal(a, b) for a, b in zip(*(weights(run).values() for run in (read, computed)), strict=True)
    )
    [results] = [path.name for path in (place / "read" / "evaluation").iterdir()]
    tables = [
        (place / run / "evaluation" / results / "images.csv").read_text() for run in ("read", "computed")
    ]
    assert tables[0] == tables[1]
    assert stored(computed) == [None, None]
    assert [store["checksum"] for store in stored(read)] == [facts["checksum"]] * 2
    full = trained(spec, place / "full", *sets, "data.features=full")
    assert curve(full) != curve(computed)  # rounding changes weights: it is part of the identity


def test_mirrored_pictures_are_read_where_they_are_drawn(place: Path) -> None:
    spec = spec_file(place, augmentation={"flip": True})
    pack_features(spec)
    flipped = trained(spec, place / "flipped", "data.feature_store=required")
    plain = trained(spec, place / "plain", "data.augmentation.flip=false", "data.feature_store=required")
    assert curve(flipped) != curve(plain)  # the store with mirrored pictures serves both


def test_the_encoder_is_not_called_in_a_step(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_file(place)
    pack_features(spec)
    loaded = prepare(spec).loaded
    from slotlab.framework.contracts import Batch

    model = build_model(loaded.spec).eval()
    images_BCHW = torch.rand(2, 3, 16, 16)
    model.encoder.forward = lambda images: pytest.fail("called")
    batch = Batch(
        images_BCHW=images_BCHW, masks_BHW=None, ids=("0", "1"), features_BCHW=torch.rand(2, 5, 4, 4)
    )
    stream = torch.Generator().manual_seed(0)
    assert model.losses(batch, generator=stream).total.isfinite()
    made = model.reconstruct(images_BCHW, generator=stream, features_BCHW=batch.features_BCHW)
    assert made.found is not None
    assert torch.equal(batch.at(slice(1, 2)).features_BCHW, batch.features_BCHW[1:])


def test_rounding_is_part_of_the_identity_and_the_store_is_not(place: Path) -> None:
    spec = spec_file(place)

    def identity(*sets: str) -> str:
        return run_id(prepare(spec, sets=sets).loaded.spec)

    half = identity()
    assert identity("data.feature_store=required") == identity("data.feature_store=off") == half
    assert identity("data.features=full") != half


# --- which store fits -----------------------------------------------------------------------


def test_the_key_changes_with_whatever_decides_about_features(place: Path) -> None:
    spec = spec_file(place)

    def path(*sets: str) -> str:
        return str(pack_features(spec, sets=sets)["stores"][0]["path"])

    paths = [
        path(),
        path("seed=1"),  # other weights
        path("model.encoder.gain=2"),
        path("data.protocol.image_size=8"),
        path("data.protocol.crop=12"),
        path("data.value_range=unit"),
        path("data.augmentation.flip=true"),
    ]
    same = [path("training.batch_size=5"), path("model.slots=4"), path("data.train_split=val")]
    assert set(same) == {paths[0]}
    Image.new("RGB", (16, 16)).save(place / "tree" / "images" / "3.png")
    paths.append(path())
    (place / "pooled.py").write_text(PLUGIN.replace("5, 3, 1, 1", "5, 3, 1, 1, requires_grad=False"))
    paths.append(path())
    assert len(set(paths)) == len(paths)


def test_a_store_that_does_not_fit_is_told_and_not_read(place: Path) -> None:
    spec = spec_file(place)
    path = pack_features(spec)["stores"][0]["path"]
    required = ("data.feature_store=required",)
    for change, what in {
        "seed=1": "other weights",
        "model.encoder.gain=2": "other settings of the encoder",
        "data.value_range=unit": "another value_range",
        "data.protocol.crop=12": "pictures prepared otherwise",
        "data.augmentation.flip=true": "pictures that are not mirrored",
    }.items():
        text = refusal(trained, spec, place / "refused", change, *required)
        assert f"{path} holds features of {what}; pack them with 'slotlab data pack SPEC --features'" in text
        assert "or write 'feature_store: auto' to compute them" in text
    said: list[str] = []
    loaded = prepare(spec, sets=("seed=1",)).loaded
    cpu = torch.device("cpu")
    run_training(loaded, place / "told", device=cpu, report=lambda progress: None, warn=said.append)
    assert f"{path} holds features of other weights" in "".join(said)
    assert "are computed at each step" in "".join(said)
    Image.new("RGB", (16, 16)).save(place / "tree" / "images" / "3.png")
    assert "another state of the files" in refusal(trained, spec, place / "refused", *required)


def test_a_missing_store_is_refused_only_where_it_is_required(place: Path) -> None:
    spec = spec_file(place)
    text = refusal(trained, spec, place / "refused", "data.feature_store=required")
    assert "there is no store of these features in" in text
    assert stored(trained(spec, place / "run")) == [None, None]
    assert "there is no store of these features of image_folder all" in refusal(verify_feature_stores, spec)


def test_a_wrong_store_never_trains(place: Path) -> None:
    spec = spec_file(place, augmentation={"flip": True})
    path = Path(pack_features(spec)["stores"][0]["path"])
    for name in ("features.npy", "mirrored.npy"):
        array = np.load(path / name, mmap_mode="r+")
        right = array.copy()
        array[:] = np.roll(right, 1, axis=0)  # the features of other pictures
        array.flush()
        text = refusal(trained, spec, place / "refused")
        assert f"{path} does not hold what the encoder makes of" in text
        assert "pack it again" in text
        assert ("mirrored" in text) == (name == "mirrored.npy")
        array[:] = right * np.float16(1.001)  # a rounding more is none of its business
        array.flush()
        trained(spec, place / name)
        array[:] = right
        array.flush()


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["model.encoder.frozen=false"], "is not frozen, and its features change with every step"),
        (["model.encoder=silent"], "does not say that it is frozen (by its attribute 'frozen')"),
        (["model.encoder.leaky=true"], "says that it is frozen, and has weights that are trained"),
        (["model.encoder={name: cnn, channels: [4]}", "model.decoder.hidden=[8]"], "does not say that it is"),
        (["data.augmentation.crop=0.5"], "every random crop is another picture"),
        (["data.features=full", "data.feature_store=required"], "write 'features: half'"),
    ],
)
def test_what_cannot_be_stored_is_refused(place: Path, changes: list[str], text: str) -> None:
    with pytest.raises(SpecError) as caught:
        prepare(spec_file(place), sets=changes)
    assert text in str(caught.value)
    assert text in refusal(pack_features, str(place / "spec.yaml"), sets=changes)


def test_crops_are_computed_without_a_store_and_cannot_be_packed(place: Path) -> None:
    spec, sets = spec_file(place), ("data.augmentation.crop=0.5", "data.feature_store=off")
    prepare(spec, sets=sets)
    assert "every random crop is another picture" in refusal(pack_features, spec, sets=sets)


def test_only_specs_with_half_features_are_packed(place: Path) -> None:
    assert "give a spec, not data" in refusal(pack_features, str(place / "tree"))
    text = refusal(pack_features, spec_file(place), sets=["data.features=full"])
    assert "data.features is full; write 'features: half' there" in text
    assert "write fail or skip" in refusal(pack_features, spec_file(place), on_error="maybe")
    endless = ["data.dataset={name: scenes, endless: true}"]
    assert "every epoch shows new pictures" in refusal(pack_features, spec_file(place), sets=endless)
    required = [*endless, "data.feature_store=required"]
    assert "no store can hold" in refusal(trained, spec_file(place), place / "run", *required)


def test_features_beyond_sixteen_bits_are_refused(place: Path) -> None:
    text = refusal(pack_features, spec_file(place), sets=["model.encoder.gain=1000000"])
    assert "not finite in 16 bits" in text


def test_generated_pictures_have_features_too(place: Path) -> None:
    scenes = ("data.dataset={name: scenes, num_train: 6, num_val: 2}",)
    spec = spec_file(place)
    pack_features(spec, sets=scenes)
    read = trained(spec, place / "read", *scenes, "data.feature_store=required")
    computed = trained(spec, place / "computed", *scenes, "data.feature_store=off")
    assert curve(read) == curve(computed)


# --- files ------------------------------------------------------------------------------------


def test_a_store_is_printed_and_verified(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = spec_file(place)
    result = pack_features(spec)
    [facts] = json.loads(json.dumps(result))["stores"]
    print_packed_features(result)
    verified = verify_feature_stores(spec)
    assert verified == verify_feature_stores(facts["path"])
    print_verified(verified)
    path = facts["path"]
    assert capsys.readouterr().out.splitlines() == [
        "image_folder all: features of 10 images, 5 channels at 4x4 positions, 1.6 KB",
        f"protocol whole (image_size 16); checksum {facts['checksum']}",
        f"store: {path}",
        f"{path}: intact, 10 images, checksum {facts['checksum']}",
    ]
    array = np.load(Path(path) / "features.npy", mmap_mode="r+")
    array[4, 0, 0, 0] += 1
    array.flush()
    assert verify_feature_stores(path)["stores"][0]["problems"] == [f"{path}: item 4 is not what was packed"]


def test_a_damaged_store_is_refused(place: Path) -> None:
    path = Path(pack_features(spec_file(place))["stores"][0]["path"])
    manifest = path / "features.json"
    content = manifest.read_text()
    manifest.write_text(content.replace('"channels": 5', '"channels": 6'))
    assert "was changed after it was written" in refusal(FeatureStore.open, path)
    manifest.write_text("{")
    assert "cannot be read" in refusal(FeatureStore.open, path)
    manifest.unlink()
    assert "is no store of features" in refusal(FeatureStore.open, path)
    manifest.write_text(content)
    os.truncate(path / "features.npy", 200)
    assert "has 200 bytes" in refusal(FeatureStore.open, path)
    (path / "features.npy").unlink()
    assert "is not there" in refusal(FeatureStore.open, path)


def test_a_store_of_features_says_what_it_said_before_there_were_others(place: Path) -> None:
    path = Path(pack_features(spec_file(place))["stores"][0]["path"])
    old = "FeatureLayout(items=10, channels=5, grid=(4, 4), mirrored=False)"  # its checksum begins with it
    assert repr(FeatureStore.open(path).manifest.layout) == old
    told = {"name", "split", "identity", "fingerprint", "items", "channels", "grid", "mirrored"}
    told |= {"checksum", "bad", "files", "format", "seal"}
    assert set(json.loads((path / "features.json").read_text())) == told


def test_rows_are_returned_as_asked_for(place: Path) -> None:
    path = Path(pack_features(spec_file(place))["stores"][0]["path"])
    store, cpu = FeatureStore.open(path), torch.device("cpu")
    every = store.batch(range(10), cpu)
    assert every.shape == (10, 5, 4, 4)
    assert every.dtype == torch.float32
    assert torch.equal(store.batch([7, 1, 7], cpu), every[[7, 1, 7]])
    assert torch.equal(store.resident(cpu).batch([2], cpu), every[[2]])
    with pytest.raises(IndexError):
        store.batch([10], cpu)
    with pytest.raises(StoreError, match="no features of mirrored pictures"):
        store.batch([0], cpu, torch.tensor([True]))


def test_broken_pictures_are_told_or_left_out(place: Path) -> None:
    spec = spec_file(place)
    (place / "tree" / "images" / "4.png").write_bytes(b"no picture")
    assert "4.png" in refusal(pack_features, spec)
    [facts] = pack_features(spec, on_error="skip")["stores"]
    assert facts["images"] == 9
    assert "4.png" in facts["skipped"][0]
    sets = ("data.on_error=skip",)
    read = trained(spec, place / "read", *sets, "data.feature_store=required")
    computed = trained(spec, place / "computed", *sets, "data.feature_store=off")
    assert curve(read) == curve(computed)


def pack_and_die(spec: str, chunks: int) -> None:
    whole, written = feature_pack.Journaled.add, 0

    def add(partial: Any, lines: Any) -> None:
        nonlocal written
        if written == chunks:
            os.kill(os.getpid(), signal.SIGKILL)
        written += 1
        whole(partial, lines)

    feature_pack.Journaled.add = add  # type: ignore[method-assign]
    if chunks == 5:  # all chunks are there: killed before the store has its name
        feature_pack.Journaled.place = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
    pack_features(spec)


@pytest.mark.parametrize("chunks", [0, 2, 5])
def test_a_killed_packing_leaves_nothing_half_usable_and_goes_on(
    place: Path, chunks: int, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = spec_file(place)
    process = multiprocessing.get_context("fork").Process(target=pack_and_die, args=(spec, chunks))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    [left] = (place / "stores").iterdir()
    assert left.name.endswith(".partial")
    assert stored(trained(spec, place / "run")) == [None, None]
    capsys.readouterr()
    [facts] = pack_features(spec)["stores"]
    going_on = f"going on where packing stopped: {2 * chunks} of 10 pictures are there"
    assert (going_on in capsys.readouterr().err) == (chunks > 0)
    assert [path.name for path in (place / "stores").iterdir()] == [Path(facts["path"]).name]
    assert verify_feature_stores(spec)["stores"][0]["problems"] == []
    read = trained(spec, place / "read", "data.feature_store=required")
    assert curve(read) == curve(trained(spec, place / "computed", "data.feature_store=off"))
