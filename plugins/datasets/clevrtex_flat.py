"""CLEVRTex as flat folders of numbered pictures and of RGB masks, separately for train and val.

    <root>/train/images/000000.png   <root>/train/masks/000000.png   <root>/val/images/...

Source: the copy of the data behind H. Goyal, "COL775: Slot Attention" (2024). Its masks show the
objects in CLEVRTex's palette, which gives each object its index in the official files.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from slotlab.framework.contracts import DataError, DataProblem, DatasetContext, Recognized, Sample
from slotlab.framework.data.formats.clevrtex_scene import MOST_OBJECTS, PALETTE
from slotlab.framework.data.formats.exif import refuse_turned
from slotlab.framework.data.formats.mask_pictures import color_codes
from slotlab.framework.data.formats.pictures import decode, fingerprint_paths, rgb
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import suggest

_NUMBER = re.compile(r"([0-9]+)[^0-9]*\.png", re.IGNORECASE)
_CODES = color_codes(np.array([PALETTE], np.uint8))[0]
_ORDER = np.argsort(_CODES)


class CLEVRTexFlatConfig(ComponentConfig):
    """Settings of CLEVRTex in flat folders."""

    root: SpecPath
    """The folder that holds the four folders."""
    train_images: str = "train/images"
    """The folder of the training pictures, under `root`."""
    train_masks: str = "train/masks"
    """The folder of their masks; each has its picture's number in its name."""
    val_images: str = "val/images"
    """The folder of the validation pictures."""
    val_masks: str = "val/masks"
    """The folder of their masks."""

    splits: ClassVar[tuple[str, ...]] = ("train", "val")
    published_data: ClassVar[str] = "clevrtex"
    recognized_data: ClassVar[str] = "a folder with images and color masks in train and val"

    @classmethod
    def recognize(cls, path: Path) -> Recognized | None:
        """Return the four folders, if their masks are numbered PNGs in color; others are one's own data."""
        names = ("train_images", "train_masks", "val_images", "val_masks")
        folders = {name: path / cls.model_fields[name].default for name in names}
        if not all(folder.is_dir() for folder in folders.values()):
            return None
        if not _is_numbered_color_png(next(folders["train_masks"].iterdir(), None)):
            return None
        return Recognized(settings={"root": str(path)}, protocol="clevrtex-official")

    @property
    def object_limit(self) -> int:
        """Most objects in a scene."""
        return MOST_OBJECTS


