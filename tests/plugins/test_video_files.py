"""Laws of all datasets of videos on disk, on tiny files in the format of each.

Frame t of video v is red 60 v and green 30 t; object 1 lies at the top, but for frame 1, and object 2 below it.
"""

import io
import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from slotlab.framework.contracts.dataset_settings import splits_of
from slotlab.framework.data.clips import evaluation_clips, training_clips, whole_videos
from slotlab.framework.data.inspection.findings import inspect_target
from slotlab.framework.data.inspection.target import find_target
from slotlab.framework.data.selection import select
from slotlab.framework.data.source import open_source
from slotlab.framework.data.store.pack import pack
from slotlab.framework.laws.runner import check
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.data import ClipSpec, DataSpec

VIDEOS, FRAMES, ROWS, COLUMNS = 4, 3, 16, 24
FIRST, SECOND = (slice(0, 4), slice(4, 12)), (slice(8, 16), slice(0, 12))
REGISTRY = load_registry()


def picture(video: int, frame: int) -> np.ndarray:
    image = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    image[..., 0], image[..., 1] = 60 * video, 30 * frame
    return image


def labels(frame: int, first: int = 1, second: int = 2) -> np.ndarray:
    mask = np.zeros((ROWS, COLUMNS), np.uint8)
    mask[SECOND] = second
    if frame != 1:
        mask[FIRST] = first
    return mask


def save(path: Path, array: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def frame_folders(root: Path) -> dict[str, Any]:
    for video in range(VIDEOS):
        for frame in range(FRAMES):
            save(root / "videos" / f"v{video + 8}" / f"test_{frame + 9}.png", picture(video, frame))
            save(root / "masks" / f"v{video + 8}" / f"test_{frame + 9}.png", labels(frame))
    return {"root": str(root / "videos"), "masks": str(root / "masks")}


def frame_folders_of_colors(root: Path) -> dict[str, Any]:
    colors = np.array([[0, 0, 0], [0, 0, 200], [0, 90, 0]], np.uint8)
    for video in range(VIDEOS):
        for frame in range(FRAMES):
            save(root / f"v{video}" / f"{frame:05d}.jpg", picture(video, frame), quality=95)
            save(root / f"v{video}" / f"{frame:05d}_mask.png", colors[labels(frame)])
    return {"root": str(root), "mask_suffix": "_mask"}


def obj3d(root: Path) -> dict[str, Any]:
    for split, videos in (("train", (0, 1)), ("val", (2,)), ("test", (3,))):
        for number, video in enumerate(videos):
            for frame in range(-1, FRAMES):
                path = root / "OBJ3D" / split / f"{number + 9}" / f"test_{frame + 1}.png"
                save(path, picture(video, max(frame, 0)))
    return {"root": str(root)}


def davis(root: Path) -> dict[str, Any]:
    for split, videos in (("train", (0, 1)), ("val", (2, 3))):
        listing = root / "ImageSets" / "2017" / f"{split}.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("".join(f"sequence{video}\n" for video in videos))
        for video in videos:
            for frame in range(FRAMES):
                name = f"480p/sequence{video}/{frame:05d}"
                save(root / "JPEGImages" / f"{name}.jpg", picture(video, frame), quality=95)
                save(root / "Annotations_unsupervised" / f"{name}.png", labels(frame))
    return {"root": str(root)}


def runs(mask: np.ndarray) -> dict[str, Any]:
    flat = mask.T.ravel()
    starts = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    return {"size": list(mask.shape), "counts": [0] * int(flat[0]) + np.diff(starts).tolist()}


def youtube_vis(root: Path) -> dict[str, Any]:
    data: dict[str, Any] = {"videos": [], "annotations": [], "categories": [{"id": 3, "name": "fox"}]}
    for video in range(VIDEOS):
        names = [f"{9 - video:010x}/{5 * frame:05d}.jpg" for frame in range(FRAMES)]
        for frame, name in enumerate(names):
            save(root / "train" / "JPEGImages" / name, picture(video, frame), quality=95)
        shape = {"height": ROWS, "width": COLUMNS, "length": FRAMES}
        data["videos"].append({"id": video + 1, "file_names": names, **shape})
        for label in (1, 2):
            masks = [np.uint8(labels(frame) == label) for frame in range(FRAMES)]
            shapes = [runs(mask) if mask.any() else None for mask in masks]
            owner = {"id": 2 * video + label, "video_id": video + 1, "category_id": 3, "iscrowd": 0}
            data["annotations"].append({**owner, "segmentations": shapes})
    (root / "train" / "instances.json").write_text(json.dumps(data))
    return {"root": str(root), "val_videos": 2}


def film(path: Path, video: int, codec: str, scale: int = 1) -> None:
    av = pytest.importorskip("av", reason="needs slotlab[video]")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=12)
        stream.height, stream.width, stream.pix_fmt = scale * ROWS, scale * COLUMNS, "yuv420p"
        for frame in range(FRAMES):
            pixels = picture(video, frame).repeat(scale, 0).repeat(scale, 1)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        file.mux(stream.encode())


