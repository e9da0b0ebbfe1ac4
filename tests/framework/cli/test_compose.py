"""`slotlab compose` as a person uses it, on a small trained run; and the whole protocol of the seed's report."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from slotlab.framework.composition import Composer
from slotlab.framework.composition.album import ON_SHEET, AlbumPicture, writing
from slotlab.registry import SlotlabError

Slotlab = Callable[..., tuple[int, str, str]]
SPEC = """
format: 1
name: small
data:
  dataset:
    {name: scenes, num_train: 40, num_val: 12, min_objects: 1, max_objects: 2, textures: [plain], ground_textures: [plain]}
  protocol: {name: seed, image_size: 16}
model:
  slots: 3
  slot_dim: 16
  encoder: {name: cnn, channels: [8, 8], strides: [1, 2]}
  initializer: learnable
  grouping: slot_attention
  decoder: {name: spatial_broadcast, broadcast_size: 8, channels: [8], kernel_size: 3}
training:
  batch_size: 8
  phases: [{steps: 30, lr: 2e-3}]
evaluation:
  metrics: [ari, fg_ari, mse]
  composition: {library: val, set_metrics: [{name: frechet_torchscript, weights: net.pt, size: 16}, fid]}
"""


@pytest.fixture(scope="module")
def run(command: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained and evaluated by the command, Inception's file being nowhere."""
    folder = tmp_path_factory.mktemp("composing")
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Sequential(*layers)), str(folder / "net.pt"))
    (folder / "spec.yaml").write_text(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("slotlab.framework.metrics.image_sets.extractors.inception_folder", lambda: folder)
        assert command("train", folder / "spec.yaml", "--run", folder / "run") == 0
    return folder / "run"


def record_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "composition.json").read_text())
    return found


def pixels(path: Path) -> Any:
    return np.asarray(Image.open(path))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_seeds_protocol_from_end_to_end(run: Path, slotlab: Slotlab) -> None:
    [folder] = (run / "evaluation").iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    ari = summary["methods"]["model"]["ari"]
    assert ari["count"] == summary["images"] == 12
    assert -0.5 <= ari["mean"] <= ari["max"] <= 1
    best = run / "figures" / f"best-{folder.name}.png"
    assert best.stat().st_size > 5000, "the five best images"
    found = summary["set_metrics"]["frechet_torchscript"]
    assert found["version"] == "1"
    assert (found["images"], found["real_images"]) == (12, 12)
    assert found["extractor"] == "torchscript net.pt"
    assert found["value"] > 0
    assert found["floor"]["value"] > 0
    assert (found["floor"]["images"], found["floor"]["real_images"]) == (6, 6)
    assert found["composition"]["library"] == {"split": "val", "images": 12, "of": 12}
    assert sum(found["composition"]["clusters"]["sizes"]) == 12 * 3
    assert list(summary["set_metrics"]) == ["frechet_torchscript"]
    assert summary["left_out"]["fid"].startswith(
        "there is no …/inception-2015-12-05.pt; get the file from https://"
    )

    code, out, _ = slotlab("compose", run)
    made = run / "compositions" / "sample-val-seed0"
    assert code == 0
    assert "frechet_torchscript" in out
    assert f"folder: {made}" in out
    record = record_of(made)
    files = [picture["file"] for picture in record["pictures"]]
    assert files == [f"{number:06d}.png" for number in range(12)]
    assert all(pixels(made / file).shape == (16, 16, 3) for file in files)
    assert record["set_metrics"]["frechet_torchscript"]["value"] == found["value"]
    assert "fid" in record["left_out"]
    assert len(list((run / "cache" / "set_features").iterdir())) == 1


