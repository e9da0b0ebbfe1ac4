"""Which dataset a folder or file holds, by the names in it."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from slotlab.framework.data.formats.clevrtex_tree import PUBLISHED
from slotlab.framework.spec.paths import expand
from slotlab.registry import SlotlabError

Block = dict[str, Any]
"""A dataset as a spec names it: `name`, and its settings."""
PICTURES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
HDF5 = frozenset({".h5", ".hdf5"})
_CLEVRTEX = re.compile(r"clevrtex_([a-z]+?)(?:_part[0-9]+)?(?:\.tar|\.tar\.gz|\.tgz)?")
_SCENE = re.compile(r"CLEVRTEX_([a-z]+)_[0-9]{6}.*")
_PANOPTIC = re.compile(r"panoptic_(([A-Za-z_]*?)[0-9]*)\.json")
_FLAT = ("train/images", "train/masks", "val/images", "val/masks")
_SPLITS = ("train", "val", "test")
_RIGHT = (
    "give a spec (FILE.yaml or slotlab:NAME), the folder that holds clevrtex_<variant> or its archives, "
    "a folder of pictures, .hdf5 files, or COCO's folder with annotations/panoptic_*.json"
)


def guess(what: str, sets: Sequence[str] = ()) -> tuple[Block, str]:
    """Return the dataset that a folder or file holds, and the protocol that is usual for it.

    Args:
        what: the folder or file.
        sets: assignments that will be laid over it; one may choose among several variants.

    Raises:
        SlotlabError: if it is not there, or nothing known is in it.
    """
    root = expand(what).absolute()
    if not root.exists():
        raise SlotlabError(f"there is no file or folder {what}; {_RIGHT}")
    entries = sorted(root.iterdir()) if root.is_dir() else [root]
    variants = _variants(root, entries)
    if variants:
        return _clevrtex(root, variants, sets), "clevrtex-official"
    found = _panoptic(root) or _hdf5(root, entries) or _flat(root) or _pictures(root)
    if found is None:
        raise SlotlabError(f"{what} is no data of a known kind: {_describe(root, entries)}; {_RIGHT}")
    return found, "clevrtex-official" if found["name"] == "clevrtex_flat" else "whole"


def _variants(root: Path, entries: Sequence[Path]) -> list[str]:
    """Return CLEVRTex's variants that are here: root is one's folder or archive, or holds them."""
    here = _CLEVRTEX.fullmatch(root.name)
    if here is not None and here[1] in PUBLISHED:
        return [here[1]]
    found = {match[1] for entry in entries if (match := _CLEVRTEX.fullmatch(entry.name))}
    found |= {match[1] for entry in entries if (match := _SCENE.fullmatch(entry.name))}
    return [variant for variant in PUBLISHED if variant in found]


def _clevrtex(root: Path, variants: Sequence[str], sets: Sequence[str]) -> Block:
    block: Block = {"name": "clevrtex", "root": str(root)}
    if len(variants) == 1:
        return {**block, "variant": variants[0]}
    if not any(assignment.lstrip().startswith("data.dataset.variant") for assignment in sets):
        names = ", ".join(variants)
        hint = "give the folder or archive of one of them, or --set data.dataset.variant="
        raise SlotlabError(
            f"{root} holds {len(variants)} variants of CLEVRTex ({names}); {hint}{variants[0]}"
        )
    return block


def _panoptic(root: Path) -> Block | None:
    """COCO's own folders: annotations/panoptic_val2017.json and .../, and val2017/ for the pictures."""
    if root.is_file():
        files = [root] if _PANOPTIC.fullmatch(root.name) else []
    else:
        files = sorted([*root.glob("panoptic_*.json"), *root.glob("annotations/panoptic_*.json")])
    parts = {}
    for file in files:
        match = _PANOPTIC.fullmatch(file.name)
        above = file.parent.parent if file.parent.name == "annotations" else file.parent
        if match is not None:
            parts[match[2] or match[1]] = {"annotations": str(file), "images": str(above / match[1])}
    if not parts:
        return None
    if len(parts) == 1:
        return {"name": "coco_panoptic", **next(iter(parts.values()))}
    order = sorted(parts, key=lambda name: (_SPLITS.index(name) if name in _SPLITS else len(_SPLITS), name))
    return {"name": "coco_panoptic", "splits": {name: parts[name] for name in order}}


def _hdf5(root: Path, entries: Iterable[Path]) -> Block | None:
    if any(entry.suffix.lower() in HDF5 and entry.is_file() for entry in entries):
        return {"name": "multi_object_hdf5", "path": str(root)}
    return None


def _flat(root: Path) -> Block | None:
    """Pictures and masks, train and val apart: CLEVRTex's if its masks are numbered PNGs in color."""
    if not all((root / name).is_dir() for name in _FLAT):
        return None
    if _is_colored_png(next((root / "train/masks").iterdir(), None)):
        return {"name": "clevrtex_flat", "root": str(root)}
    return None


def _is_colored_png(path: Path | None) -> bool:
    """Tell from a PNG's header alone; its tenth byte after the signature's chunk is the kind of color."""
    if path is None or not re.search("[0-9]", path.name):
        return False
    with path.open("rb") as file:
        header = file.read(26)
    return header[:8] == b"\x89PNG\r\n\x1a\n" and header[25:26] in (b"\x02", b"\x06")


def _pictures(root: Path) -> Block | None:
    parts = {name: part for name in _SPLITS if (part := _folders(root / name)) is not None}
    if parts:
        return {"name": "image_folder", "splits": parts}
    part = _folders(root)
    return None if part is None else {"name": "image_folder", **part}


def _folders(root: Path) -> dict[str, str] | None:
    """Return where the pictures are and their masks, if there are any: in root, or in root/images."""
    for images in (root / "images", root):
        if _holds_pictures(images):
            beside = images.parent / "masks" if images.name == "images" else images / "masks"
            masks = {"masks": str(beside)} if _holds_pictures(beside) else {}
            return {"images": str(images), **masks}
    return None


def _holds_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(
        entry.suffix.lower() in PICTURES and not entry.name.startswith(".") for entry in folder.iterdir()
    )


def _describe(root: Path, entries: Sequence[Path]) -> str:
    """Say what was found instead."""
    if root.is_file():
        return f"a file that ends in '{root.suffix}'" if root.suffix else "a file without an ending"
    if not entries:
        return "the folder is empty"
    kinds = Counter("folder" if entry.is_dir() else entry.suffix or "no ending" for entry in entries)
    listed = ", ".join(f"{number} x {kind}" for kind, number in kinds.most_common(4))
    return f"it holds {listed}"
