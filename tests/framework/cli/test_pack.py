"""`data pack` and `data verify`: what they find, what they print, what they refuse."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slotlab.framework.api.packing import pack_target, verify_store
from slotlab.framework.cli.print_stores import print_packed, print_verified
from slotlab.framework.contracts import DataError
from slotlab.framework.data.store.reader import Store
from slotlab.registry import SlotlabError


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pictures and masks; stores go beside it."""
    monkeypatch.setenv("SLOTLAB_STORES", str(tmp_path / "stores"))
    monkeypatch.setenv("COLUMNS", "100")
    root = tmp_path / "tree"
    stream = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
        for index in range(6):
            shape = (20, 24, 3) if name == "images" else (20, 24)
            pixels = stream.integers(0, 256 if name == "images" else 4, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


def packed(tree: Path, **options: Any) -> dict[str, Any]:
    return pack_target(str(tree), **{"workers": 0, **options})


def refusal(call: Callable[..., object], *arguments: Any, **options: Any) -> list[str]:
    with pytest.raises(SlotlabError) as caught:
        call(*arguments, **options)
    return caught.value.lines()


def test_a_folder_is_packed_and_verified(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = packed(tree)
    [facts] = json.loads(json.dumps(result))["stores"]
    store = Store.open(Path(facts["path"]))
    assert store.path.parent == tree.parent / "stores"
    assert (facts["checksum"], facts["images"], facts["skipped"]) == (store.checksum, 6, [])
    print_packed(result)
    verified = verify_store(str(tree))
    assert verified == verify_store(facts["path"])
    print_verified(verified)
    assert capsys.readouterr().out.splitlines() == [
        "image_folder all: 6 images of 128x128 pixels, with masks, 393 KB",
        f"protocol whole; checksum {store.checksum}",
        f"store: {store.path}",
        f"{store.path}: intact, 6 images, checksum {store.checksum}",
    ]


def test_a_split_is_packed_once_with_all_others(tree: Path) -> None:
    [facts] = packed(tree, splits=["train", "val"])["stores"]
    assert (facts["split"], facts["path"]) == ("all", packed(tree)["stores"][0]["path"])


def test_settings_and_protocol_decide_about_the_store(tree: Path, tmp_path: Path) -> None:
    plain = packed(tree)["stores"][0]
    small = packed(tree, sets=["data.protocol.image_size=16"], stores=tmp_path / "other")["stores"][0]
    assert Path(small["path"]).parent == tmp_path / "other"
    assert Path(small["path"]).name != Path(plain["path"]).name
    assert small["size"] == [16, 16]


def test_damage_is_printed(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(packed(tree)["stores"][0]["path"])
    for name in ("images.npy", "masks.npy"):
        data = bytearray((path / name).read_bytes())
        data[200 if name == "images.npy" else -1] ^= 1
        (path / name).write_bytes(data)
    print_verified(verify_store(str(path)))
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: item 0 is not what was packed",
        f"{path}: item 5 is not what was packed",
        f"{path}: damaged in 2 places; delete it and pack it again",
    ]


def test_broken_pictures_are_listed_then_left_out(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tree / "images" / "3.png"
    broken.write_bytes(b"no picture")
    lines = refusal(packed, tree)
    assert len(lines) == 2
    assert lines[0].startswith(f"{broken}: ")
    with pytest.raises(DataError):
        packed(tree, sets=["data.on_error=skip"], on_error="fail")
    result = packed(tree, sets=["data.on_error=skip"])
    assert result["stores"][0]["images"] == 5
    capsys.readouterr()
    print_packed(result)
    assert f"left out: {lines[0]}" in capsys.readouterr().out.splitlines()


def test_what_was_changed_is_not_verified(tree: Path) -> None:
    stores = tree.parent / "stores"
    text = f"there is no packed store of image_folder all in {stores}; pack it with 'slotlab data pack'"
    assert refusal(verify_store, str(tree)) == [text]
    path = packed(tree)["stores"][0]["path"]
    os.utime(tree / "images" / "0.png", (0, 0))
    text = f"the packed store {path} is of another state of the files; pack them again"
    assert refusal(verify_store, str(tree)) == [text]


def test_mistakes(tree: Path) -> None:
    assert refusal(packed, tree, splits=["trian"]) == [
        "image_folder has no split 'trian'; did you mean 'train'? (splits: train, val, test, all)"
    ]
    assert refusal(packed, tree, on_error="stop") == ["--on-error stop: write fail or skip"]
    text = "--workers -1: write a number of processes; 0 packs without any"
    assert refusal(packed, tree, workers=-1) == [text]
