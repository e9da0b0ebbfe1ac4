"""`data inspect` as a person uses it: tables, JSON-ready results, mistakes in full."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slotlab.framework.api.inspecting import inspect_data
from slotlab.framework.api.packing import pack_target
from slotlab.framework.cli.print_inspection import print_inspection
from slotlab.registry import SlotlabError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures with masks of one to five objects; the last picture is broken."""
    for name in ("images", "masks"):
        (tmp_path / "mine" / name).mkdir(parents=True)
    for number in range(1, 6):
        mask = np.zeros((20, 30), np.uint8)
        mask[2, 2 : 2 + 4 * number : 4] = range(1, number + 1)
        Image.fromarray(mask).save(tmp_path / "mine/masks" / f"{number}.png")
        Image.new("RGB", (30, 20), (255, 0, 51)).save(tmp_path / "mine/images" / f"{number}.png")
    (tmp_path / "mine/images/5.png").write_bytes(b"no")
    return tmp_path / "mine"


def test_what_is_printed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = inspect_data(str(folder), sheet=tmp_path / "sheet.png", workers=0)
    out, err = capsys.readouterr()
    assert out == ""
    assert "5/5" in err
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    part = result["splits"]["all"]
    print_inspection(result)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "image_folder under protocol whole",
        "images of 128x128 pixels; any number of objects",
        "listed: train 4, val 1, test 0, all 5",
        "                      all",
        "images                5",
        "broken                1",
        "image sizes           30x20",
        "most labels per mask  5",
        "mean, red             1.000000",
        "mean, green           0.000000",
        "mean, blue            0.200000",
        "std, red              0.000000",
        "std, green            0.000000",
        "std, blue             0.000000",
        f"checksum              {part['checksum']}",
        f"fingerprint           {part['fingerprint']}",
        "",
        "objects in all",
        "number of objects  1  2  3  4  unknown",
        "in the metadata    -  -  -  -  4",
        "in the mask        1  1  1  1  -",
        "visible            1  1  1  1  -",
        "caution: the split 'test' is empty",
        f"contact sheet: {tmp_path}/sheet.png",
        f"problem: {folder}/images/5.png: cannot be read: it is no picture of a known kind",
        "1 problem found; 1 caution above",
    ]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 4 * 128


def test_problems_of_one_kind_are_folded(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = inspect_data(str(folder), workers=0)
    many = [
        {"path": f"d/scene_{n}.png", "reason": f"scene_{n}.png has {n} labels for 'l{n}'"} for n in range(40)
    ]
    few = [{"path": f"d/{name}.png", "reason": "has no mask beside it"} for name in "abcd"]
    capsys.readouterr()
    print_inspection({**result, "problems": [many[0], *few, *many[1:]]})
    out = capsys.readouterr().out
    assert out[out.index("problem:") :].splitlines() == [
        *(f"problem: {one['path']}: {one['reason']}" for one in many[:3]),
        "... and 37 more like it: scene_3.png, scene_4.png, scene_5.png, ...",
        *(f"problem: {one['path']}: {one['reason']}" for one in few[:3]),
        "... and 1 more like it: d.png",
        "(--json lists all)",
        "44 problems found; 1 caution above",
    ]


def test_several_sizes_and_splits_without_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        for side in (10, 11, 12, 13, 13):
            name = f"{len(list((tmp_path / split).iterdir()))}.png"
            Image.new("RGB", (side, 9)).save(tmp_path / split / name)
    print_inspection(inspect_data(str(tmp_path), workers=0))
    out = capsys.readouterr().out
    assert "2 x 13x9, 1 x 10x9, 1 x 11x9, 1 more" in out
    assert "objects in train" in out
    assert out.endswith("no problems found\n")


def test_videos_are_counted_in_each_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for video, frames in enumerate((3, 2, 2, 2)):
        (tmp_path / "clips" / f"v{video}").mkdir(parents=True)
        for frame in range(frames):
            Image.new("RGB", (9, 9)).save(tmp_path / "clips" / f"v{video}" / f"{frame}.png")
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "extends: slotlab:savi_demo\nname: clips\nevaluation: {metrics: [mse]}\n"
        f"data: {{dataset: {{name: frame_folders, root: {tmp_path}/clips}}, "
        "protocol: {name: whole, splits: {train: [0.0, 0.5], val: [0.5, 1.0]}}}\n"
    )
    result = inspect_data(str(spec), split="train", workers=0)
    assert json.loads(json.dumps(result)) == result
    assert result["splits"]["train"]["videos"] == {"count": 2, "frames": [2, 3]}
    print_inspection(result)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert "videos: train 2 of 2 to 3 frames, val 2 of 2 frames" in lines
    assert "videos                2 of 2 to 3 frames" in lines


def test_a_packed_store(folder: Path, tmp_path: Path) -> None:
    pack_target(str(folder), stores=tmp_path / "stores", on_error="skip", workers=0)
    [store] = (tmp_path / "stores").iterdir()
    found, files = inspect_data(str(store), workers=0), inspect_data(str(folder), workers=0)
    assert found["splits"]["all"]["checksum"] == files["splits"]["all"]["checksum"]
    assert found["problems"] == files["problems"]
    with pytest.raises(SlotlabError) as caught:
        inspect_data(str(store), split="val")
    assert str(caught.value) == f"{store} is a packed store: --protocol, --split and --set do not apply to it"


def test_mistakes(folder: Path) -> None:
    with pytest.raises(SlotlabError) as caught:
        inspect_data(str(folder), sets=[f"data.dataset.masks={folder}/gone"], workers=0)
    assert str(caught.value) == (
        f"{folder}: data.dataset.masks: image_folder: there is no folder {folder}/gone; "
        "give one with pictures in it"
    )
    with pytest.raises(SlotlabError) as caught:
        inspect_data(str(folder), workers=-1)
    assert str(caught.value) == "--workers -1: write a number of processes; 0 reads without any"
