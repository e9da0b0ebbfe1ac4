"""`data render`: a tree that reads as CLEVRTex does, and goes on where it was stopped."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from slotlab.framework.api.inspecting import inspect_data
from slotlab.framework.api.rendering import render_scenes
from slotlab.framework.cli.print_rendering import print_rendering
from slotlab.framework.contracts import DatasetContext
from slotlab.framework.scenes import NoSceneError, draw_pictures
from slotlab.framework.scenes import export as render_tree
from slotlab.plugins.datasets.clevrtex import CLEVRTexConfig, CLEVRTexDataset
from slotlab.registry import SlotlabError

SMALL: dict[str, Any] = {"size": "64x48", "device": "cpu", "workers": 1}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def complaint(*words: Any, **options: Any) -> str:
    with pytest.raises(SlotlabError) as caught:
        render_scenes(*words, **(SMALL | options))
    return str(caught.value)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tree")
    render_scenes(out, count=10, **SMALL)
    return out


def test_the_tree_reads_as_clevrtex(tree: Path) -> None:
    config = CLEVRTexConfig.model_validate({"root": str(tree), "picture_size": [64, 48]})
    dataset = CLEVRTexDataset(config, DatasetContext(split="all", image_size=(128, 128)))
    assert (len(dataset), list(dataset.problems)) == (10, [])
    for index in range(10):
        sample = dataset[index]
        assert sample.mask_HW is not None
        assert (sample.id, sample.image_CHW.shape) == (f"CLEVRTEX_full_{index:06d}", (3, 48, 64))
        seen = set(np.unique(sample.mask_HW.numpy()).tolist())
        indices = [entry["index"] for entry in sample.attributes["objects"]]
        assert indices == list(range(1, sample.attributes["num_objects"] + 1))
        assert seen - {0} <= set(indices)
        facts = json.loads((tree / f"clevrtex_full/0/{sample.id}.json").read_text())
        assert facts["image_index"] == index
    with Image.open(tree / "clevrtex_full/0/CLEVRTEX_full_000000_depth_0001.png") as depth:
        assert depth.size == (64, 48)
        assert len(np.unique(np.asarray(depth))) > 10


def test_inspecting_it_finds_no_problems(tree: Path) -> None:
    sets = ["data.dataset.picture_size=[64, 48]", "data.protocol.crop=38"]
    result = inspect_data(str(tree), sets=sets, workers=0)
    assert (result["problems"], result["splits"]["all"]["images"]) == ([], 10)


def test_any_order_of_making_gives_the_same_files(tree: Path, tmp_path: Path) -> None:
    render_scenes(tmp_path, count=3, start=7, **SMALL)
    render_scenes(tmp_path, count=4, **SMALL)
    result = render_scenes(tmp_path, count=10, **SMALL)
    assert (result["written"], result["there_before"]) == (3, 7)
    assert files(tmp_path) == files(tree)


def test_only_unfinished_scenes_are_drawn_again(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render_scenes(tmp_path, count=10, **SMALL)
    folder = tmp_path / "clevrtex_full" / "0"
    (folder / "CLEVRTEX_full_000004.json").unlink()
    (folder / "CLEVRTEX_full_000004.png").write_bytes(b"half")
    drawn: list[int] = []

    def watch(*words: Any, **options: Any) -> Any:
        drawn.extend(options["indices"])
        return draw_pictures(*words, **options)

    monkeypatch.setattr(render_tree, "draw_pictures", watch)
    render_scenes(tmp_path, count=10, **SMALL)
    assert drawn == [4]
    assert files(tmp_path) == files(tree)


def test_the_seed_the_variant_and_the_size_decide(tree: Path, tmp_path: Path) -> None:
    found = [files(tree)["clevrtex_full/0/CLEVRTEX_full_000000.png"]]
    changes: list[dict[str, Any]] = [{"seed": 1}, {"variant": "camo"}, {"size": "48x48"}]
    for number, options in enumerate(changes):
        out = tmp_path / str(number)
        render_scenes(out, count=1, **(SMALL | options))
        [path] = out.glob("*/0/*_000000.png")
        found.append(path.read_bytes())
    assert len(set(found)) == 4


def test_a_folder_of_other_settings_is_refused_and_left_as_it_was(tree: Path) -> None:
    before, folder = files(tree), tree / "clevrtex_full"
    assert complaint(tree, seed=7, size="320x240") == (
        f"{folder} holds scenes made with size [64, 48], not [320, 240]; seed 0, not 7; "
        "choose another folder, or the same settings to go on"
    )
    assert files(tree) == before


def test_a_folder_of_other_making_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "clevrtex_full"
    folder.mkdir()
    (folder / "CLEVRTEX_full_000000.png").touch()
    assert complaint(tmp_path) == (
        f"{folder} is not empty and has no render.json: it was not made by this command; choose another folder"
    )
    (folder / "render.json").write_text("{")
    assert complaint(tmp_path) == (
        f"{folder}/render.json cannot be read, so its scenes may be of other settings; choose another folder"
    )


def test_settings_that_are_not_possible(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"variant": "cama"}, "there is no variant 'cama'; did you mean 'camo'? (variants: full, outd, camo, pbg, vbg, grassbg)"),
        ({"size": "320"}, "--size 320: write columns and rows, such as 320x240"),
        ({"size": "320x8"}, "pictures have at least 16x16 pixels, not 320x8"),
        ({"count": 0}, "scenes are numbered from 0 to 999999; 0 from 0 on do not fit"),
        ({"count": 5, "start": 999_996}, "scenes are numbered from 0 to 999999; 5 from 999996 on do not fit"),
        ({"workers": 0}, "--workers 0: write a number of threads, at least 1"),
    ]  # fmt: skip
    for options, text in cases:
        assert complaint(tmp_path, **options) == text
    assert list(tmp_path.iterdir()) == []


def test_a_scene_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*words: Any, **options: Any) -> Any:
        raise NoSceneError(3)

    monkeypatch.setattr(render_tree, "draw_pictures", fail)
    assert complaint(tmp_path, count=4) == (
        "found no scene number 3 whose objects all show; try another --seed or a larger --size"
    )


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_rendering({"folder": "data/clevrtex_camo", "written": 3, "there_before": 2, "size": [64, 48]})
    print_rendering({"folder": "data/clevrtex_camo", "written": 3, "there_before": 0, "size": [320, 240]})
    assert capsys.readouterr().out.splitlines() == [
        "3 scenes written, 2 existed before",
        "folder: data/clevrtex_camo",
        "inspect them: slotlab data inspect data/clevrtex_camo --set 'data.dataset.picture_size=[64, 48]'",
        "3 scenes written",
        "folder: data/clevrtex_camo",
        "inspect them: slotlab data inspect data/clevrtex_camo",
    ]


@pytest.mark.gpu
def test_a_gpu_makes_the_same_scenes(tree: Path, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    render_scenes(tmp_path, count=10, **(SMALL | {"device": "cuda"}))
    for path in sorted(tree.rglob("*_flat.png")):
        with Image.open(path) as mask, Image.open(tmp_path / path.relative_to(tree)) as other:
            assert (np.asarray(mask) == np.asarray(other)).mean() > 0.99
