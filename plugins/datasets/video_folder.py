"""Videos of your own as files: MP4, AVI, WebM and others, without masks. They are decoded by PyAV.

    videos/a.mp4, videos/b.webm             which the protocol splits
    train/a.mp4, ..., val/c.mp4             or a folder for each split: `splits: [train, val]`

Files in folders inside are read too. Frames are as the file stores them: a rotation that its header asks for
is not applied. It needs `pip install 'slotlab[video]'`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Len
from pydantic import PositiveInt

from slotlab.framework.contracts import DataError, DataProblem, DatasetContext, Recognized
from slotlab.framework.data.formats.pairing import by_stem, repeated
from slotlab.framework.data.formats.pictures import natural_key
from slotlab.framework.data.formats.video_decoding import ENDINGS, EXTRA, count_frames
from slotlab.framework.data.formats.video_files import VideoFile, VideoFileListing, VideoFiles
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import suggest
from slotlab.registry.optional import require

_SPLITS = ("train", "val", "test")
"""Names of folders that are taken for splits."""


class VideoFolderConfig(ComponentConfig):
    """Settings of a folder of video files."""

    root: SpecPath
    """The folder of the videos, or with a folder of videos for each split."""
    splits: Annotated[tuple[str, ...], Len(1)] | None = None
    """The folders of `root` that are splits, such as [train, val]; null: the protocol splits the videos."""
    frames: PositiveInt | None = None
    """How many frames of each video are read, from its first; null for all."""

    recognized_data: ClassVar[str] = "a folder of video files"

    @classmethod
    def recognize(cls, path: Path) -> Recognized | None:
        """Return the splits, if video files lie in `path`, or in its folders train, val and test."""
        splits = [name for name in _SPLITS if _holds_videos(path / name)]
        if not splits and not _holds_videos(path):
            return None
        settings: dict[str, Any] = {"root": str(path), **({"splits": splits} if splits else {})}
        return Recognized(settings=settings, general=True)


def open_folder(config: VideoFolderConfig, context: DatasetContext) -> VideoFiles:
    """List the videos of a split, or of the one folder, and count their frames.

    Raises:
        ComponentError: for a folder that is missing or has no videos.
    """
    folder = config.root
    if config.splits is not None:
        if context.split not in config.splits:
            text = f"there is no split {context.split!r}; the splits are {', '.join(config.splits)}"
            raise ComponentError(text + suggest(context.split, config.splits))
        folder = folder / context.split
    if not folder.is_dir():
        raise ComponentError(f"there is no folder {folder}; give one with video files in it", field="root")
    require("av", EXTRA)
    return VideoFiles(folder, _list(folder, config.frames))


def _list(folder: Path, most: int | None) -> VideoFileListing:
    """Return the videos in a folder; those that cannot be read have a problem.

    Raises:
        ComponentError: if there are none.
    """
    stems = by_stem(folder, recursive=True, endings=ENDINGS)
    if not stems:
        raise ComponentError(f"no videos ({', '.join(sorted(ENDINGS))}) in {folder}", field="root")
    videos: list[VideoFile] = []
    problems: list[DataProblem] = []
    twice = repeated(stems)
    for place, name in enumerate(sorted(stems, key=natural_key)):
        path = stems[name][0]
        try:
            if name in twice:
                raise DataError(*twice[name])
            total = count_frames(path)
        except DataError as error:
            problems += [DataProblem(one.path, one.reason, place) for one in error.problems]
            continue
        videos.append(VideoFile(name, path, place, total if most is None else min(total, most)))
    return VideoFileListing(videos, len(stems), problems)


def _holds_videos(folder: Path) -> bool:
    return folder.is_dir() and any(
        entry.suffix.lower() in ENDINGS and not entry.name.startswith(".") for entry in folder.iterdir()
    )


@hookimpl
def slotlab_datasets() -> Iterable[Component[VideoFolderConfig]]:
    """Provide `video_folder`."""
    yield Component(
        name="video_folder",
        config=VideoFolderConfig,
        build=open_folder,
        summary="your own video files",
        install=EXTRA,
    )
