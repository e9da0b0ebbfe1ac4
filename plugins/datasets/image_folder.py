"""Your own pictures, with or without instance masks.

    images/a.jpg   masks/a.png      one folder, which the protocol splits by position
    train/..., val/...              or a pair of folders for each split

A mask has its picture's name but for the ending. It is a PNG: palette or gray (8 or 16 bits) holding
the labels, or RGB with a color for each object; 0, or black, is the background.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import model_validator
from torch import Tensor

from slotlab.framework.contracts import DataProblem, DatasetContext, Sample
from slotlab.framework.files import decode, fingerprint_paths, labels, natural_key, rgb
from slotlab.framework.folders import ENDINGS, by_stem, not_png, repeated
from slotlab.framework.paths import SpecPath
from slotlab.registry import ClosedModel, Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import custom_error, suggest


class Folders(ClosedModel):
    """Where the pictures of a split are, and their masks."""

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
    splits: Mapping[str, Folders] | None = None
    """Folders for each split, such as {train: {images: DIR, masks: DIR}, val: {images: DIR}}."""
    recursive: bool = False
    """Whether pictures in folders inside the folder count; masks then lie in folders of the same names."""

    @model_validator(mode="after")
    def _one_way(self) -> "ImageFolderConfig":
        if (self.images is None) == (not self.splits):
            raise custom_error("folders", "give either 'images' or, with folders for each split, 'splits'")
        if self.images is None and self.masks is not None:
            raise custom_error("folders", "give the masks of each split inside 'splits'")
        return self

    def folders(self, split: str) -> Folders:
        """Return where the pictures of a split are."""
        if self.splits is None:
            assert self.images is not None
            return Folders(images=self.images, masks=self.masks)
        if split not in self.splits:
            message = f"there is no split {split!r}; the splits are {', '.join(self.splits)}"
            raise ComponentError(message + suggest(split, self.splits))
        return self.splits[split]


class Files(NamedTuple):
    """The files of one sample."""

    stem: str
    """The path in its folder, without the ending."""
    image: Path
    mask: Path | None = None


class ImageFolderDataset:
    """Pictures by name, img2 before img10: image uint8 (3, H, W), no mask.

    Pictures are turned upright as their EXIF says; alpha is dropped; gray of 16 bits is brought to 8.
    """

    problems: Sequence[DataProblem]
    """Files that are left out: pictures or masks without the other, or two with one name."""

    def __init__(self, folder: Path, files: Sequence[Files], problems: Iterable[DataProblem]):
        self._folder = folder
        self._files = sorted(files, key=lambda file: natural_key(file.stem))
        self.problems = sorted(problems)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`, read from disk; raises DataError for a broken file."""
        file = self._files[index]
        image_CHW = rgb(decode(file.image, str(file.image), upright=True), str(file.image))
        return Sample(id=file.stem, image_CHW=torch.from_numpy(image_CHW), path=str(file.image))

    def fingerprint(self) -> str:
        """Return the state of all pictures, and of their masks."""
        return fingerprint_paths((path for _, *paths in self._files for path in paths if path), self._folder)


class MaskedFolderDataset(ImageFolderDataset):
    """The same with masks: integers (H, W), 0 for the background."""

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`, read from disk; raises DataError for a broken file."""
        return replace(super().__getitem__(index), mask_HW=self.mask(index))

    def mask(self, index: int) -> Tensor:
        """Return the mask of sample `index`; raises DataError for a broken file."""
        path = self._files[index].mask
        assert path is not None
        return torch.from_numpy(labels(decode(path, str(path), upright=True), str(path)))


def open_folder(config: ImageFolderConfig, context: DatasetContext) -> ImageFolderDataset:
    """List the pictures of a split, or of the one folder, and their masks.

    Raises:
        ComponentError: for a folder that is not there or has no pictures.
    """
    folders = config.folders(context.split)
    images = _by_stem(folders.images, config.recursive, "images" if config.splits is None else "splits")
    problems = repeated(images)
    alone = {stem: paths[0] for stem, paths in images.items() if len(paths) == 1}
    if folders.masks is None:
        return ImageFolderDataset(
            folders.images, [Files(stem, path) for stem, path in alone.items()], problems
        )
    masks = _by_stem(folders.masks, config.recursive, "masks" if config.splits is None else "splits")
    problems += repeated(masks) + _unmatched(images, masks, folders)
    files = [
        Files(stem, path, masks[stem][0])
        for stem, path in alone.items()
        if [mask.suffix.lower() for mask in masks.get(stem, [])] == [".png"]
    ]
    return MaskedFolderDataset(Path(os.path.commonpath([folders.images, folders.masks])), files, problems)


def _by_stem(folder: Path, recursive: bool, field: str) -> dict[str, list[Path]]:
    """Return the pictures in a folder by their path in it without the ending."""
    if not folder.is_dir():
        raise ComponentError(f"there is no folder {folder}; give one with pictures in it", field=field)
    found = by_stem(folder, recursive=recursive)
    if not found:
        deeper = "" if recursive else "; 'recursive: true' looks into the folders inside it too"
        text = f"no pictures ({', '.join(sorted(ENDINGS))}) in {folder}{deeper}"
        raise ComponentError(text, field=field)
    return found


def _unmatched(
    images: Mapping[str, Sequence[Path]], masks: Mapping[str, Sequence[Path]], folders: Folders
) -> list[DataProblem]:
    problems = [
        DataProblem(str(images[stem][0]), f"its mask {folders.masks}/{stem}.png is missing")
        for stem in images.keys() - masks.keys()
    ]
    problems += [
        DataProblem(str(masks[stem][0]), f"there is no picture {stem} in {folders.images}")
        for stem in masks.keys() - images.keys()
    ]
    return problems + not_png(masks)


@hookimpl
def slotlab_datasets() -> Iterable[Component[ImageFolderConfig]]:
    """Provide `image_folder`."""
    yield Component(
        name="image_folder",
        config=ImageFolderConfig,
        build=open_folder,
        summary="your own pictures, with or without instance masks",
    )