def video_folder(root: Path) -> dict[str, Any]:
    for video, (ending, codec) in enumerate(
        (("mp4", "mpeg4"), ("avi", "mpeg4"), ("webm", "libvpx"), ("mp4", "libx264"))
    ):
        film(root / f"v{video + 8}.{ending}", video, codec)
    return {"root": str(root)}


def clevrer(root: Path) -> dict[str, Any]:
    for video, number in enumerate((0, 1, 10_000, 10_001)):
        split, folder = "val" if number > 9999 else "train", f"{number // 1000 * 1000:05d}"
        name = f"videos/{split}/video_{folder}-{int(folder) + 1000:05d}/video_{number:05d}.mp4"
        film(root / name, video, "mpeg4", scale=20)
        frames = []
        for frame in range(FRAMES):
            found = []
            for label, color in ((2, "red"), (1, "blue")):
                mask = np.uint8(labels(frame) == label).repeat(20, 0).repeat(20, 1)
                if mask.any():
                    look = {"color": color, "material": "metal", "shape": "cube", "score": 0.9}
                    found.append({**look, "mask": runs(mask)})
            frames.append({"frame_index": frame, "objects": found})
        path = root / "derender_proposals" / f"proposal_{number:05d}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"frames": frames}))
    return {"root": str(root), "splits": ["train", "val"], "frames": FRAMES, "masks": True}


def physion_place(root: Path, video: int, kind: str) -> Path:
    name = f"pilot_{video:04d}"
    if kind == "hdf5":
        place = ("testing", "Drop/hdf5s-redyellow") if video > 1 else ("dynamics_training", "Drop/part")
        return root / place[0] / place[1] / f"{name}.hdf5"
    if video > 1:
        return root / "PhysionTestMP4s" / "Drop" / "mp4s-redyellow" / f"pilot-redyellow_{video:04d}_img.mp4"
    return root / "PhysionTrainMP4s" / "Drop_training_MP4s" / f"{name}_img.mp4"


def physion(root: Path) -> dict[str, Any]:
    for video in range(VIDEOS):
        film(physion_place(root, video, "mp4"), video, "mpeg4")
    rows = [",ground truth outcome", "pilot_0002_img,False", "pilot_0003_img,True", ""]
    (root / "PhysionTestMP4s" / "labels.csv").write_text("\n".join(rows))
    return {"root": str(root), "splits": ["train", "test"], "frames": FRAMES}


