"""Videos as folders of numbered pictures, with or without instance masks.

    videos/<name>/00000.jpg   masks/<name>/00000.png    a folder for each video, which the protocol splits
    train/<name>/..., val/<name>/...                    or such folders for each split
    <name>/0.png   <name>/0_mask.png                    or masks beside their pictures: `mask_suffix: _mask`

Frames are in the order of their numbers, test_9 before test_10. A mask is as `image_folder` reads it, and a
label, or a color, is one object in all frames of its video. Protocols split the videos.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Len
from pydantic import PositiveInt, model_validator

from slotlab.framework.contracts import DatasetContext, Recognized
from slotlab.framework.data.formats.frame_files import (
    FrameFiles,
    Span,
    folders_of,
    holds_pictures,
    list_videos,
)
from slotlab.framework.data.formats.listing import Naming
from slotlab.framework.data.formats.mask_pictures import NONE, LabelSetting, MaskCode, same
from slotlab.framework.data.formats.pairing import sounds_like_masks
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import custom_error, suggest

_SPLITS = ("train", "val", "test")
"""Names of folders that are taken for splits."""
_PARTS = frozenset({*_SPLITS, "images", "masks"})
"""Names of folders of pictures that are no videos."""
_LOOKED_AT = 4
"""How many folders are looked into to recognize data."""


class FrameFoldersConfig(ComponentConfig):
    """Settings of folders of frames."""

    root: SpecPath
    """The folder with a folder for each video, or with such a folder for each split."""
    masks: SpecPath | None = None
    """The folder of the masks, with folders and files of the same names; null for none."""
    splits: Annotated[tuple[str, ...], Len(1)] | None = None
    """The folders of `root`, and of `masks`, that are splits, such as [train, val]; null: the protocol splits
    the videos."""
    frames: PositiveInt | None = None
    """How many frames of each video are read, from its first; null for all."""
    image_suffix: str = ""
    """The end of pictures' names, before the ending; other files are ignored."""
    mask_suffix: str = ""
    """The end of masks' names, before the ending, such as _mask. Without a folder of masks they lie beside
    their pictures."""
    background: LabelSetting = 0
    """The label of the background in masks: a number, a color such as '#ffffff', or none. 0 is black in color
    masks."""
    void: LabelSetting = NONE
    """The label of pixels that are not scored: 255 in many masks, or a color such as '#e0e0c0'."""

    recognized_data: ClassVar[str] = "a folder with a folder of numbered frames for each video"

    @classmethod
    def recognize(cls, path: Path) -> Recognized | None:
        """Return the splits, if folders in `path`, or in its folders train, val and test, hold pictures."""
        if not path.is_dir():
            return None
        splits = [name for name in _SPLITS if _holds_videos(path / name)]
        if not splits and not _holds_videos(path):
            return None
        settings: dict[str, Any] = {"root": str(path), **({"splits": splits} if splits else {})}
        return Recognized(settings=settings, general=True)

    @model_validator(mode="after")
    def _one_way(self) -> "FrameFoldersConfig":
        if same(self.background, self.void):
            raise custom_error("void", f"background and void are both {self.void}; a pixel is one of them")
        if self.mask_suffix and self.mask_suffix == self.image_suffix:
            raise custom_error("suffixes", "pictures and masks cannot end in the same suffix")
        return self


def open_videos(config: FrameFoldersConfig, context: DatasetContext) -> FrameFiles:
    """List the videos of a split, or of the one folder, and their masks.

    Raises:
        ComponentError: for a folder that is missing or has no videos.
    """
    images, masks = config.root, config.masks
    if config.splits is not None:
        if context.split not in config.splits:
            text = f"there is no split {context.split!r}; the splits are {', '.join(config.splits)}"
            raise ComponentError(text + suggest(context.split, config.splits))
        images = images / context.split
        masks = None if masks is None else masks / context.split
    names = _names_in(images)
    if masks is not None and not masks.is_dir():
        text = f"there is no folder {masks}; give the folder with a folder of masks for each video"
        raise ComponentError(text, field="masks")
    naming = Naming(config.image_suffix, config.mask_suffix)
    found = list_videos(images, masks, names, naming, Span(most=config.frames))
    if masks is None and not config.mask_suffix:
        found = replace(found, cautions=(*_looks_like_pairs(images, names), *found.cautions))
    root = Path(os.path.commonpath([images, masks or images]))
    return FrameFiles(root, found, MaskCode(config.background, config.void))


def _names_in(root: Path) -> Sequence[str]:
    """Return the names of the videos in a folder.

    Raises:
        ComponentError: if there are none.
    """
    if not root.is_dir():
        text = f"there is no folder {root}; give one with a folder of pictures for each video"
        raise ComponentError(text, field="root")
    names = folders_of(root)
    if not names:
        text = f"{root} holds no folders; each video is a folder of pictures in it"
        raise ComponentError(text, field="root")
    splits = [name for name in _SPLITS if name in names and not holds_pictures(root / name)]
    if splits and set(names) <= _PARTS:
        text = f"the folders in {root} hold no pictures: if they are splits"
        raise ComponentError(f"{text}, write splits: [{', '.join(splits)}]", field="splits")
    return names


def _looks_like_pairs(root: Path, names: Sequence[str]) -> list[str]:
    """Say so if two folders of pictures seem to be pictures and their masks, and no two videos."""
    masked = [name for name in names if sounds_like_masks(name)]
    if len(names) != 2 or len(masked) != 1 or not all(holds_pictures(root / name) for name in names):
        return []
    [masks], [images] = masked, [name for name in names if name not in masked]
    text = f"{root}: '{images}' and '{masks}' are read as two videos; if they are pictures and their masks"
    right = f"dataset: {{name: image_folder, images: {root / images}, masks: {root / masks}}}"
    other = (
        "of videos, each is a folder in 'root', and 'masks' names the folder with a folder of masks for each"
    )
    return [f"{text}, write {right}; {other}"]


def _holds_videos(root: Path) -> bool:
    """Return whether one of the first folders in a folder holds pictures, and none has another meaning."""
    names = folders_of(root) if root.is_dir() else []
    return not _PARTS & set(names) and any(holds_pictures(root / name) for name in names[:_LOOKED_AT])


@hookimpl
def slotlab_datasets() -> Iterable[Component[FrameFoldersConfig]]:
    """Provide `frame_folders`."""
    yield Component(
        name="frame_folders",
        config=FrameFoldersConfig,
        build=open_videos,
        summary="videos as folders of numbered pictures, with or without instance masks",
    )
