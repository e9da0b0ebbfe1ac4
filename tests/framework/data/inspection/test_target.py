"""What SPEC and ROOT stand for: the dataset that recognizes a path, splits, protocols, and mistakes in full."""

from pathlib import Path

import pytest
from PIL import Image

from slotlab.framework.data.inspection.target import DataTarget, find_target
from slotlab.registry import SlotlabError

pytestmark = pytest.mark.usefixtures("blank_figures")

RIGHT = (
    "give a spec (FILE.yaml or slotlab:NAME), the folder of CLEVRER, the folder that holds clevrtex_<variant> or its archives, "
    "a folder with images and color masks in train and val, COCO's folder with annotations/panoptic_*.json, "
    "the folder of DAVIS 2017, a folder with a folder of numbered frames for each video, a folder of pictures, "
    "a folder with the TFRecord files of MOVi, .hdf5 files, the folder of OBJ3D, the folder of Physion, "
    "a folder of video files, or the folder train of YouTube-VIS"
)


def picture(path: Path, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (4, 3)).save(path)


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def complaint(what: Path | str, **options: object) -> str:
    with pytest.raises(SlotlabError) as caught:
        find_target(str(what), **options)  # type: ignore[arg-type]
    return str(caught.value)


def dataset(target: DataTarget) -> dict[str, object]:
    found = target.data.dataset.dump(exclude_defaults=True)
    return {key: str(value) if isinstance(value, Path) else value for key, value in found.items()}


def test_spec_gives_its_data_and_splits(base: str) -> None:
    target = find_target("spec.yaml", sets=["seed=3", "data.seed=4", "data.train_split=test"])
    assert (target.name, target.splits, target.data.seed) == ("small", ("test", "val"), 4)
    assert (target.data.protocol.name, target.data.size) == ("whole", (16, 16))
    assert find_target("spec.yaml", sets=["data.train_split=val"]).splits == ("val",)


def test_protocol_replaces_the_specs_and_can_be_changed_too(base: str) -> None:
    target = find_target("spec.yaml", protocol="seed", sets=["data.protocol.crop=100"])
    assert (target.data.protocol_name, target.data.size) == ("seed (crop 100)", (128, 128))


def test_mistakes_of_a_spec_keep_their_lines(base: str) -> None:
    assert complaint("spec.yaml", protocol="sead").startswith(
        "--protocol sead: data.protocol: no protocol is called 'sead'; did you mean 'seed'?"
    )