def encoded(array: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return np.frombuffer(file.getvalue(), np.uint8)


def physion_hdf5(root: Path) -> dict[str, Any]:
    h5py = pytest.importorskip("h5py", reason="needs slotlab[data]")
    colors = np.array([[9, 9, 9], [200, 0, 3], [0, 90, 250]], np.uint8)  # the first is the room's
    for video in range(VIDEOS):
        path = physion_place(root, video, "hdf5")
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file["static/object_ids"], file["static/object_segmentation_colors"] = [4, 7], colors[1:]
            file["static/model_names"] = np.array([b"cube", b"bowl"])
            file["static/target_id"], file["static/zone_id"] = 7, 4
            for frame in range(FRAMES):
                image, mask = encoded(picture(video, frame)), encoded(colors[labels(frame)])
                suffix = "_cam0" if video else ""
                file[f"frames/{frame:04d}/images/_img{suffix}"] = image
                file[f"frames/{frame:04d}/images/_id{suffix}"] = mask
                file[f"frames/{frame:04d}/labels/target_contacting_zone"] = (video, frame) == (1, 2)
    return {"root": str(root), "files": "hdf5", "splits": ["train", "test"], "frames": FRAMES}


class Kind(NamedTuple):
    """A dataset, its files and settings, whether it has masks, and how much larger its pictures are."""

    name: str
    make: Callable[[Path], dict[str, Any]]
    masked: bool = True
    scale: int = 1


KINDS: Mapping[str, Kind] = {
    "frame_folders": Kind("frame_folders", frame_folders),
    "colored masks": Kind("frame_folders", frame_folders_of_colors),
    "obj3d": Kind("obj3d", obj3d, masked=False),
    "davis": Kind("davis", davis),
    "youtube_vis": Kind("youtube_vis", youtube_vis),
    "video_folder": Kind("video_folder", video_folder, masked=False),
    "clevrer": Kind("clevrer", clevrer, scale=20),
    "physion": Kind("physion", physion, masked=False),
    "physion in HDF5": Kind("physion", physion_hdf5),
}
EVERY = pytest.mark.parametrize("kind", KINDS.values(), ids=[*KINDS])


def data_of(kind: Kind, root: Path, **more: Any) -> DataSpec:
    block = {"name": kind.name, **kind.make(root / "data")}
    protocol = {
        "name": "whole",
        "image_size": [ROWS, COLUMNS],
        "splits": {"train": (0.0, 0.5), "val": (0.5, 1.0)},
    }
    given = {"dataset": block, "protocol": protocol, "stores": str(root / "stores"), **more}
    return DataSpec.model_validate(given, context={"registry": REGISTRY})


def color(image_CHW: torch.Tensor) -> tuple[int, int]:
    """Return the video and the frame that a picture shows."""
    red, green, _ = image_CHW.float().mean((1, 2)).tolist()
    return round(red / 60), round(green / 30)


@EVERY
def test_frames_are_in_the_order_of_time_and_ids_are_their_own(tmp_path: Path, kind: Kind) -> None:
    data = data_of(kind, tmp_path)
    seen = []
    for split in splits_of(data.dataset.config) or ("all",):
        dataset: Any = open_source(data, split).dataset
        assert [index for video in dataset.videos for index in video] == list(range(len(dataset)))
        samples = [dataset[index] for index in range(len(dataset))]
        assert [sample.id for sample in samples] == list(dataset.ids)
        assert len(set(dataset.ids)) == len(dataset)
        for video in dataset.videos:
            found = [color(samples[index].image_CHW) for index in video]
            assert found == [(found[0][0], frame) for frame in range(FRAMES)]
            assert [samples[index].attributes["frame"] for index in video] == list(range(FRAMES))
            assert len({samples[index].attributes["video"] for index in video}) == 1
            seen.append(found[0][0])
        for index, sample in enumerate(samples):
            assert dataset.attributes(index) == sample.attributes
            assert (sample.mask_HW is not None) == kind.masked
            assert sample.mask_HW is None or torch.equal(dataset.mask(index), sample.mask_HW)
        copy = pickle.loads(pickle.dumps(dataset))
        assert torch.equal(copy[len(copy) - 1].image_CHW, samples[-1].image_CHW)
        assert dataset.fingerprint() == copy.fingerprint()
    assert sorted(seen) == list(range(VIDEOS))


@EVERY
def test_an_object_keeps_its_label_through_its_video(tmp_path: Path, kind: Kind) -> None:
    data = data_of(kind, tmp_path)
    for split in splits_of(data.dataset.config) or ("all",):
        dataset: Any = open_source(data, split).dataset
        for video in dataset.videos if kind.masked else ():
            masks = [dataset.mask(index)[:: kind.scale, :: kind.scale] for index in video]
            second = masks[0][SECOND].unique().tolist()
            first = masks[0][FIRST].unique().tolist()
            assert len(first) == len(second) == 1
            assert len({0, *first, *second}) == 3
            for frame, mask in enumerate(masks):
                wanted = labels(frame, first[0], second[0])
                assert torch.equal(mask.long(), torch.from_numpy(wanted).long())


@EVERY
def test_no_video_is_in_two_splits(tmp_path: Path, kind: Kind) -> None:
    data = data_of(kind, tmp_path)
    found = {}
    known = splits_of(data.dataset.config)
    other = "val" if not known or "val" in known else "test"  # Physion publishes no validation set
    for split in ("train", other):
        selection = select(data, split)
        found[split] = {color(selection[index].image_CHW)[0] for index in range(len(selection))}
        assert all(None not in video for video in whole_videos(selection))
        assert len(selection) == FRAMES * len(found[split])
    assert not found["train"] & found[other]
    assert found["train"]
    assert found[other]


@EVERY
def test_a_packed_store_gives_the_clips_of_the_files(tmp_path: Path, kind: Kind) -> None:
    files, packed = data_of(kind, tmp_path), data_of(kind, tmp_path, store="required")
    for split in splits_of(files.dataset.config) or ("all",):
        pack(open_source(files, split), tmp_path / "stores", workers=0)
    wanted = ClipSpec(frames=2, start="all")
    both = [select(files.model_copy(update={"store": "off"}), "train"), select(packed, "train")]
    clips = [training_clips(one, wanted, 0) for one in both]
    assert len(clips[0]) == len(clips[1]) == 2 * len(whole_videos(both[0]))
    assert clips[0] == clips[1]
    assert evaluation_clips(both[0], wanted, None) == evaluation_clips(both[1], wanted, None)
    for index in range(len(both[0])):
        one, other = both[0][index], both[1][index]
        assert (one.id, dict(one.attributes)) == (other.id, dict(other.attributes))
        assert torch.equal(one.image_CHW, other.image_CHW)
        assert not kind.masked or torch.equal(one.mask_HW.long(), other.mask_HW.long())  # type: ignore[union-attr]


@EVERY
def test_it_keeps_the_laws_of_datasets_and_is_inspected(tmp_path: Path, kind: Kind) -> None:
    settings = kind.make(tmp_path)
    verdicts = check([REGISTRY.find("dataset", kind.name)], REGISTRY, {("dataset", kind.name): settings})
    assert [str(one) for one in verdicts if one.state == "failed"] == []
    given = {"dataset": {"name": kind.name, **settings}, "protocol": {"name": "whole", "image_size": 8}}
    data = DataSpec.model_validate(given, context={"registry": REGISTRY})
    names = splits_of(data.dataset.config) or ("all",)
    others = [f"data.dataset.{key}={value}" for key, value in settings.items() if key != "root"]
    common = [f"data.dataset.name={kind.name}", "data.protocol.image_size=8"]
    target = find_target(settings["root"], sets=[*common, *others])
    assert target.data.dataset.name == kind.name
    assert tuple(target.splits) == tuple(names)
    for split in names:
        found = inspect_target(target, split, workers=0, report=lambda done, total: None).result
        assert found["problems"] == []
        assert found["splits"][split]["images"] == len(open_source(data, split))