def test_the_same_command_writes_the_same_bytes(run: Path, slotlab: Slotlab, tmp_path: Path) -> None:
    words = (
        "compose",
        run,
        "--count",
        7,
        "--seed",
        3,
        "--metric",
        "{name: frechet_torchscript, weights: N, size: 16}",
    )
    words = (*words[:-1], words[-1].replace("N", str(run.parent / "net.pt")))
    for name in ("a", "b", "a"):
        assert slotlab(*words, "--out", tmp_path / name)[0] == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert {file.name for file in tmp_path.iterdir()} == {"a", "b"}, "nothing is left beside them"
    slotlab(
        "compose",
        run,
        "--count",
        3,
        "--seed",
        3,
        "--out",
        tmp_path / "few",
        "--set",
        "evaluation.batch_size=2",
    )
    for number in range(3):
        few, many = (pixels(tmp_path / name / f"{number:06d}.png").astype(int) for name in ("few", "a"))
        assert abs(few - many).max() <= 1
    slotlab("compose", run, "--count", 7, "--seed", 4, "--out", tmp_path / "other")
    assert contents(tmp_path / "other")["000000.png"] != contents(tmp_path / "a")["000000.png"]


def test_a_library_of_the_training_split(run: Path, slotlab: Slotlab) -> None:
    _, text, _ = slotlab("compose", run, "--library", "train", "--count", 2, "--clusters", 5, "--json", "-")
    result = json.loads(text)
    assert result["library"] == {"split": "train", "images": 40, "of": 40}
    assert len(result["clusters"]["sizes"]) == 5
    assert result["folder"] == f"{run}/compositions/sample-train-seed0"
    assert result["set_metrics"]["frechet_torchscript"]["images"] == 2


def test_slots_are_shown_one_by_one(run: Path, slotlab: Slotlab) -> None:
    assert slotlab("compose", run, "--mode", "slots", "--image", 4, "--image", 7)[0] == 0
    folder = run / "compositions" / "slots-val-4_7"
    names = ["image", "reconstruction"]
    names += [f"{what}{k}" for k in range(3) for what in ("mask", "part", "slot")]
    record = record_of(folder)
    assert [p["file"] for p in record["pictures"]] == [
        f"{row}-{n}.png" for row in ("000", "001") for n in names
    ]
    assert record["notes"] == []
    seen = Composer.open(run, device=torch.device("cpu")).look("val", [7])
    shown = torch.from_numpy(pixels(folder / "001-image.png").copy()).permute(2, 0, 1)
    assert torch.equal(((seen.batch.images_BCHW[0] + 1) * 127.5).round().to(torch.uint8), shown)
    masks = sum(pixels(folder / f"000-mask{k}.png").astype(int) for k in range(3))
    assert abs(masks - 255).max() <= 3


def test_mixing_all_of_a_is_its_reconstruction(run: Path, slotlab: Slotlab) -> None:
    slotlab("compose", run, "--mode", "slots", "--image", 4)
    words = ("--mode", "mix", "--image", 4, "--image", 7, "--slot", 2, "--slot", 0, "--slot", 1)
    assert slotlab("compose", run, *words)[0] == 0
    mixed, alone = run / "compositions" / "mix-val-4_7", run / "compositions" / "slots-val-4"
    difference = pixels(mixed / "000-mix.png").astype(int) - pixels(alone / "000-reconstruction.png")
    assert abs(difference).max() <= 1
    assert record_of(mixed)["pictures"][2] == {
        "file": "000-mix.png",
        "split": "val",
        "images": [4, 7],
        "slots": [[2, 0, 1], []],
    }


def test_random_rows_do_not_depend_on_their_number(run: Path, slotlab: Slotlab, tmp_path: Path) -> None:
    for mode in ("mix", "interpolate", "remove", "duplicate", "slots"):
        for count in (1, 3):
            words = ("--mode", mode, "--count", count, "--out", tmp_path / f"{mode}{count}")
            assert slotlab("compose", run, *words)[0] == 0
        one, three = contents(tmp_path / f"{mode}1"), contents(tmp_path / f"{mode}3")
        first = [name for name in three if name.startswith("000")]
        assert first
        assert all(one[name] == three[name] for name in first)
        assert sum(name.startswith("002") for name in three) == len(first)