@pytest.mark.parametrize(
    "name", ["clevrtex_camo/0/CLEVRTEX_camo_000000.png", "clevrtex_camo.tar", "clevrtex_camo.tar.gz"]
)
def test_clevrtex_above_a_variant(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    target = find_target(str(tmp_path))
    assert dataset(target) == {"name": "clevrtex", "root": str(tmp_path), "variant": "camo"}
    assert (target.name, target.splits, target.data.protocol.name) == (
        "clevrtex",
        ("all",),
        "clevrtex-official",
    )


@pytest.mark.parametrize(
    "name", ["clevrtex_vbg", "clevrtex_vbg.tar", "clevrtex_vbg.tar.gz", "clevrtex_vbg.tgz"]
)
def test_clevrtex_of_one_variant_itself(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name / "0") if name == "clevrtex_vbg" else touch(tmp_path / name)
    touch(tmp_path / "clevrtex_full" / "0")
    found = dataset(find_target(str(tmp_path / name)))
    assert found == {"name": "clevrtex", "root": str(tmp_path / name), "variant": "vbg"}


def test_parts_of_an_archive_are_one_variant(tmp_path: Path) -> None:
    for part in range(1, 6):
        touch(tmp_path / f"clevrtex_full_part{part}.tar.gz")
    assert find_target(str(tmp_path)).data.dataset.name == "clevrtex"


def test_several_variants_call_for_a_choice(tmp_path: Path) -> None:
    for variant in ("outd", "full"):
        touch(tmp_path / f"clevrtex_{variant}" / "0")
    assert complaint(tmp_path) == (
        f"{tmp_path} holds data of 'clevrtex' for 2 values of variant (full, outd); "
        "give the folder or file of one of them, or --set data.dataset.variant=full"
    )
    chosen = find_target(str(tmp_path), sets=["data.dataset.variant=outd"])
    assert dataset(chosen)["variant"] == "outd"


def test_flat_clevrtex(tmp_path: Path) -> None:
    for name in ("train/images", "train/masks", "val/images", "val/masks"):
        picture(tmp_path / name / "000001.png")
    target = find_target(str(tmp_path))
    assert dataset(target) == {"name": "clevrtex_flat", "root": str(tmp_path)}
    assert (target.splits, target.data.protocol.name) == (("train", "val"), "clevrtex-official")


def test_gray_masks_in_the_same_folders_are_ones_own(tmp_path: Path) -> None:
    for name in ("train/images", "train/masks", "val/images", "val/masks"):
        picture(tmp_path / name / "000001.png", "L")
    target = find_target(str(tmp_path))
    assert (target.data.dataset.name, target.splits, target.data.protocol.name) == (
        "image_folder",
        ("train", "val"),
        "whole",
    )


@pytest.mark.parametrize(
    ("files", "root", "images", "masks"),
    [
        (["a.jpg"], "", "", None),
        (["a.jpg", "masks/a.png"], "", "", "masks"),
        (["images/a.jpg", "masks/a.png"], "", "images", "masks"),
        (["images/a.jpg", "masks/a.png"], "images", "images", "masks"),
    ],
)
def test_pictures(tmp_path: Path, files: list[str], root: str, images: str, masks: str | None) -> None:
    for name in files:
        picture(tmp_path / name)
    target = find_target(str(tmp_path / root))
    expected = {"name": "image_folder", "images": str(tmp_path / images)}
    assert dataset(target) == expected | ({"masks": str(tmp_path / masks)} if masks else {})
    assert (target.splits, target.data.protocol.name) == (("all",), "whole")


def test_hdf5(tmp_path: Path) -> None:
    touch(tmp_path / "clevr.hdf5")
    for path in (tmp_path, tmp_path / "clevr.hdf5"):
        assert dataset(find_target(str(path))) == {"name": "multi_object_hdf5", "path": str(path)}


def test_coco(tmp_path: Path) -> None:
    touch(tmp_path / "annotations" / "panoptic_val2017.json")
    one = {
        "annotations": str(tmp_path / "annotations" / "panoptic_val2017.json"),
        "images": str(tmp_path / "val2017"),
    }
    for path in (tmp_path, tmp_path / "annotations" / "panoptic_val2017.json"):
        assert dataset(find_target(str(path))) == {"name": "coco_panoptic", **one}
    touch(tmp_path / "annotations" / "panoptic_train2017.json")
    target = find_target(str(tmp_path), protocol="seed")
    assert (target.splits, target.data.protocol.name) == (("train", "val"), "seed")


def test_relative_and_home_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "mine" / "a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in ("mine", "./mine", "~/mine"):
        assert dataset(find_target(text))["images"] == str(tmp_path / "mine")


def test_settings_over_what_a_dataset_recognized(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    target = find_target(
        str(tmp_path), sets=["data.protocol.image_size=32", "data.dataset.recursive=true", "data.seed=5"]
    )
    assert (target.data.size, target.data.seed) == ((32, 32), 5)
    assert dataset(target)["recursive"] is True


def test_wrong_settings_over_what_a_dataset_recognized(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    sets = ["data.dataset.recursive=7", "training.batch_size=3", "data.filter={max_objects: 6}"]
    assert complaint(tmp_path, sets=sets).splitlines() == [
        "--set data.dataset.recursive=7: data.dataset.recursive: expected true or false, got 7",
        "--set data.filter={max_objects: 6}: data.filter.count: this key is required",
        "--set training.batch_size=3: training: unknown key (keys here: data)",
    ]
    assert complaint(tmp_path, protocol="whol").startswith(
        "--protocol whol: data.protocol: no protocol is called 'whol'; did you mean 'whole'?"
    )


def test_neither_spec_nor_data(tmp_path: Path) -> None:
    assert complaint(tmp_path / "gone") == f"there is no file or folder {tmp_path}/gone; {RIGHT}"
    assert complaint(tmp_path) == f"{tmp_path} is no data of a known kind: the folder is empty; {RIGHT}"
    touch(tmp_path / "sub" / "notes.txt")
    touch(tmp_path / "b.csv")
    touch(tmp_path / "c.csv")
    assert complaint(tmp_path) == (
        f"{tmp_path} is no data of a known kind: it holds 2 x .csv, 1 x folder; {RIGHT}"
    )
    assert complaint(tmp_path / "b.csv") == (
        f"{tmp_path}/b.csv is no data of a known kind: a file that ends in '.csv'; {RIGHT}"
    )
    assert complaint(tmp_path / "no.yaml") == (
        f"there is no spec file {tmp_path}/no.yaml (specs that come with slotlab: slotlab:NAME)"
    )


# A third party's dataset that recognizes files which end in .npz, and claims that its Config is asked for.
ARCHIVES = """
from pathlib import Path
from typing import ClassVar

from slotlab.framework.contracts import Recognized
from slotlab.registry import Component, ComponentConfig, hookimpl

SLOTLAB_API = 1


class Config(ComponentConfig):
    file: str
    part: int = 0
    splits: ClassVar[tuple[str, ...]] = ("ours", "theirs")
    recognized_data: ClassVar[str] = "an .npz file of ours"

    @classmethod
    def recognize(cls, path: Path) -> Recognized | None:
        if path.suffix != ".npz" and not (path / "ours.npz").exists():
            return None
        {result}


@hookimpl
def slotlab_datasets():
    yield Component(name="{name}", config=Config, build=lambda config, context: None, summary="ours")
"""
CLAIM = "return Recognized(settings=dict(file=path.name), protocol='seed')"


def archives(folder: Path, name: str = "ours", result: str = CLAIM) -> Path:
    path = folder / f"{name}.py"
    path.write_text(ARCHIVES.format(name=name, result=result))
    return path


def test_a_dataset_of_a_plugin_file_recognizes_its_data(tmp_path: Path) -> None:
    plugin, data = archives(tmp_path), tmp_path / "a.npz"
    touch(data)
    target = find_target(str(data), plugins=[plugin])
    assert dataset(target) == {"name": "ours", "file": "a.npz"}
    assert (target.splits, target.data.protocol.name) == (("ours", "theirs"), "seed")
    assert complaint(data) == f"{data} is no data of a known kind: a file that ends in '.npz'; {RIGHT}"
    assert "an .npz file of ours" in complaint(tmp_path / "gone", plugins=[plugin])


def test_a_specific_claim_is_preferred_to_a_general_one(tmp_path: Path) -> None:
    picture(tmp_path / "data" / "a.png")
    touch(tmp_path / "data" / "ours.npz")
    plugin = archives(tmp_path)
    assert find_target(str(tmp_path / "data")).data.dataset.name == "image_folder"
    assert find_target(str(tmp_path / "data"), plugins=[plugin]).data.dataset.name == "ours"
    sets = ["data.dataset.name=image_folder"]
    chosen = find_target(str(tmp_path / "data"), plugins=[plugin], sets=sets)
    assert chosen.data.dataset.name == "image_folder"


def test_several_specific_claims_call_for_a_choice(tmp_path: Path) -> None:
    touch(tmp_path / "data" / "ours.npz")
    plugins = [archives(tmp_path), archives(tmp_path, "theirs")]
    assert complaint(tmp_path / "data", plugins=plugins) == (
        f"{tmp_path}/data is recognized by 2 datasets ('ours', 'theirs'); "
        "choose one, such as --set data.dataset.name=ours"
    )
    chosen = find_target(str(tmp_path / "data"), plugins=plugins, sets=["data.dataset.name=theirs"])
    assert chosen.data.dataset.name == "theirs"


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (
            "return dict(file='x')",
            "'recognize' of dataset 'ours' returned a dict; it must return Recognized or",
        ),
        ("return path.nothing", "'recognize' of dataset 'ours' failed: AttributeError: "),
    ],
)
def test_mistakes_of_a_dataset_that_recognizes_name_it(tmp_path: Path, result: str, text: str) -> None:
    touch(tmp_path / "a.npz")
    assert complaint(tmp_path / "a.npz", plugins=[archives(tmp_path, result=result)]).startswith(text)
