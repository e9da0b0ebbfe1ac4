"""Your own pictures, with or without instance masks.

    images/a.jpg   masks/a.png      one folder, which the protocol splits by position
    train/..., val/...              or two folders for each split
    a.jpg   a_mask.png              or masks beside their pictures, with `mask_suffix: _mask`

A mask has its picture's name except for the suffixes and the ending. It is a PNG: palette or gray (8 or 16
bits) that holds the labels, or RGB with a color for each object. 0, or black, is the background unless
`background` says otherwise; `void` names the label of pixels that are not scored.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from pydantic import model_validator
from torch import Tensor

from slotlab.framework.contracts import DataProblem, DatasetContext, Recognized, Sample
from slotlab.framework.data.formats.exif import Exif, Tagged, choose, read_as
from slotlab.framework.data.formats.listing import Listing, Naming, list_pictures
from slotlab.framework.data.formats.mask_pictures import (
    NONE,
    LabelSetting,
    MaskCode,
    labels,
    names_of,
    open_mask,
    same,
)
from slotlab.framework.data.formats.pairing import ENDINGS
from slotlab.framework.data.formats.pictures import decode, fingerprint_paths, rgb
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import ClosedModel, Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import custom_error, suggest

_SPLITS = ("train", "val", "test")
"""Names of folders that are taken for splits."""


class SplitFolders(ClosedModel):
    """The folders of a split."""

    images: SpecPath
    """The folder of the pictures."""
    masks: SpecPath | None = None
    """The folder of their masks; null for none."""


class ImageFolderConfig(ComponentConfig):
    """Settings of a folder of pictures."""

    images: SpecPath | None = None
    """The folder of the pictures, which the protocol splits by their order; or give `splits`."""
    masks: SpecPath | None = None
    """The folder of their masks; null for none."""
    splits: Mapping[str, SplitFolders] | None = None
    """SplitFolders for each split, such as {train: {images: DIR, masks: DIR}, val: {images: DIR}}."""
    recursive: bool = False
    """Whether to read subfolders too; masks then lie in subfolders of the same names."""
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
    exif: Exif | None = None
    """Whether pictures and masks are turned as their EXIF orientation says: apply
    or ignore. null applies it, and is an error if picture and mask disagree and nothing tells which reading
    is meant."""

    recognized_data: ClassVar[str] = "a folder of pictures"

    @classmethod
    def recognize(cls, path: Path) -> Recognized | None:
        """Return the folders of pictures and masks in `path`, or in its folders train, val and test."""
        parts = {name: found for name in _SPLITS if (found := _find_folders(path / name)) is not None}
        settings: dict[str, Any] | None = {"splits": parts} if parts else _find_folders(path)
        return None if settings is None else Recognized(settings=settings, general=True)

    @model_validator(mode="after")
    def _one_way(self) -> "ImageFolderConfig":
        if same(self.background, self.void):
            raise custom_error("void", f"background and void are both {self.void}; a pixel is one of them")
        if self.mask_suffix and self.mask_suffix == self.image_suffix:
            raise custom_error("suffixes", "pictures and masks cannot end in the same suffix")
        if (self.images is None) == (not self.splits):
            raise custom_error("folders", "give either 'images' or, with folders for each split, 'splits'")
        if self.images is None and self.masks is not None:
            raise custom_error("folders", "give the masks of each split inside 'splits'")
        return self

    def folders(self, split: str) -> SplitFolders:
        """Return the folders of a split.

        Raises:
            ComponentError: if there is no such split.
        """
        if self.splits is None:
            assert self.images is not None
            return SplitFolders(images=self.images, masks=self.masks)
        if split not in self.splits:
            message = f"there is no split {split!r}; the splits are {', '.join(self.splits)}"
            raise ComponentError(message + suggest(split, self.splits))
        return self.splits[split]


class ImageFolderDataset:
    """Pictures without masks, sorted by name, img2 before img10: image uint8 (3, H, W).

    Pictures are turned as their EXIF orientation says, unless `exif` says otherwise; alpha is dropped; gray
    of 16 bits is scaled to 8.
    """

    def __init__(self, config: ImageFolderConfig, folder: Path, found: Listing):
        self.config = config
        self._folder = folder
        self._files = found.files
        self.problems: Sequence[DataProblem] = found.problems
        """Files that are left out: pictures or masks without the other, or several with the same name."""
        self.listed = found.listed
        """The number of names, including those that are left out."""
        self.cautions: Sequence[str] = found.cautions
        """Warnings that other settings may be meant."""

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`, read from disk; raises DataError for a broken file."""
        file = self._files[index]
        name = str(file.image)
        image_CHW = rgb(read_as(decode(file.image, name), self.config.exif or "apply"), name)
        return Sample(id=file.stem, image_CHW=torch.from_numpy(image_CHW), path=name)

    @cached_property
    def ids(self) -> Sequence[str]:
        """The name of each picture."""
        return tuple(file.stem for file in self._files)

    @cached_property
    def places(self) -> Sequence[int]:
        """The position of each picture among all names."""
        return tuple(file.place for file in self._files)

    def fingerprint(self) -> str:
        """Return the state of all pictures, and of their masks."""
        paths = (path for file in self._files for path in (file.image, file.mask) if path)
        return fingerprint_paths(paths, self._folder)


