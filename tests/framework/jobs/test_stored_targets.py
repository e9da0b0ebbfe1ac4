"""What a frozen codec makes for an objective, stored: the same training, and what is refused."""

import inspect
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import slotlab
from slotlab.framework.api.feature_packing import pack_features, verify_feature_stores
from slotlab.framework.cli.print_stores import print_packed_features
from slotlab.framework.contracts import Batch, StorableTarget, TakesFeatures, TakesTargets
from slotlab.framework.data.store import feature_pack
from slotlab.framework.data.store.features import FeatureStore
from slotlab.framework.evaluation.conditions import own_condition
from slotlab.framework.jobs.evaluate import run_evaluations
from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.model.build import build_model
from slotlab.framework.model.feature_stores import difference
from slotlab.framework.model.half_targets import number_of
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.errors import SpecError
from slotlab.framework.spec.identity import run_id
from slotlab.registry import SlotlabError

CPU = torch.device("cpu")
CODECS = {
    "vqvae": {"name": "vqvae", "width": 4, "multipliers": [1, 2], "blocks": 1, "codes": 8, "norm_groups": 2},
    "dvae": {"name": "dvae", "width": 4, "codes": 8},
}
UNET = {"name": "latent_diffusion", "width": 8, "multipliers": [1, 2], "blocks": 1, "attention_at": [1, 2], "head_width": 4, "norm_groups": 2, "sampling": {"steps": 3}}  # fmt: skip
TRANSFORMER = {
    "name": "autoregressive",
    "blocks": "slate",
    "layers": 1,
    "heads": 2,
    "width": 8,
    "dropout": 0.1,
}
FAMILIES = {
    "latents": (UNET, "latent_noise", "vqvae"),
    "tokens": (TRANSFORMER, "token_cross_entropy", "dvae"),
}
BOTH = pytest.mark.parametrize("family", FAMILIES)


