"""Packed flow and depth are those of the files, bit for bit, and a training cannot tell the difference."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import slotlab
from slotlab.framework.api.packing import pack_target, verify_store
from slotlab.framework.cli.print_stores import print_packed
from slotlab.framework.contracts import DataError, Field
from slotlab.framework.data.device_placement import Placement
from slotlab.framework.data.field_stores import field_key, with_field_stores
from slotlab.framework.data.fields import Fields
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.loaders import evaluation_loader, train_loader, with_fields
from slotlab.framework.data.store.feature_pack import Made
from slotlab.framework.data.store.features import FeatureStore
from slotlab.framework.data.store.format import StoreError
from slotlab.framework.spec.errors import PathProblem, SpecError
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.plugins.datasets.movi import MOViDataset
from slotlab.registry import SlotlabError

SPEC = "slotlab:savi_pp_movi_e"
NAMES: tuple[Field, ...] = ("flow", "depth")
SMALL: dict[str, Any] = {
    "data.dataset.resolution": 8,
    "data.protocol.image_size": 16,
    "data.clip": {"frames": 2, "start": "aligned"},
    "data.augmentation": {"flip": True, "crop": 0.75},
    "data.workers": 0,
    "model.slots": 3,
    "model.encoder": {"name": "cnn", "channels": [8], "strides": [4]},
    "model.decoder": {"name": "spatial_broadcast", "channels": [8], "strides": [2], "broadcast_size": 8},
    "training.batch_size": 2,
    "training.log_every": 1,
    "training.phases": [{"steps": 2, "lr": 1e-3}],
    "evaluation.clip_frames": None,
}


@pytest.fixture
def root(tmp_path: Path, tfrecord_writer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two clips of MOVi-E to train on, one to validate; stores go beside them."""
    monkeypatch.setenv("SLOTLAB_STORES", str(tmp_path / "stores"))
    folder = tmp_path / "movi" / "movi_e" / "8x8" / "1.0.0"
    for split, seeds in (("train", (0, 1)), ("validation", (2,))):
        tfrecord_writer.write_split(folder, "e", split, [tfrecord_writer.clip("e", seed) for seed in seeds])
    return tmp_path / "movi"


def settings(root: Path, **changes: Any) -> dict[str, Any]:
    return SMALL | {"data.dataset.root": str(root)} | changes


def read_spec(root: Path, **changes: Any) -> ExperimentSpec:
    return slotlab.load_spec(SPEC, settings(root, **changes)).loaded.spec


def pack(root: Path, *fields: Field, **options: Any) -> list[dict[str, Any]]:
    sets = [f"{name}={json.dumps(value)}" for name, value in settings(root).items()]
    stores: list[dict[str, Any]] = pack_target(SPEC, sets=sets, workers=0, fields=fields, **options)["stores"]
    return stores


def opened(spec: ExperimentSpec, make: Callable[..., Loader] = train_loader) -> Loader:
    return with_field_stores(spec.data, with_fields(make(spec, Placement(torch.device("cpu"))), NAMES))


def refuse_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(dataset: MOViDataset, index: int) -> Any:
        raise AssertionError(f"frame {index} is read from the files")

    for name in NAMES:
        monkeypatch.setattr(MOViDataset, name, read)


@pytest.mark.parametrize("make", [train_loader, evaluation_loader])
def test_what_is_packed_is_what_the_files_hold(
    root: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., Loader]
) -> None:
    """Every bit, cut, resized, mirrored and in clips; resident or from the disk."""
    spec = read_spec(root)
    files = list(opened(spec, make).epoch(epoch=3))
    pack(root, *NAMES)
    refuse_reading(monkeypatch)
    for resident in ("no", "yes"):
        loader = opened(read_spec(root, **{"data.resident": resident}), make)
        assert {loader.selection.facts[name]["store"]["path"] for name in NAMES} == {
            str(store.path) for store in loader.field_stores.values()
        }
        stored = list(loader.epoch(epoch=3))
        assert len(stored) == len(files)
        for one, other in zip(stored, files, strict=True):
            assert torch.equal(one.images_BCHW, other.images_BCHW)
            for name in NAMES:
                assert torch.equal(one.fields[name], other.fields[name])
                assert one.fields[name].is_contiguous() == other.fields[name].is_contiguous()


