"""Laws of `clevrtex` on the archives as downloaded: sample by sample what the unpacked tree gives."""

import io
import os
import pickle
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slotlab.framework.contracts import DataError, DatasetContext
from slotlab.framework.scenes.clevrtex_writer import write_scene
from slotlab.plugins.datasets.clevrtex import CLEVRTexConfig, CLEVRTexDataset
from slotlab.registry import ComponentError

SHARED = Path(os.environ.get("SLOTLAB_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"
SAMPLE = SHARED / "clevrtex_sample"
CUT = "Compressed file ended before the end-of-stream marker was reached"


@pytest.fixture(autouse=True)
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of packed stores, one of the test's own."""
    monkeypatch.setenv("SLOTLAB_STORES", str(tmp_path / "stores"))
    return tmp_path / "stores"


def build(root: Path, size: tuple[int, int] = (32, 24), **settings: Any) -> CLEVRTexDataset:
    config = CLEVRTexConfig.model_validate({"root": str(root), "picture_size": size, **settings})
    return CLEVRTexDataset(config, DatasetContext(split="all", image_size=(8, 8)))


def make(root: Path, indices: Sequence[int], variant: str = "full", seed: int = 0) -> Path:
    for index in indices:
        rng = np.random.default_rng([seed, index])
        image = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        objects = [{"shape": "cube", "material": f"m{index}"}] * 3
        write_scene(
            root, variant, index, image, rng.integers(0, 4, (24, 32)), image[..., 0] / 9, {"objects": objects}
        )
    return root / f"clevrtex_{variant}"


def pack(archive: Path, files: Sequence[Path], top: Path) -> Path:
    archive.parent.mkdir(exist_ok=True)
    with tarfile.open(archive, "w" if archive.suffix == ".tar" else "w:gz") as tar:
        for path in files:
            tar.add(path, str(path.relative_to(top)))
    return archive


def in_parts(tree: Path, folder: Path, count: int, ending: str = ".tar.gz") -> list[Path]:
    """Pack the files of a tree in random order into archives, siblings not kept together."""
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    random.Random(0).shuffle(files)
    names = [f"{tree.name}_part{part + 1}{ending}" for part in range(count)]
    return [pack(folder / name, files[part::count], tree.parent) for part, name in enumerate(names)]


def assert_same(one: CLEVRTexDataset, other: CLEVRTexDataset) -> None:
    assert len(one) == len(other) > 0
    assert (one.problems, other.problems) == ([], [])
    for a, b in zip(one, other, strict=True):
        assert a.mask_HW is not None
        assert b.mask_HW is not None
        assert torch.equal(a.image_CHW, b.image_CHW)
        assert torch.equal(a.mask_HW, b.mask_HW)
        assert (a.id, a.attributes) == (b.id, b.attributes)


@pytest.mark.parametrize("ending", [".tar.gz", ".tgz", ".tar"])
def test_parts_in_any_order_give_what_the_tree_gives(tmp_path: Path, ending: str) -> None:
    tree = make(tmp_path / "tree", range(997, 1009))
    in_parts(tree, tmp_path / "in", 5, ending)
    assert_same(build(tmp_path / "in"), build(tmp_path / "tree"))
    assert_same(build(tmp_path / "in"), build(tmp_path / "tree"))  # from the index
    made = sorted(path.suffix for path in tmp_path.glob("stores/archives/*"))
    assert made == [".json"] * 5 + [".tar"] * (0 if ending == ".tar" else 5)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"no sample of CLEVRTex at {SAMPLE}; set SLOTLAB_SHARED")
def test_the_sample_packed_gives_what_it_gives_unpacked(tmp_path: Path) -> None:
    in_parts(SAMPLE / "clevrtex_full", tmp_path / "in", 2)
    assert_same(build(tmp_path / "in", (320, 240)), build(SAMPLE, (320, 240)))


def test_root_may_be_one_archive_or_the_folder_they_were_put_in(tmp_path: Path) -> None:
    tree = make(tmp_path / "tree", range(4), "outd")
    archive = pack(
        tmp_path / "clevrtex_outd" / "clevrtex_outd.tar.gz", sorted(tree.rglob("*.*")), tree.parent
    )
    whole = build(tmp_path / "tree", variant="outd")
    for root in (archive, archive.parent, tmp_path):
        assert_same(build(root, variant="outd"), whole)


def test_other_variants_archives_are_not_read(tmp_path: Path) -> None:
    in_parts(make(tmp_path / "tree", range(3)), tmp_path / "in", 1)
    (tmp_path / "in" / "clevrtex_camo.tar.gz").write_bytes(b"broken")
    assert build(tmp_path / "in").problems == []


def test_samples_name_the_archive_and_travel(tmp_path: Path) -> None:
    tree = make(tmp_path / "tree", range(3))
    [archive] = in_parts(tree, tmp_path / "in", 1)
    dataset = build(archive)
    assert dataset[1].path == f"{archive}/clevrtex_full/0/CLEVRTEX_full_000001.png"
    assert_same(pickle.loads(pickle.dumps(dataset)), dataset)


def test_fingerprint_is_of_the_archives(tmp_path: Path) -> None:
    archives = in_parts(make(tmp_path / "tree", range(3)), tmp_path / "in", 2)
    before = build(tmp_path / "in").fingerprint()
    assert build(tmp_path / "in").fingerprint() == before
    os.utime(archives[1], (1, 1))
    assert build(tmp_path / "in").fingerprint() != before


def test_missing_parts_are_told(tmp_path: Path) -> None:
    make(tmp_path / "tree", range(10))
    for part in (1, 2, 4, 5):
        files = sorted(
            path for i in (0, 1) for path in tmp_path.rglob(f"CLEVRTEX_full_00000{2 * part - 2 + i}*")
        )
        pack(tmp_path / "in" / f"clevrtex_full_part{part}.tar.gz", files, tmp_path / "tree")
    assert build(tmp_path / "in").cautions == (
        (
            "clevrtex_full: 8 scenes are here, 50,000 were published; missing: 4 to 5, 10 to 49999; "
            "splits are parts of scenes 0 to 9, and they, and results, are not those of the whole"
        ),
        "of the archives clevrtex_full_part1 to 5, 1, 2, 4, 5 are here; missing: 3",
    )


def test_a_truncated_part_is_left_out_and_the_others_are_read(tmp_path: Path) -> None:
    for part in (1, 2):
        tree = make(tmp_path / f"tree{part}", range(3 * part, 3 * part + 3))
        pack(tmp_path / "in" / f"clevrtex_full_part{part}.tar.gz", sorted(tree.rglob("*.*")), tree.parent)
    broken = tmp_path / "in" / "clevrtex_full_part1.tar.gz"
    broken.write_bytes(broken.read_bytes()[:-3000])
    dataset = build(tmp_path / "in")
    assert [int(sample.id[-6:]) for sample in dataset] == [6, 7, 8]
    assert [str(problem) for problem in dataset.problems] == [
        f"{broken}: is no whole tar archive ({CUT}); all of it is left out: download it again"
    ]


def test_a_scene_in_two_archives_is_one_only_if_the_bytes_are(tmp_path: Path) -> None:
    one, other = make(tmp_path / "one", (0, 1)), make(tmp_path / "other", (1, 2), seed=1)
    alike = make(tmp_path / "alike", (0,))
    for part, tree in enumerate((one, other, alike), start=1):
        pack(tmp_path / "in" / f"clevrtex_full_part{part}.tar", sorted(tree.rglob("*.*")), tree.parent)
    dataset = build(tmp_path / "in")
    assert [sample.id[-1] for sample in dataset] == ["0", "2"]
    name = "clevrtex_full/0/CLEVRTEX_full_000001.png"
    first, second = (f"{tmp_path}/in/clevrtex_full_part{part}.tar/{name}" for part in (1, 2))
    assert [str(problem) for problem in dataset.problems] == [
        f"{first}: there are two files with one index: the other is {second}"
    ]


def test_a_scene_that_lacks_a_file_is_told_with_its_archive(tmp_path: Path) -> None:
    tree = make(tmp_path / "tree", range(2))
    (tree / "0" / "CLEVRTEX_full_000000_flat.png").unlink()
    [archive] = in_parts(tree, tmp_path / "in", 1)
    assert [str(problem) for problem in build(archive).problems] == [
        f"{archive}/clevrtex_full/0/CLEVRTEX_full_000000.png: CLEVRTEX_full_000000_flat.png is missing"
    ]


def test_hostile_names_are_told_and_never_written(tmp_path: Path) -> None:
    tree = make(tmp_path / "tree", range(2))
    archive = pack(tmp_path / "in" / "clevrtex_full.tar", sorted(tree.rglob("*.*")), tree.parent)
    with tarfile.open(archive, "a") as tar:
        info = tarfile.TarInfo("../CLEVRTEX_full_000005.png")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"bad"))
    dataset = build(tmp_path / "in")
    assert len(dataset) == 2
    assert [str(problem) for problem in dataset.problems] == [
        f"{archive}: its member '../CLEVRTEX_full_000005.png' is left out: the name leads out of the archive"
    ]
    assert not list(tmp_path.rglob("CLEVRTEX_full_000005.png"))