def data_of(place: Path) -> dict[str, Any]:
    """8 and 4 pictures, in batches of 4 throughout: a convolution may sum one picture alone in another way."""
    return {
        "dataset": {
            "name": "image_folder",
            "images": str(place / "tree" / "images"),
            "masks": str(place / "tree" / "masks"),
        },
        "protocol": {
            "name": "whole",
            "image_size": 8,
            "splits": {"train": [0.0, 0.67], "val": [0.67, 1.0]},
        },
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures with masks, and of two runs of each codec."""
    folder = tmp_path_factory.mktemp("targets")
    stream = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / "tree" / name).mkdir(parents=True)
        for index in range(12):
            shape = (8, 8, 3) if name == "images" else (8, 8)
            pixels = stream.integers(0, 256 if name == "images" else 3, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "tree" / name / f"{index:02}.png")
    for name, codec in CODECS.items():
        content = {
            "format": 1,
            "name": name,
            "data": data_of(folder),
            "model": {"name": "codec", "codec": codec},
            "training": {"batch_size": 4, "phases": [{"steps": 2, "lr": 0.01}]},
            "evaluation": {"metrics": ["mse"]},
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
        for seed in (0, 1):
            run = folder / "runs" / f"{name}{seed}"
            slotlab.train(folder / f"{name}.yaml", {"seed": seed}, run=run, device="cpu", evaluate=False)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder; stores go there too."""
    monkeypatch.setenv("SLOTLAB_STORES", str(tmp_path / "stores"))
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def spec_file(place: Path, family: str = "tokens", **data: Any) -> str:
    decoder, objective, codec = FAMILIES[family]
    source = {"run": str(place / "runs" / f"{codec}0")}
    content = {
        "format": 1,
        "name": "stored",
        "data": {**data_of(place), "targets": "half", **data},
        "model": {
            "slots": 3,
            "slot_dim": 8,
            "encoder": {"name": "cnn", "channels": [8], "strides": [2]},
            "initializer": "gaussian",
            "grouping": {"name": "slot_attention", "iterations": 1},
            "decoder": decoder,
        },
        "objective": {"name": objective, "codec": {"name": "trained", "source": source}},
        "training": {"batch_size": 4, "log_every": 1, "phases": [{"steps": 7, "lr": 0.01}]},
        "evaluation": {"batch_size": 4, "metrics": ["fg_ari"], "baselines": [], "split": "val", "mask_source": "attention"},
    }  # fmt: skip
    (place / "spec.yaml").write_text(yaml.safe_dump(content))
    return str(place / "spec.yaml")


def pack(spec: str, **options: Any) -> list[dict[str, Any]]:
    stores: list[dict[str, Any]] = pack_features(spec, kinds=("targets",), device="cpu", **options)["stores"]
    return stores


def trained(spec: str, folder: Path, *sets: str, warn: Callable[[str], None] = print) -> RunFolder:
    loaded = prepare(spec, sets=sets).loaded
    return run_training(loaded, folder, device=CPU, report=lambda progress: None, warn=warn)


def same(one: RunFolder, other: RunFolder) -> bool:
    curves = [[(line["kind"], line["step"], line["loss"]) for line in run.read_log()] for run in (one, other)]
    ours, theirs = (dict(run.load_weights("last").model) for run in (one, other))
    return curves[0] == curves[1] and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def stored(run: RunFolder) -> list[Any]:
    data = run.read_provenance()["data"]
    return [data[split]["targets"]["store"] for split in ("train", "evaluation")]


def refusal(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    with pytest.raises(SlotlabError) as caught:
        call(*arguments, **options)
    return "\n".join(caught.value.lines())


# --- the same training ---------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(("flip", "precision"), [(False, "float32"), (True, "bfloat16")])
def test_a_training_from_a_store_is_that_without_one(
    place: Path, family: str, flip: bool, precision: str
) -> None:
    spec = spec_file(place, family, augmentation={"flip": flip})
    sets = (f"training.precision={precision}",)
    [facts] = pack(spec)
    assert facts["mirrored"] == flip
    assert facts["type"] == {"latents": "float16", "tokens": "int16"}[family]
    assert "-all-targets-" in facts["path"]
    computed = trained(spec, place / "computed", *sets, "data.feature_store=off")
    read = trained(spec, place / "read", *sets, "data.feature_store=required")
    assert same(read, computed)
    assert stored(computed) == [None, None]
    assert [store["checksum"] for store in stored(read)] == [facts["checksum"]] * 2
    full = trained(spec, place / "full", *sets, "data.targets=full")
    if family == "latents":  # rounding changes weights: it is part of the identity
        assert not same(full, computed)
    elif precision == "float32":  # tokens are not rounded
        assert same(full, computed)


@BOTH
def test_mirrored_targets_are_those_of_mirrored_pictures(place: Path, family: str) -> None:
    spec = spec_file(place, family, augmentation={"flip": True})
    [facts] = pack(spec)
    store = FeatureStore.open(Path(facts["path"]))
    plain, mirrored = (store.batch([3], CPU, torch.tensor([flip])) for flip in (False, True))
    assert not torch.equal(plain, mirrored)
    unflipped = trained(spec, place / "run", "data.augmentation.flip=false", "data.feature_store=required")
    assert (
        stored(unflipped)[0]["checksum"] == facts["checksum"]
    )  # the store with mirrored pictures serves both


@BOTH
def test_the_codec_is_not_run_in_a_step(place: Path, family: str) -> None:
    model = build_model(prepare(spec_file(place, family)).loaded.spec)
    images_BCHW, stream = torch.rand(2, 3, 8, 8), torch.Generator().manual_seed(0)
    target_BCHW = model.target(images_BCHW, model.encode(images_BCHW, generator=stream))
    model.objective.target = lambda *_: pytest.fail("called")
    batch = Batch(images_BCHW=images_BCHW, masks_BHW=None, ids=("0", "1"), target_BCHW=target_BCHW)
    assert model.losses(batch, generator=stream).total.isfinite()
    one = batch.at(slice(1, 2)).target_BCHW
    assert one is not None
    assert torch.equal(one, target_BCHW[1:])


def test_features_and_targets_are_stored_side_by_side(place: Path) -> None:
    encoder = {"name": "timm", "model": "test_vit", "frozen": True}
    spec = spec_file(place, features="half")
    sets = [f"model.encoder={json.dumps(encoder)}", "data.protocol.image_size=16"]
    content = yaml.safe_load((place / "dvae.yaml").read_text())
    content["data"]["protocol"]["image_size"] = 16
    (place / "dvae.yaml").write_text(yaml.safe_dump(content))
    slotlab.train(place / "dvae.yaml", run=place / "runs" / "large", device="cpu", evaluate=False)
    sets += [f"objective.codec.source.run={place / 'runs' / 'large'}", "model.projection.position=none"]
    found = pack_features(spec, kinds=("features", "targets"), sets=sets, device="cpu")["stores"]
    assert [store["kind"] for store in found] == ["features", "targets"]
    read = trained(spec, place / "read", *sets, "data.feature_store=required")
    facts = read.read_provenance()["data"]["train"]
    assert [facts[one["kind"]]["store"]["checksum"] for one in found] == [one["checksum"] for one in found]
    assert same(read, trained(spec, place / "computed", *sets, "data.feature_store=off"))


def test_targets_are_part_of_the_identity_and_the_store_is_not(place: Path) -> None:
    spec = spec_file(place)

    def identity(*sets: str) -> str:
        return run_id(prepare(spec, sets=sets).loaded.spec)

    half = identity()
    assert identity("data.feature_store=required") == identity("data.feature_store=off") == half
    assert identity("data.targets=full") != half


def test_an_evaluation_needs_no_targets(place: Path) -> None:
    spec = spec_file(place, "latents")
    pack(spec)
    run = trained(spec, place / "run", "data.feature_store=required")
    shutil.rmtree(place / "stores")
    loaded = prepare(spec, sets=("data.feature_store=required",)).loaded
    run_evaluations(run, loaded, [own_condition(loaded)], device=CPU, figures=False)


# --- which store fits -----------------------------------------------------------------------


def test_the_key_changes_with_whatever_decides_about_targets(place: Path) -> None:
    spec = spec_file(place)

    def path(*sets: str) -> str:
        return str(pack(spec, sets=sets)[0]["path"])

    paths = [
        path(),
        path(f"objective.codec.source.run={place / 'runs' / 'dvae1'}"),
        path("data.protocol.crop=6"),
        path("data.augmentation.flip=true"),
    ]
    unlike = ("seed=1", "training.batch_size=5", "model.slots=4", "objective.reduction=sum")
    assert {path(change) for change in unlike} == {paths[0]}
    Image.new("RGB", (8, 8)).save(place / "tree" / "images" / "03.png")
    paths.append(path())
    assert len(set(paths)) == len(paths)


@BOTH
def test_a_store_of_another_codec_is_told_and_not_read(place: Path, family: str) -> None:
    spec = spec_file(place, family)
    [facts] = pack(spec)
    other = f"objective.codec.source.run={place / 'runs' / FAMILIES[family][2]}1"
    said: list[str] = []
    run = trained(spec, place / "told", other, warn=said.append)
    assert stored(run) == [None, None]
    text = f"{facts['path']} holds targets of other settings of the objective and other weights"
    assert (
        f"{text}; pack them with 'slotlab data pack SPEC --targets': targets are computed at each step"
        in said
    )
    with pytest.raises(SpecError) as caught:
        trained(spec, place / "refused", other, "data.feature_store=required")
    assert text in str(caught.value)
    [problem] = caught.value.problems
    assert problem.path == ("data", "feature_store")


def test_a_missing_store_is_refused_only_where_it_is_required(place: Path) -> None:
    spec = spec_file(place)
    text = refusal(trained, spec, place / "refused", "data.feature_store=required")
    assert "there is no store of these targets in" in text
    assert "slotlab data pack SPEC --targets" in text
    assert stored(trained(spec, place / "run")) == [None, None]
    text = refusal(verify_feature_stores, spec, kinds=("targets",))
    assert "there is no store of these targets of image_folder all" in text


@BOTH
def test_a_wrong_store_never_trains(place: Path, family: str) -> None:
    spec = spec_file(place, family, augmentation={"flip": True})
    path = Path(pack(spec)[0]["path"])
    for name in ("targets.npy", "mirrored.npy"):
        array = np.load(path / name, mmap_mode="r+")
        right = array.copy()
        array[:] = (right + 1) % 8
        array.flush()
        text = refusal(trained, spec, place / "refused")
        assert f"{path} does not hold what the objective makes of" in text
        assert ("mirrored" in text) == (name == "mirrored.npy")
        array[:] = right
        array.flush()


def test_few_classes_may_be_others_on_another_device() -> None:
    made_BCHW = torch.zeros(2, 1, 16, 16, dtype=torch.int64)
    stored_BCHW = made_BCHW.clone()
    stored_BCHW.view(-1)[:8] = 1
    assert difference(made_BCHW, stored_BCHW) is None
    stored_BCHW.view(-1)[8] = 1
    assert difference(made_BCHW, stored_BCHW) == "9 of 512 classes differ"


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text", "where"),
    [
        (["objective=pixel_mse", "model.decoder={name: spatial_broadcast, broadcast_size: 4, channels: [4]}"], "the objective 'pixel_mse' does not say that its target may be stored", "targets"),
        (["data.augmentation.crop=0.5"], "every random crop is another picture", "crop"),
        (["data.protocol.fit=cover", "data.augmentation.window=random"], "every random window is another picture", "window"),
        (["data.targets=full", "data.feature_store=required"], "write 'features: half' or 'targets: half'", "feature_store"),
    ],
)  # fmt: skip
def test_what_cannot_be_stored_is_refused(place: Path, changes: list[str], text: str, where: str) -> None:
    with pytest.raises(SpecError) as caught:
        prepare(spec_file(place), sets=changes)
    assert text in str(caught.value)
    assert [problem.path[-1] for problem in caught.value.problems if text in problem.text] == [where]
    assert text in refusal(pack, str(place / "spec.yaml"), sets=changes)


def test_a_codec_that_is_trained_has_nothing_to_pack(place: Path) -> None:
    spec = spec_file(place)
    content = yaml.safe_load(Path(spec).read_text())
    del content["objective"], content["model"]["encoder"]
    content["model"] |= {"name": "slate", "codec": CODECS["dvae"], "decoder": TRANSFORMER}
    Path(spec).write_text(yaml.safe_dump(content))
    text = "the model 'slate' takes no stored targets: only an objective with a codec that was trained before"
    with pytest.raises(SpecError) as caught:
        prepare(spec)
    assert text in str(caught.value)
    assert [problem.path for problem in caught.value.problems] == [("data", "targets")]
    assert f"there are no targets to pack: {text}" in refusal(pack, spec, sets=["data.targets=full"])


def test_only_specs_with_half_targets_are_packed(place: Path) -> None:
    assert "targets are those of a spec's objective; give a spec, not data" in refusal(
        pack, str(place / "tree")
    )
    text = refusal(pack, spec_file(place), sets=["data.targets=full"])
    assert "data.targets is full; write 'targets: half' there" in text
    endless = ["data.dataset={name: scenes, endless: true}"]
    assert "every epoch shows new pictures, whose targets" in refusal(pack, spec_file(place), sets=endless)
    required = [*endless, "data.feature_store=required"]
    assert "whose targets no store can hold" in refusal(trained, spec_file(place), place / "run", *required)


def test_children_are_no_members_of_protocols(place: Path) -> None:
    """From Python 3.12 on isinstance looks for members statically, and does not find torch's children."""
    model = build_model(prepare(spec_file(place)).loaded.spec)
    asked = [(model, TakesFeatures), (model, TakesTargets), (model.objective, StorableTarget)]
    for one, protocol in asked:
        names = [name for name in vars(protocol) if not name.startswith("_")]
        assert names
        assert all(inspect.getattr_static(one, name, None) is not None for name in names)


def test_tokens_are_stored_in_as_few_bits_as_hold_them() -> None:
    class Objective:
        def __init__(self, classes: int | None):
            self.target_shape = slotlab.contracts.TargetShape(1, (2, 2), classes=classes)

    found = [number_of(Objective(classes)) for classes in (None, 2**15, 2**15 + 1)]  # type: ignore[arg-type]
    assert found == ["<f2", "<i2", "<i4"]


def test_classes_that_do_not_exist_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_file(place)
    whole = feature_pack.FeaturePacking._check
    monkeypatch.setattr(feature_pack.FeaturePacking, "_check", lambda self, made: whole(self, made - 8))
    assert "the objective makes targets that are classes that do not exist" in refusal(pack, spec)


# --- files ------------------------------------------------------------------------------------


@BOTH
def test_a_store_is_printed_and_verified(
    place: Path, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = spec_file(place, family)
    result = pack_features(spec, kinds=("targets",), device="cpu")
    [facts] = json.loads(json.dumps(result))["stores"]
    capsys.readouterr()
    print_packed_features(result)
    path, rows = facts["path"], facts["grid"][0]
    values = {"latents": f"{facts['channels']} channels", "tokens": "classes (int16)"}[family]
    first = f"image_folder all: targets of 12 images, {values} at {rows}x{rows} positions, "
    assert capsys.readouterr().out.startswith(first)
    verified = verify_feature_stores(spec, kinds=("targets",))
    assert verified == verify_feature_stores(path)
    assert verified["stores"][0]["problems"] == []
    array = np.load(Path(path) / "targets.npy", mmap_mode="r+")
    array[4, 0, 0, 0] += 1
    array.flush()
    assert verify_feature_stores(path)["stores"][0]["problems"] == [f"{path}: item 4 is not what was packed"]


def test_the_commands_pack_and_verify_what_they_are_told(
    place: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    spec = spec_file(place)
    assert command("data", "pack", spec, "--targets", "--device=cpu") == 0
    assert (
        "image_folder all: targets of 12 images, classes (int16) at 2x2 positions" in capsys.readouterr().out
    )
    [path] = (place / "stores").iterdir()
    for words in ((path,), (spec, "--targets")):
        assert command("data", "verify", *words) == 0
        assert f"{path}: intact, 12 images" in capsys.readouterr().out
    assert command("data", "pack", spec, "--targets", "--features") == 1
    assert "data.features is full; write 'features: half' there" in capsys.readouterr().err
    assert command("data", "pack", spec, "--targets", "--workers=2") == 1
    assert "--workers: targets are packed in one process" in capsys.readouterr().err


def test_a_damaged_store_is_refused(place: Path) -> None:
    spec = spec_file(place)
    path = Path(pack(spec)[0]["path"])
    manifest = path / "targets.json"
    content = manifest.read_text()
    manifest.write_text(content.replace('"number": "<i2"', '"number": "<f2"'))
    assert "was changed after it was written" in refusal(trained, spec, place / "run")
    manifest.rename(path / "features.json")
    assert "was changed after it was written" in refusal(FeatureStore.open, path)
    (path / "features.json").rename(manifest)
    manifest.write_text(content)
    os.truncate(path / "targets.npy", 130)
    assert "has 130 bytes" in refusal(trained, spec, place / "run")


def pack_and_die(spec: str) -> None:
    whole, written = feature_pack.Journaled.add, 0

    def add(partial: Any, lines: Any) -> None:
        nonlocal written
        if written == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        written += 1
        whole(partial, lines)

    feature_pack.Journaled.add = add  # type: ignore[method-assign]
    pack(spec)


def test_a_killed_packing_goes_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = spec_file(place)
    process = multiprocessing.get_context("fork").Process(target=pack_and_die, args=(spec,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    [left] = (place / "stores").iterdir()
    assert left.name.endswith(".partial")
    capsys.readouterr()
    [facts] = pack(spec)
    assert "going on where packing stopped: 8 of 12 pictures are there" in capsys.readouterr().err
    assert [path.name for path in (place / "stores").iterdir()] == [Path(facts["path"]).name]
    read = trained(spec, place / "read", "data.feature_store=required")
    assert same(read, trained(spec, place / "computed", "data.feature_store=off"))