def test_a_training_from_the_store_is_that_from_the_files(root: Path, tmp_path: Path) -> None:
    losses, ids = [], []
    for folder in ("files", "store"):
        run = slotlab.train(SPEC, settings(root), run=tmp_path / folder, device="cpu", evaluate=False)
        losses.append([line["loss"] for line in run.folder.read_log() if line["kind"] == "train"])
        told = run.folder.read_provenance()["data"]["train"]
        assert all((told[name]["store"] is None) == (folder == "files") for name in NAMES)
        ids.append(run.folder.read_provenance()["run_id"])
        slotlab.data.pack(SPEC, settings(root), workers=0, fields=NAMES)
    assert losses[0] == losses[1]
    assert ids[0] == ids[1]


def test_stores_are_found_and_named_by_what_decides_about_them(root: Path, tmp_path: Path) -> None:
    packed = pack(root, *NAMES)
    assert [(store["split"], store.get("kind")) for store in packed] == [
        (split, kind) for split in ("train", "val") for kind in (None, *NAMES)
    ]
    before = {path.name for path in (tmp_path / "stores").iterdir()}
    assert len(before) == 6
    assert [store["checksum"] for store in pack(root, "depth")] == [
        store["checksum"] for store in packed if store.get("kind") != "flow"
    ]
    assert {path.name for path in (tmp_path / "stores").iterdir()} == before, "packed once"
    source = opened(read_spec(root)).selection.source
    small = opened(read_spec(root, **{"data.protocol.crop": 6})).selection.source
    assert source is not None
    assert small is not None
    keys = {field_key(one, name).path(tmp_path) for one in (source, small) for name in NAMES}
    assert len(keys) == 4


