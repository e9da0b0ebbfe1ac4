"""Laws of `video_folder`: each frame is the one of its number however it is asked for, and damage is named."""

import multiprocessing
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slotlab.framework.contracts import DataError, DatasetContext
from slotlab.framework.data.formats import video_decoding
from slotlab.framework.data.formats.video_decoding import FrameReader, count_frames
from slotlab.framework.data.formats.video_files import VideoFiles
from slotlab.framework.data.inspection.target import find_target
from slotlab.plugins.datasets.video_folder import VideoFolderConfig, open_folder
from slotlab.registry import ComponentError

av = pytest.importorskip("av", reason="needs slotlab[video]")
CODECS = {".mp4": "mpeg4", ".avi": "mpeg4", ".webm": "libvpx-vp9", ".mkv": "libx264"}
FRAMES = 9


def write(
    path: Path, frames: int = FRAMES, red: int = 0, size: tuple[int, int] = (16, 24), **options: str
) -> Path:
    """Write a video whose frame t is green 25 t; with keyframes 4 apart, and frames that refer to later ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(CODECS[path.suffix], rate=12, options={"g": "4", "bf": "2", **options})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            pixels = np.zeros((*size, 3), np.uint8)
            pixels[..., 0], pixels[..., 1] = red, 25 * number
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        file.mux(stream.encode())
    return path


def shown(image_CHW: Any) -> int:
    return round(float(np.asarray(image_CHW)[1].mean()) / 25)


def build(root: Path, split: str = "all", **settings: Any) -> VideoFiles:
    config = VideoFolderConfig.model_validate({"root": str(root), **settings})
    return open_folder(config, DatasetContext(split=split, image_size=(16, 24)))


def complaint(read: Any) -> str:
    with pytest.raises(ComponentError) as caught:
        read()
    return str(caught.value)


def damage(read: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        read()
    return caught.value.lines()


@pytest.mark.parametrize("ending", CODECS)
def test_a_frame_is_the_one_of_its_number_in_whatever_order_it_is_read(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"a{ending}")
    assert count_frames(path) == FRAMES
    ordered = FrameReader()
    expected = [ordered.read(path, index) for index in range(FRAMES)]
    assert [shown(frame) for frame in expected] == list(range(FRAMES))
    assert (expected[0].dtype, expected[0].shape) == (np.uint8, (3, 16, 24))
    for room in (1, 5000, 1 << 28):
        reader = FrameReader(room)
        for index in (5, 0, 8, 7, 7, 1, 2, 3, 8):
            np.testing.assert_array_equal(reader.read(path, index), expected[index])


def test_reading_in_order_decodes_once_and_keeps_a_bounded_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write(tmp_path / f"{name}.mp4") for name in "ab"]
    opened: list[Path] = []
    real = video_decoding._decode
    monkeypatch.setattr(video_decoding, "_decode", lambda path: opened.append(path) or real(path))
    reader = FrameReader(kept_bytes=4 * 3 * 16 * 24)
    for path in paths:
        for index in range(FRAMES):
            reader.read(path, index)
            assert len(reader._kept) <= 4
    assert opened == paths
    reader.read(paths[1], FRAMES - 2)
    assert opened == paths
    reader.read(paths[1], 0)
    assert opened == [*paths, paths[1]]


def test_samples_do_not_depend_on_the_process(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.avi"):
        write(tmp_path / name)
    dataset = build(tmp_path)
    expected = [dataset[index].image_CHW for index in range(len(dataset))]
    copy: Any = pickle.loads(pickle.dumps(dataset))
    dataset[3]  # the file is open here when others are forked
    for method in ("fork", "spawn"):
        loader: Any = torch.utils.data.DataLoader(
            dataset,
            batch_size=None,
            num_workers=2,
            multiprocessing_context=multiprocessing.get_context(method),
        )  # type: ignore[arg-type]
        found = [sample.image_CHW for sample in loader]
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert torch.equal(copy[4].image_CHW, expected[4])
    sample = dataset[4]
    sample.image_CHW.zero_()
    assert torch.equal(dataset[4].image_CHW, expected[4])


def test_names_splits_and_lengths(tmp_path: Path) -> None:
    write(tmp_path / "train" / "v10.mp4", 2)
    write(tmp_path / "train" / "v9.webm", 3)
    write(tmp_path / "val" / "deep" / "v1.avi", 2)
    train = build(tmp_path, "train", splits=["train", "val"])
    assert train.ids == ["v9/00000", "v9/00001", "v9/00002", "v10/00000", "v10/00001"]
    assert [list(video) for video in train.videos] == [[0, 1, 2], [3, 4]]
    assert train[3].attributes == {"video": "v10", "frame": 0}
    assert build(tmp_path, "train", splits=["train"], frames=1).ids == ["v9/00000", "v10/00000"]
    assert build(tmp_path, "val", splits=["val"]).ids == ["deep/v1/00000", "deep/v1/00001"]
    assert len(build(tmp_path)) == 7
    with pytest.raises(IndexError):
        train[5]
    target = find_target(str(tmp_path))
    assert (target.name, target.splits) == ("video_folder", ("train",))
    assert find_target(str(tmp_path / "train")).splits == ("all",)


def test_what_is_damaged_or_missing_is_named_and_moves_no_other(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path / f"v{number}.mp4", 3)
    broken, empty = tmp_path / "v1.mp4", tmp_path / "v2.mp4"
    broken.write_bytes(broken.read_bytes()[:300])
    empty.write_bytes(b"")
    write(tmp_path / "v3.avi", 3)
    dataset = build(tmp_path)
    assert [(one.path, one.place) for one in dataset.problems] == [
        (str(broken), 1),
        (str(empty), 2),
        (str(tmp_path / "v3.mp4"), 3),
    ]
    reasons = [one.reason for one in dataset.problems]
    assert reasons[0] == "holds no video that can be decoded"
    assert reasons[1].startswith("cannot be decoded: ")
    assert reasons[2].startswith(f"it has the name of {tmp_path}/v3.avi but for the ending")
    assert (dataset.listed, list(dataset.places)) == (4, [0, 0, 0])
    (tmp_path / "v0.mp4").unlink()
    assert damage(lambda: dataset[1]) == [f"{tmp_path}/v0.mp4: is missing"]


def test_a_video_that_ends_before_its_header_says_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", FRAMES)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"00dc", 0, data.rindex(b"idx1"))])
    dataset = build(tmp_path)
    assert len(dataset) == FRAMES
    [line] = damage(lambda: [dataset[index] for index in range(FRAMES)])
    assert line.startswith(f"{path}: ends after ")
    assert line.endswith("counted from 0, is missing")
    assert shown(dataset[1].image_CHW) == 1
    with av.open(str(tmp_path / "sound.mkv"), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        file.mux(stream.encode(sound))
    assert damage(lambda: count_frames(tmp_path / "sound.mkv")) == [
        f"{tmp_path}/sound.mkv: holds no video that can be decoded"
    ]


def test_settings_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaint(lambda: build(tmp_path / "gone")) == (
        f"there is no folder {tmp_path}/gone; give one with video files in it"
    )
    assert complaint(lambda: build(tmp_path)) == (
        f"no videos (.avi, .m4v, .mkv, .mov, .mp4, .mpg, .webm) in {tmp_path}"
    )
    assert complaint(lambda: build(tmp_path, "x", splits=["train"])) == (
        "there is no split 'x'; the splits are train"
    )
    write(tmp_path / "a.mp4", 2)
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr("slotlab.registry.optional.find_spec", lambda name: None)
    assert complaint(lambda: build(tmp_path)) == (
        "needs the package av, which is not installed: pip install 'slotlab[video]'"
    )
