"""The official CLEVRTex tree on disk: finding scenes, splitting them, reading one.

    <root>/clevrtex_<variant>/<index // 1000>/CLEVRTEX_<variant>_<index:06d>.png       RGBA
                                              CLEVRTEX_<variant>_<index:06d>_flat.png  palette
                                              CLEVRTEX_<variant>_<index:06d>.json

Source: github.com/karazijal/clevrtex-generation, `clevrtex_eval.py`: order by index, the
split's fractions, crop before resize, image bilinear and mask nearest, both with PIL.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slotlab.framework.contracts import Size
from slotlab.registry import ComponentError, SlotlabError

SPLITS = {"train": (0.2, 1.0), "val": (0.1, 0.2), "test": (0.0, 0.1), "all": (0.0, 1.0)}
"""The part of the sorted scenes in each split, from and up to."""
UNSPLIT = "outd"
"""The variant that is published as one test set."""
SET_ROOT = "--set data.dataset.root=DIR"
_SHOWN = 3
_NEEDED = {"mask": "_flat.png", "metadata": ".json"}


@dataclass(frozen=True)
class Files:
    """The files of one scene."""

    image: Path

    @property
    def stem(self) -> str:
        """The scene's name, such as `CLEVRTEX_full_000123`."""
        return self.image.stem

    @property
    def mask(self) -> Path:
        """Palette PNG of object indices."""
        return self.image.with_name(f"{self.stem}_flat.png")

    @property
    def metadata(self) -> Path:
        """JSON that lists the objects."""
        return self.image.with_name(f"{self.stem}.json")


def find_folder(root: Path, variant: str) -> Path:
    """Return the variant's folder: in `root`, or `root` itself."""
    name = f"clevrtex_{variant}"
    if (root / name).is_dir():
        return root / name
    if root.is_dir() and root.name == name:
        return root
    if not root.is_dir():
        problem = f"there is no folder {root}"
    else:
        others = sorted(path.name for path in root.glob("clevrtex_*") if path.is_dir())
        problem = f"there is no folder {name} in {root}"
        problem += f" (there is {', '.join(others)})" if others else ""
    raise ComponentError(f"{problem}; give the folder that holds {name}: {SET_ROOT}", field="root")


def find_scenes(folder: Path, variant: str) -> list[Files]:
    """Return all scenes under `folder` by index; raises if files are missing or an index is twice."""
    pattern = re.compile(rf"CLEVRTEX_{variant}_(\d{{6}})\.png")
    found: list[tuple[int, Files]] = []
    missing: dict[str, list[str]] = {kind: [] for kind in _NEEDED}
    for place, _, names in os.walk(folder, followlinks=True):
        present = set(names)
        for match in filter(None, map(pattern.fullmatch, names)):
            files = Files(Path(place, match[0]))
            found.append((int(match[1]), files))
            for kind, ending in _NEEDED.items():
                if files.stem + ending not in present:
                    missing[kind].append(str(Path(place, files.stem + ending)))
    if not found:
        message = f"no images CLEVRTEX_{variant}_??????.png under {folder}; give another folder: {SET_ROOT}"
        raise ComponentError(message, field="root")
    found.sort(key=lambda item: (item[0], str(item[1].image)))
    problems = [
        f"{len(paths)} of {len(found)} scenes lack their {kind}: {_some(sorted(paths))}"
        for kind, paths in missing.items()
        if paths
    ]
    problems += _repeated(found)
    if problems:
        raise ComponentError(f"{'; '.join(problems)}; unpack the archive again", field="root")
    return [files for _, files in found]


def take_split(scenes: Sequence[Files], variant: str, split: str) -> list[Files]:
    """Return the scenes of a split, in order; every split of `outd` is all of it."""
    low, high = SPLITS["all" if variant == UNSPLIT else split]
    return list(scenes[int(low * len(scenes)) : int(high * len(scenes))])


def read_metadata(files: Files) -> dict[str, Any]:
    """Return the scene's JSON; it has a list `objects`."""
    try:
        metadata = json.loads(files.metadata.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(files.metadata, error) from error
    if not isinstance(metadata, dict) or not isinstance(metadata.get("objects"), list):
        raise _unreadable(files.metadata, "it has no list 'objects'")
    return metadata


def read_image(files: Files, crop: int | None, size: Size) -> NDArray[np.uint8]:
    """Return the picture, uint8 RGB of shape (rows, columns, 3): alpha dropped, cropped, resized."""
    image = _square(_open(files.image).convert("RGB"), files.image, crop)
    rows, columns = size
    return np.array(image.resize((columns, rows), Image.Resampling.BILINEAR))


def read_mask(files: Files, crop: int | None, size: Size) -> NDArray[np.uint8]:
    """Return the object indices, uint8 of shape (rows, columns), cropped and resized alike."""
    mask = _square(_open_mask(files), files.mask, crop)
    rows, columns = size
    return np.array(mask.resize((columns, rows), Image.Resampling.NEAREST))


def count_objects(files: Files, count: str) -> int:
    """Count objects by the JSON (`metadata`) or by the values in the whole mask (`mask_colors`)."""
    if count == "metadata":
        return len(read_metadata(files)["objects"])
    return len(np.unique(np.array(_open_mask(files)))) - 1


def image_size(files: Files) -> tuple[int, int]:
    """Return the picture's own (columns, rows), read from its header alone."""
    try:
        with Image.open(files.image) as image:
            return image.size
    except (OSError, SyntaxError, ValueError) as error:
        raise _unreadable(files.image, error) from error


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # PIL raises all of these for broken files
        raise _unreadable(path, error) from error


def _open_mask(files: Files) -> Image.Image:
    mask = _open(files.mask)
    if mask.mode not in ("P", "L"):
        raise _unreadable(
            files.mask, f"its values are not object indices but {mask.mode} colors; use a palette PNG"
        )
    return mask


def _square(image: Image.Image, path: Path, crop: int | None) -> Image.Image:
    # The centered square, as the official loader rounds it; the whole picture without a crop.
    if crop is None:
        return image
    width, height = image.size
    if crop > min(width, height):
        raise _unreadable(path, f"it has {width}x{height} pixels, too few for a crop of {crop}")
    left, top = (width - crop) // 2, (height - crop) // 2
    return image.crop((left, top, left + crop, top + crop))


def _repeated(found: Sequence[tuple[int, Files]]) -> list[str]:
    counts = Counter(index for index, _ in found)
    repeated = [index for index, count in counts.items() if count > 1]
    if not repeated:
        return []
    paths = [str(files.image) for index, files in found if index == repeated[0]]
    return [f"{len(repeated)} indices have more than one image, the first is {repeated[0]}: {_some(paths)}"]


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _unreadable(path: Path, reason: object) -> SlotlabError:
    return SlotlabError(f"cannot read {path}: {reason}")