def test_printed_and_verified(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [f"{name}={json.dumps(value)}" for name, value in settings(root).items()]
    result = pack_target(SPEC, sets=sets, workers=0, fields=["flow"], splits=["val"])
    print_packed(result)
    assert "movi val: flow of 4 images of 16x16 pixels, 8.19 KB" in capsys.readouterr().out.splitlines()
    path = Path(result["stores"][1]["path"])
    pack(root, "flow")
    assert [store["problems"] for store in verify_store(SPEC, sets=sets, fields=["flow"])["stores"]] == [
        []
    ] * 4
    array = np.lib.format.open_memmap(path / "flow.npy", mode="r+")
    array[2, 3, 4, 1] += 1
    array.flush()
    verified = verify_store(SPEC, sets=sets, fields=["flow"])["stores"]
    assert [store["problems"] for store in verified if store["path"] == str(path)] == [
        [f"{path}: item 2 is not what was packed"]
    ]
    (path / "flow.npy").write_bytes(b"")
    with pytest.raises(StoreError, match="the store is damaged"):
        FeatureStore.open(path)


def test_a_field_that_is_not_packed_is_told(root: Path, tmp_path: Path) -> None:
    stores = tmp_path / "stores"
    assert opened(read_spec(root)).selection.notes == [], "nothing is packed: nothing to say"
    pack(root, "flow")
    text = f"there is no packed depth of movi in {stores}"
    hint = "pack it with 'slotlab data pack SPEC --field depth'"
    assert opened(read_spec(root)).selection.notes == [f"{text}: it is read from the files; {hint}"]
    with pytest.raises(PathProblem) as caught:
        opened(read_spec(root, **{"data.store": "required"}))
    assert caught.value.path == ("data", "store")
    assert caught.value.text == f"{text}; {hint}, or write 'store: auto' to read files"
    assert opened(read_spec(root, **{"data.store": "off"})).field_stores == {}
    sets = [f"{name}={json.dumps(value)}" for name, value in settings(root).items()]
    with pytest.raises(SlotlabError, match="there is no packed depth of movi in"):
        verify_store(SPEC, sets=sets, fields=["depth"])
    with pytest.raises(SpecError, match="there is no packed depth of movi"):
        slotlab.train(SPEC, settings(root, **{"data.store": "required"}), run=tmp_path / "run", device="cpu")


def test_a_store_of_another_state_is_told_and_not_read(root: Path, tfrecord_writer: ModuleType) -> None:
    pack(root, *NAMES)
    [path] = (root / "movi_e" / "8x8" / "1.0.0").glob("*train*")
    tfrecord_writer.write_split(path.parent, "e", "train", [tfrecord_writer.clip("e", 7)] * 2, info=False)
    loader = opened(read_spec(root))
    assert loader.field_stores == {}
    notes = [
        note for note in loader.selection.notes if "holds the flow of another state of the files" in note
    ]
    assert len(notes) == 1
    assert notes[0].endswith("it is read from the files; pack it with 'slotlab data pack SPEC --field flow'")


def test_generated_clips_keep_their_fields_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOTLAB_STORES", str(tmp_path / "stores"))
    small = {
        "data.dataset": {"name": "moving_scenes", "num_train": 2, "num_val": 1, "num_frames": 3},
        "data.clip.frames": 2,
        "data.protocol.image_size": 16,
        "model.decoder.broadcast_size": 4,
    }
    spec = slotlab.load_spec("slotlab:savi_demo", small).loaded.spec
    files = list(opened(spec).epoch())
    slotlab.data.pack("slotlab:savi_demo", small, splits=["train"], workers=0, fields=NAMES)
    loader = opened(spec)
    assert loader.field_stores.keys() == set(NAMES)
    for one, other in zip(loader.epoch(), files, strict=True):
        assert all(torch.equal(one.fields[name], other.fields[name]) for name in NAMES)


def test_windows_are_cut_from_the_files(root: Path) -> None:
    pack(root, *NAMES)
    spec = read_spec(root, **{"data.augmentation.window": "random", "data.protocol.fit": "cover"})
    assert opened(spec).field_stores == {}


def test_a_broken_frame_is_a_problem_of_the_data(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = MOViDataset.depth

    def depth(dataset: MOViDataset, index: int) -> Any:
        return (
            torch.full((8, 8), torch.inf) if (dataset.split, index) == ("train", 3) else read(dataset, index)
        )

    monkeypatch.setattr(MOViDataset, "depth", depth)
    with pytest.raises(DataError, match="sample 3: its depth has numbers that are not finite"):
        pack(root, "depth")
    skipped = [store["skipped"] for store in pack(root, "depth", on_error="skip") if store.get("kind")]
    assert skipped == [["sample 3: its depth has numbers that are not finite"], []]


def test_packing_goes_on_where_it_was(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from slotlab.framework.data import field_stores

    whole = pack(root, "flow", splits=["train"], stores=tmp_path / "whole")
    wanted = [store["checksum"] for store in whole]
    packing, seen = field_stores.FieldPacking, list[int]()
    made = packing.made
    monkeypatch.setattr(field_stores, "FieldPacking", partial(packing, chunk=3))

    def stop(one: Any, chunk: Any) -> Made:
        if seen:
            raise KeyboardInterrupt
        seen.extend(chunk)
        return made(one, chunk)

    source = opened(read_spec(root)).selection.source
    assert source is not None
    monkeypatch.setattr(packing, "made", stop)
    with pytest.raises(SlotlabError, match="packing again goes on from there"):
        pack(root, "flow", splits=["train"])
    monkeypatch.setattr(packing, "made", made)
    read, again = Fields.__getitem__, list[int]()

    def noted(fields: Fields, index: Any) -> Any:
        again.append(index)
        return read(fields, index)

    monkeypatch.setattr(Fields, "__getitem__", noted)
    assert [store["checksum"] for store in pack(root, "flow", splits=["train"])] == wanted
    assert sorted([*again, *seen]) == list(range(len(source)))


@pytest.mark.parametrize(
    ("spec", "fields", "text"),
    [
        (SPEC, ["flwo"], "--field flwo: no such field; did you mean 'flow'? (flow, depth)"),
        (SPEC, ["flow", "flow"], "--field flow: it is named twice"),
        ("slotlab:demo", ["flow"], "--field flow: the dataset 'scenes' has none (no method 'flow')"),
    ],
)
def test_mistakes(spec: str, fields: Any, text: str, root: Path) -> None:
    sets = [f"data.dataset.root={root}", "data.dataset.resolution=8"] if spec == SPEC else []
    sets += ["data.dataset.num_train=2", "data.dataset.num_val=2"] if spec != SPEC else []
    with pytest.raises(SlotlabError) as caught:
        pack_target(spec, fields=fields, sets=sets)
    assert text in str(caught.value)


def test_fields_go_beside_images(root: Path, slotlab: Any) -> None:
    code, _, told = slotlab("data", "pack", SPEC, "--field", "flow", "--features")
    assert code == 1
    assert "--field flow: it is packed beside images, and --features packs none; give two commands" in told
