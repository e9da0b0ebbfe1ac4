"""Stores of several copies of one data set: none is taken for another state of the other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slotlab.framework.data.inspection.target import find_target
from slotlab.framework.data.source import Source, open_source
from slotlab.framework.data.store.format import MANIFEST, Manifest, read_manifest
from slotlab.framework.data.store.pack import pack
from slotlab.framework.data.store.reader import Stale, Store, find_store, roots_of


def make_copy(root: Path) -> Source:
    (root / "images").mkdir(parents=True)
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
    return open_again(root)


def open_again(root: Path) -> Source:
    return open_source(find_target(str(root), sets=["data.protocol.image_size=8"]).data, "all")


def test_a_store_of_another_root_is_no_old_state_of_this_one(tmp_path: Path) -> None:
    first, second = make_copy(tmp_path / "a"), make_copy(tmp_path / "b")
    said: list[str] = []
    packed = pack(first, tmp_path / "stores", workers=0, say=said.append)
    assert first.key == second.key
    assert find_store(second, tmp_path / "stores") is None
    pack(second, tmp_path / "stores", workers=0, say=said.append)
    assert said == []
    assert isinstance(find_store(first, tmp_path / "stores"), Store)

    (tmp_path / "a" / "images" / "0.png").touch()
    again = open_again(tmp_path / "a")
    assert find_store(again, tmp_path / "stores") == Stale(packed.path)
    pack(again, tmp_path / "stores", workers=0, say=said.append)
    [text] = said
    assert text.startswith(f"{packed.path} (")
    assert text.endswith("is of another state of the files; delete it if that is not needed any more")


def test_an_older_store_does_not_tell_and_is_read(tmp_path: Path) -> None:
    source = make_copy(tmp_path / "a")
    store = pack(source, tmp_path / "stores", workers=0)
    old = replace(read_manifest(store.path), roots=None)
    (store.path / MANIFEST).write_bytes(without_roots(old))
    found = find_store(source, tmp_path / "stores")
    assert isinstance(found, Store)
    assert len(found) == 3
    assert roots_of(store.path) is None
    (tmp_path / "a" / "images" / "0.png").touch()
    assert find_store(open_again(tmp_path / "a"), tmp_path / "stores") == Stale(store.path), (
        "it may be of these"
    )
    said: list[str] = []
    pack(make_copy(tmp_path / "b"), tmp_path / "stores", workers=0, say=said.append)
    [text] = said
    assert "is of other files, or of another state of these; delete it if nothing needs it any more" in text


def without_roots(manifest: Manifest) -> bytes:
    """Write a manifest as it was before it knew its roots."""
    import json
    from dataclasses import asdict

    from slotlab.framework.data.store.format import seal

    data = asdict(manifest)
    del data["roots"]
    return json.dumps(data | {"seal": seal(data)}).encode()


@pytest.mark.parametrize("name", ["slotlab:clevrtex6", "slotlab:clevrtex11"])
def test_a_shipped_spec_looks_for_data_in_the_working_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = find_target(name)
    assert target.data.dataset.config.root == tmp_path / "data" / "clevrtex"  # type: ignore[attr-defined]
    child = tmp_path / "spec.yaml"
    child.write_text(f"extends: {name}\nname: mine\n")
    assert find_target(str(child)).data.dataset.config.root == tmp_path / "data" / "clevrtex"  # type: ignore[attr-defined]


def test_a_shipped_ablation_looks_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from slotlab.framework.study.load import load_ablation

    monkeypatch.chdir(tmp_path)
    found = load_ablation("slotlab:ablations/slots")
    roots = {arm.loaded.spec.data.dataset.config.root for arm in found.arms}  # type: ignore[attr-defined]
    assert roots == {tmp_path / "data" / "clevrtex"}


def test_a_protocol_may_be_a_block(tmp_path: Path) -> None:
    make_copy(tmp_path / "a")
    target = find_target(str(tmp_path / "a"), protocol="{name: seed, crop: null, image_size: 16}")
    assert target.data.protocol_name == "seed (image_size 16, crop None)"
    spec = tmp_path / "spec.yaml"
    spec.write_text("extends: slotlab:demo\nname: mine\n")
    found = find_target(str(spec), protocol="{name: whole, image_size: 16}")
    assert found.data.size == (16, 16)
