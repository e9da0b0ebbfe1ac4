"""OBJ3D: videos of a sphere that is launched at solids at rest, as numbered pictures, without masks.

    <root>/{train,val,test}/<number>/test_<frame>.png

Source: Lin et al. 2020, "Improving Generative Imagination in Object-Centric World Models" (G-SWM), which
links to the files. Most of what happens is in the first half of a video: SlotFormer (Wu et al. 2023) reads 50
of 100 frames, from test_1.png, and G-SWM begins with the first file (`first: null`).
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Len
from pydantic import NonNegativeInt, PositiveInt

from slotlab.framework.contracts import DatasetContext, Downloads, Recognized
from slotlab.framework.data.formats.frame_files import FrameFiles, Span, Video, folders_of, list_videos
from slotlab.framework.data.formats.listing import Naming
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import suggest

Split = Literal["train", "val", "test"]
_SPLITS: tuple[Split, ...] = ("train", "val", "test")


class OBJ3DConfig(ComponentConfig):
    """Settings of OBJ3D."""

    root: SpecPath
    """The folder OBJ3D, which holds the folders train, val and test, or the folder above it."""
    splits: Annotated[tuple[Split, ...], Len(1)] = _SPLITS
    """The splits that are there."""
    first: NonNegativeInt | None = 1
    """The number in the name of the first frame that is read; null: the first that is there."""
    frames: PositiveInt | None = 50
    """How many frames of each video are read; null for all."""

    object_limit: ClassVar[int] = 5
    published_data: ClassVar[str] = "obj3d"
    downloads: ClassVar[Downloads] = Downloads(
        by_hand="its 7 GB are on Google Drive, whose address is in the README of G-SWM's code "
        "(github.com/zhixuan-lin/G-SWM); unpack it, and give the folder that holds train, val and test"
    )
    recognized_data: ClassVar[str] = "the folder of OBJ3D"

    @classmethod
    def recognize(cls, path: Path) -> Recognized | None:
        """Return the splits in a folder whose videos have frames called test_<number>.png."""
        folder = _folder(path)
        splits = [name for name in _SPLITS if _has_frames(folder / name)]
        return Recognized(settings={"root": str(path), "splits": splits}) if splits else None


def open_obj3d(config: OBJ3DConfig, context: DatasetContext) -> FrameFiles:
    """List the videos of a split.

    Raises:
        ComponentError: for a folder that is missing or has no videos.
    """
    if context.split not in config.splits:
        text = f"there is no split {context.split!r}; the splits are {', '.join(config.splits)}"
        raise ComponentError(text + suggest(context.split, config.splits))
    folder = _folder(config.root) / context.split
    names = folders_of(folder) if folder.is_dir() else []
    if not names:
        text = f"there is no folder {folder} with folders of frames; root is the folder above it"
        raise ComponentError(text, field="root")
    found = list_videos(folder, None, names, Naming(), Span(config.first, config.frames))
    return FrameFiles(folder, replace(found, cautions=_short(found.videos, config.frames)))


def _folder(root: Path) -> Path:
    return root / "OBJ3D" if (root / "OBJ3D").is_dir() else root


def _has_frames(split: Path) -> bool:
    names = folders_of(split)[:1] if split.is_dir() else []
    return any(name.isdecimal() and any((split / name).glob("test_[0-9]*.png")) for name in names)


def _short(videos: Iterable[Video], frames: int | None) -> list[str]:
    """Return a caution if videos have fewer frames than are wanted."""
    found = [video for video in videos if frames is not None and len(video.frames) < frames]
    if not found:
        return []
    text = f"videos with fewer than {frames} frames: {len(found)}"
    return [f"{text}, such as {found[0].name} with {len(found[0].frames)}; they are read as they are"]


@hookimpl
def slotlab_datasets() -> Iterable[Component[OBJ3DConfig]]:
    """Provide `obj3d`."""
    yield Component(
        name="obj3d",
        config=OBJ3DConfig,
        build=open_obj3d,
        summary="frames of OBJ3D, videos of a sphere launched at solids",
    )