def test_the_tree_comes_before_archives_beside_it(tmp_path: Path) -> None:
    tree = make(tmp_path / "tree", range(3))
    in_parts(tree, tmp_path / "tree", 5)
    dataset = build(tmp_path / "tree")
    assert dataset[0].path == f"{tree}/0/CLEVRTEX_full_000000.png"
    assert dataset.cautions[1] == f"the archives in {tmp_path}/tree are not read, because {tree} is there"


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    [archive] = in_parts(make(tmp_path / "tree", range(2), "camo"), tmp_path / "in", 1)
    with pytest.raises(ComponentError) as caught:
        build(archive)
    assert str(caught.value) == (
        f"no images CLEVRTEX_full_??????.png in {archive}; give another archive: --set data.dataset.root=DIR"
    )


def test_a_copy_that_vanishes_is_named_by_its_archive(tmp_path: Path, stores: Path) -> None:
    [archive] = in_parts(make(tmp_path / "tree", range(2)), tmp_path / "in", 1)
    dataset = build(archive)
    next(stores.rglob("*.tar")).unlink()
    with pytest.raises(DataError) as caught:
        dataset[0]
    assert str(caught.value) == (
        f"{archive}/clevrtex_full/0/CLEVRTEX_full_000000.png: cannot be read: No such file or directory"
    )