class CLEVRTexFlatDataset:
    """Pictures of a split by number: image uint8 (3, H, W), mask uint8 (H, W), 0 for the ground."""

    problems: Sequence[DataProblem]
    """Pictures and masks that are left out: one without the other, or several with the same number."""

    def __init__(self, config: CLEVRTexFlatConfig, context: DatasetContext):
        if context.split not in config.splits:
            message = f"there is no split {context.split!r}; the splits are {', '.join(config.splits)}"
            raise ComponentError(message + suggest(context.split, config.splits))
        self.config = config
        self.split = context.split
        fields = (f"{context.split}_images", f"{context.split}_masks")
        problems: list[DataProblem] = []
        images, masks = (_numbered(config, field, problems) for field in fields)
        for number, paths in (images | masks).items():
            if number not in masks or number not in images:
                other, field = ("mask", fields[1]) if number not in masks else ("picture", fields[0])
                folder = config.root / getattr(config, field)
                problems.append(
                    DataProblem(str(paths[0]), f"there is no {other} of number {number} in {folder}")
                )
        self._files = [
            (number, images[number][0], masks[number][0])
            for number in sorted(images.keys() & masks.keys())
            if len(images[number]) == len(masks[number]) == 1
        ]
        self.problems = sorted(problems)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`, read from disk; raises DataError for a broken file."""
        number, path, _ = self._files[index]
        return Sample(
            id=f"clevrtex_{self.split}_{number:06d}",
            image_CHW=torch.from_numpy(rgb(_upright(path), str(path))),
            mask_HW=self.mask(index),
            path=str(path),
        )

    def mask(self, index: int) -> Tensor:
        """Return the mask of sample `index`, uint8 (H, W); raises DataError for a broken file."""
        path = self._files[index][2]
        return torch.from_numpy(object_indices(rgb(_upright(path), str(path)).transpose(1, 2, 0), str(path)))

    def fingerprint(self) -> str:
        """Return the state of all pictures and masks."""
        return fingerprint_paths((path for files in self._files for path in files[1:]), self.config.root)


def _is_numbered_color_png(path: Path | None) -> bool:
    """Read a PNG's header alone: its byte 25 is the color type, 2 for RGB and 6 for RGB with alpha."""
    if path is None or not re.search("[0-9]", path.name):
        return False
    with path.open("rb") as file:
        header = file.read(26)
    return header[:8] == b"\x89PNG\r\n\x1a\n" and header[25:26] in (b"\x02", b"\x06")


def _upright(path: Path) -> Image.Image:
    """Return a decoded picture; raises DataError for one that is turned by its EXIF tag."""
    image = decode(path, str(path))
    refuse_turned(image, str(path))
    return image


def object_indices(mask_HW3: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Return the objects' indices, uint8 (H, W), from their colors in CLEVRTex's palette.

    Raises:
        DataError: for a color that is not in the palette.
    """
    codes_HW = color_codes(mask_HW3)
    places_HW = np.searchsorted(_CODES[_ORDER], codes_HW).clip(max=len(PALETTE) - 1)
    indices_HW: NDArray[np.uint8] = _ORDER[places_HW].astype(np.uint8)
    strange_HW = _CODES[indices_HW] != codes_HW
    if strange_HW.any():
        row, column = np.argwhere(strange_HW)[0]
        color = tuple(mask_HW3[row, column].tolist())
        nearest = min(PALETTE, key=lambda known: sum((a - b) ** 2 for a, b in zip(color, known, strict=True)))
        raise DataError(
            DataProblem(
                name,
                f"color {color} in row {row}, column {column} ({strange_HW.sum()} pixels are like that) is "
                f"none of CLEVRTex's masks; the nearest is {nearest}, object {PALETTE.index(nearest)}; "
                "masks must be kept without loss, resized by nearest if at all",
            )
        )
    return indices_HW


def _numbered(config: CLEVRTexFlatConfig, field: str, problems: list[DataProblem]) -> dict[int, list[Path]]:
    """Return the PNGs of a folder by the number in their names, and add to `problems`.

    Raises:
        ComponentError: if the folder is missing or has no numbered PNGs.
    """
    folder = config.root / getattr(config, field)
    if not folder.is_dir():
        hint = f"name it by --set data.dataset.{field}=FOLDER, or the one above it by data.dataset.root"
        raise ComponentError(
            f"there is no folder {folder}; {hint}", field=field if config.root.is_dir() else "root"
        )
    found: dict[int, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() != ".png":
            continue
        match = _NUMBER.search(path.name)
        if match is None:
            problems.append(
                DataProblem(str(path), "its name has no number, by which pictures and masks are matched")
            )
            continue
        paths = found.setdefault(int(match[1]), [])
        if paths:
            problems.append(DataProblem(str(path), f"it has the number {int(match[1])}, as {paths[0]} has"))
        paths.append(path)
    if not found:
        raise ComponentError(f"no numbered PNGs in {folder}", field=field)
    return found


@hookimpl
def slotlab_datasets() -> Iterable[Component[CLEVRTexFlatConfig]]:
    """Provide `clevrtex_flat`."""
    yield Component(
        name="clevrtex_flat",
        config=CLEVRTexFlatConfig,
        build=CLEVRTexFlatDataset,
        summary="CLEVRTex as flat folders of numbered pictures and RGB masks",
    )