def test_an_interpolation_starts_at_the_image(run: Path, slotlab: Slotlab) -> None:
    words = ("--mode", "interpolate", "--image", 4, "--image", 7, "--slot", 1, "--slot-b", 2, "--steps", 3)
    assert slotlab("compose", run, *words)[0] == 0
    slotlab("compose", run, "--mode", "slots", "--image", 4)
    slotlab(
        "compose", run, "--mode", "mix", "--image", 4, "--image", 7, "--slot", 0, "--slot-b", 2, "--slot", 2
    )
    made = run / "compositions"
    start = pixels(made / "interpolate-val-4_7" / "000-step0.png")
    assert np.array_equal(start, pixels(made / "slots-val-4" / "000-reconstruction.png"))
    end = pixels(made / "interpolate-val-4_7" / "000-step2.png").astype(int)
    assert abs(end - pixels(made / "mix-val-4_7" / "000-mix.png")).max() <= 1
    weights = [p.get("weight") for p in record_of(made / "interpolate-val-4_7")["pictures"]]
    assert weights == [None, None, 0.0, 0.5, 1.0]


def test_removal_and_duplication(run: Path, slotlab: Slotlab) -> None:
    assert slotlab("compose", run, "--mode", "remove", "--image", 4, "--slot", 1, "--slot", 2)[0] == 0
    removed = run / "compositions" / "remove-val-4"
    assert record_of(removed)["pictures"][-1] == {
        "file": "000-without1_2.png",
        "split": "val",
        "image": 4,
        "removed": [1, 2],
    }
    assert slotlab("compose", run, "--mode", "duplicate", "--image", 4, "--slot", 1)[0] == 0
    added = record_of(run / "compositions" / "duplicate-val-4")["pictures"][-1]
    assert (added["images"], added["slot"]) == ([4, 4], 1)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["--mode", "mixx"],
            "there is no mode 'mixx'; did you mean 'mix'? (modes: slots, mix, interpolate, remove, duplicate, draws, denoise, sample, shift)",
        ),
        (["--image", 3], "--image goes with modes that take images, not with --mode sample"),
        (["--mode", "mix", "--metric", "fid"], "--metric goes with --mode sample, not with --mode mix"),
        (["--steps", 7], "--steps goes with --mode interpolate, draws or denoise, not with --mode sample"),
        (
            ["--mode", "shift", "--count", 3],
            "--count goes with --mode sample, not with --mode shift: every slot of the library is used once, in groups of neighboring images",
        ),
        (
            ["--mode", "shift", "--clusters", 3],
            "--clusters goes with --mode sample, not with --mode shift: every slot of the library is used once, in groups of neighboring images",
        ),
        (["--mode", "draws", "--image", 1, "--slot", 0], "--mode draws shows every slot; leave --slot out"),
        (
            ["--mode", "mix", "--steps", 3],
            "--steps goes with --mode interpolate, draws or denoise, not with --mode mix",
        ),
        (["--mode", "mix", "--clusters", 3], "--clusters goes with --mode sample, not with --mode mix"),
        (
            ["--mode", "slots", "--image", 3, "--count", 2],
            (
                "--count goes without --image: it is the number of rows from random images, and --image names "
                "the images; leave one of them out"
            ),
        ),
        (["--mode", "mix", "--image", 3], "--mode mix takes two images, not 1"),
        (["--mode", "duplicate", *["--image", 3] * 3], "--mode duplicate takes one or two images, not 3"),
        (["--mode", "remove", "--slot", 1], "--slot numbers the slots of one image; say which with --image"),
        (["--mode", "slots", "--image", 1, "--slot", 1], "--mode slots shows every slot; leave --slot out"),
        (
            ["--mode", "remove", "--image", 1, "--slot-b", 1],
            "--mode remove takes no slots of a second image; leave --slot-b out",
        ),
        (
            ["--mode", "duplicate", "--image", 1, "--slot", 1, "--slot", 2],
            "--mode duplicate takes one slot of an image; --slot is given more than once",
        ),
        (["--mode", "remove", "--image", 1, "--slot", 9], "there is no slot 9: the slots are 0 to 2"),
        (["--mode", "slots", "--image", 99], "split 'val' has no image 99: they are 0 to 11"),
        (
            ["--mode", "slots", "--split", "tarin"],
            "'scenes' has no split 'tarin'; did you mean 'train'? (splits: train, val, test)",
        ),
        (
            ["--set", "model.slots=2"],
            "--set model.slots=2: a trained run takes new settings under evaluation and data only; write evaluation.slots",
        ),
        (
            ["--metric", "frechet"],
            (
                "--metric frechet: evaluation.composition.set_metrics.0: "
                "no set_metric is called 'frechet'; did you mean 'frechet_timm'? "
                "(available: fid, frechet_timm, frechet_torchscript, kid)"
            ),
        ),
        (
            ["--metric", "{name: fid, size: 3}"],
            (
                "--metric {name: fid, size: 3}: evaluation.composition.set_metrics.0.size: unknown key "
                "(keys here: name, weights)"
            ),
        ),
        (
            ["--metric", "kid", "--metric", "kid"],
            "evaluation.composition.set_metrics.1: the set metric 'kid' is given twice; keep one",
        ),
    ],
)
def test_what_cannot_be_composed(run: Path, slotlab: Slotlab, words: list[Any], text: str) -> None:
    code, out, err = slotlab("compose", run, *words)
    assert (code, out) == (1, "")
    assert err == f"error: {text}\n"