class MaskedFolderDataset(ImageFolderDataset):
    """Pictures with masks: labels of an integer type (H, W), 0 for the background, -1 for void."""

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`, read from disk.

        Raises:
            DataError: for a broken file, or if the EXIF orientations of picture and mask do not match.
        """
        file = self._files[index]
        assert file.mask is not None
        name = str(file.image)
        image, mask = decode(file.image, name), open_mask(file.mask)
        names = (name, f"its mask {file.mask}")
        exif = choose(Tagged.of(image), Tagged.of(mask), self.config.exif, usual="apply", names=names)
        return Sample(
            id=file.stem,
            image_CHW=torch.from_numpy(rgb(read_as(image, exif), name)),
            mask_HW=self._labels(mask, exif, file.mask),
            path=name,
        )

    def mask(self, index: int) -> Tensor:
        """Return the mask of sample `index`; raises DataError for a broken file."""
        path = self._files[index].mask
        assert path is not None
        return self._labels(open_mask(path), self.config.exif or "apply", path)

    def mask_names(self, index: int) -> Mapping[int, str]:
        """Return how the mask's file writes each label; raises DataError for a broken file."""
        path = self._files[index].mask
        assert path is not None
        mask = read_as(open_mask(path), self.config.exif or "apply")
        return names_of(mask, labels(mask, str(path), self._code), str(path))

    @property
    def _code(self) -> MaskCode:
        return MaskCode(self.config.background, self.config.void)

    def _labels(self, mask: Image.Image, exif: Exif, path: Path) -> Tensor:
        return torch.from_numpy(labels(read_as(mask, exif), str(path), self._code))


def open_folder(config: ImageFolderConfig, context: DatasetContext) -> ImageFolderDataset:
    """List the pictures of a split, or of the one folder, and their masks.

    Raises:
        ComponentError: for a folder that is missing or has no pictures.
    """
    folders = config.folders(context.split)
    naming = Naming(
        config.image_suffix, config.mask_suffix, config.recursive, "splits" if config.splits else None
    )
    found = list_pictures(folders.images, folders.masks, naming)
    if not found.masked:
        return ImageFolderDataset(config, folders.images, found)
    return MaskedFolderDataset(
        config, Path(os.path.commonpath([folders.images, folders.masks or folders.images])), found
    )


def _find_folders(root: Path) -> dict[str, str] | None:
    """Return the folder of the pictures, root/images or root, and of their masks, if there are any."""
    for images in (root / "images", root):
        if _holds_pictures(images):
            beside = images.parent / "masks" if images.name == "images" else images / "masks"
            masks = {"masks": str(beside)} if _holds_pictures(beside) else {}
            return {"images": str(images), **masks}
    return None


def _holds_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(
        entry.suffix.lower() in ENDINGS and not entry.name.startswith(".") for entry in folder.iterdir()
    )


@hookimpl
def slotlab_datasets() -> Iterable[Component[ImageFolderConfig]]:
    """Provide `image_folder`."""
    yield Component(
        name="image_folder",
        config=ImageFolderConfig,
        build=open_folder,
        summary="your own pictures, with or without instance masks",
    )