def test_more_clusters_than_slots(run: Path, slotlab: Slotlab) -> None:
    code, out, err = slotlab("compose", run, "--clusters", 99)
    assert (code, out) == (1, "")
    text = "error: 36 slots cannot make 99 clusters; take more images or fewer clusters\n"
    assert err.endswith(text), "after the bar of the slots that were found"


def test_a_metric_that_is_asked_for_must_lack_nothing(run: Path, slotlab: Slotlab) -> None:
    metrics = [f"{{name: {name}, weights: {run.parent}}}" for name in ("fid", "kid")]
    code, out, err = slotlab("compose", run, "--metric", metrics[0], "--metric", metrics[1], "--count", 2)
    where = f"there is no {run.parent}/inception-2015-12-05.pt; get the file from "
    place = (
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
    )
    assert (code, out) == (1, "")
    assert err == "".join(f"error: {name}: {where}{place} and put it there\n" for name in ("fid", "kid"))


def test_a_folder_of_something_else_is_left_alone(run: Path, slotlab: Slotlab, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    code, _, err = slotlab("compose", run, "--mode", "slots", "--out", tmp_path)
    assert (code, err) == (
        1,
        f"error: {tmp_path} exists and holds no composed pictures; choose another with --out DIR\n",
    )
    code, _, err = slotlab("compose", run, "--mode", "slots", "--out", tmp_path / "thesis.txt")
    assert code == 1
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_album_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    with writing(tmp_path / "album") as album:
        album.add([AlbumPicture("old", image)])
        album.close({})

    def fail() -> None:
        with writing(tmp_path / "album") as album:
            album.add([AlbumPicture("new", image)])
            raise SlotlabError("no more")

    with pytest.raises(SlotlabError, match="no more"):
        fail()
    assert {file.name for file in (tmp_path / "album").iterdir()} == {
        "old.png",
        "grid.png",
        "composition.json",
    }
    assert [file.name for file in tmp_path.iterdir()] == ["album"]


def test_the_sheet_of_many_samples_has_the_first(tmp_path: Path) -> None:
    for number in (ON_SHEET, ON_SHEET + 30):
        with writing(tmp_path / str(number), columns=10) as album:
            for start in range(0, number, 26):
                shown = range(start, min(start + 26, number))
                album.add([AlbumPicture(str(n), torch.full((3, 4, 4), n, dtype=torch.uint8)) for n in shown])
            album.close({})
    few, many = (pixels(tmp_path / str(number) / "grid.png") for number in (ON_SHEET, ON_SHEET + 30))
    assert np.array_equal(few, many)


def test_a_run_that_is_not_done_is_composed_with_a_warning(
    run: Path, slotlab: Slotlab, tmp_path: Path
) -> None:
    status = run / "status.json"
    before = status.read_text()
    status.write_text('{"state": "stopped", "reason": ""}')
    code, _, err = slotlab("compose", run, "--mode", "slots", "--count", 1, "--out", tmp_path / "a")
    status.write_text(before)
    assert code == 0
    assert err == f"warning: {run}: the run is stopped; its weights are those of its last checkpoint\n"
    assert slotlab("compose", tmp_path / "none") == (1, "", f"error: {tmp_path / 'none'} does not exist\n")
