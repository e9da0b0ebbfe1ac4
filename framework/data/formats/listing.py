"""List the pictures in a folder and match each with its mask, by names alone."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from slotlab.framework.contracts import DataProblem
from slotlab.framework.data.formats.pairing import (
    ENDINGS,
    Nearby,
    by_stem,
    not_png,
    paired_suffix,
    repeated,
    twin_suffixes,
    with_suffix,
)
from slotlab.framework.data.formats.pictures import natural_key
from slotlab.registry import ComponentError

_NUMBERED = re.compile(r"(.*?)([0-9]{1,18})")
_DENSE = 0.75
"""Numbers are taken for running numbers if at least this part of their range is there."""


class Files(NamedTuple):
    """The files of one sample."""

    stem: str
    """The path in the folder, without suffix and ending: the sample's id."""
    place: int
    """The position among all names, including those left out."""
    image: Path
    mask: Path | None = None


class Naming(NamedTuple):
    """How files are named."""

    image_suffix: str = ""
    mask_suffix: str = ""
    recursive: bool = False
    field: str | None = None
    """The setting that names the folders, for messages; None for `images` and `masks`."""


@dataclass(frozen=True)
class Listing:
    """The pictures of a split, and what is wrong with its folders."""

    files: Sequence[Files]
    listed: int
    """The number of names, including those left out."""
    problems: Sequence[DataProblem]
    cautions: Sequence[str]
    masked: bool
    """Whether the pictures have masks."""


def list_pictures(images: Path, masks: Path | None, naming: Naming) -> Listing:
    """List the pictures in a folder, with their masks if a folder of masks or a suffix of masks is given.

    Raises:
        ComponentError: for a folder that is missing or has no pictures.
    """
    every = _by_stem(images, naming, "images")
    beside = masks is None and bool(naming.mask_suffix)
    pictures = _pictures(every, images, naming, beside=beside)
    if masks is None and not beside:
        cautions = [] if naming.image_suffix else _looks_masked(every)
        return _gather(pictures, None, repeated(pictures), cautions)
    where = masks or images
    drawn = every if masks is None else _by_stem(masks, naming, "masks")
    named = with_suffix(drawn, naming.mask_suffix) if naming.mask_suffix else drawn
    if not named:
        text = f"no mask in {where} ends in '{naming.mask_suffix}', as mask_suffix says; the first is called "
        raise ComponentError(f"{text}{min(drawn)!r}", field="mask_suffix")
    problems: dict[str, list[DataProblem]] = {}
    unmatched = _unmatched(pictures, named, images, where, naming)
    for some in (repeated(pictures), repeated(named), unmatched, not_png(named)):
        for stem, complaints in some.items():
            problems.setdefault(stem, []).extend(complaints)
    return _gather(pictures, named, problems, [])


def _gather(
    pictures: Mapping[str, Sequence[Path]],
    masks: Mapping[str, Sequence[Path]] | None,
    problems: Mapping[str, Sequence[DataProblem]],
    cautions: Sequence[str],
) -> Listing:
    """Bring the files of each name together; names that are left out keep their place among all names."""
    names = sorted(pictures.keys() | (masks or {}).keys(), key=natural_key)
    places = _places(names)
    files = [
        Files(stem, places[stem], pictures[stem][0], None if masks is None else masks[stem][0])
        for stem in names
        if stem not in problems
    ]
    placed = [replace(one, place=places[stem]) for stem, some in problems.items() for one in some]
    listed = places[names[-1]] + 1
    return Listing(files, listed, sorted(placed), tuple(cautions), masks is not None)


def _places(names: Sequence[str]) -> dict[str, int]:
    """Return the position of each name, sorted naturally.

    If the names are one word with running numbers, missing numbers keep their places.
    """
    matches = [_NUMBERED.fullmatch(name) for name in names]
    if all(matches) and len({match[1] for match in matches if match}) == 1:
        numbers = [int(match[2]) for match in matches if match]
        span = numbers[-1] - numbers[0] + 1
        if len(set(numbers)) == len(numbers) and len(numbers) >= _DENSE * span:
            return {name: number - numbers[0] for name, number in zip(names, numbers, strict=True)}
    return {name: place for place, name in enumerate(names)}


def _by_stem(folder: Path, naming: Naming, field: str) -> dict[str, list[Path]]:
    """Return the pictures in a folder by their stem: the path in the folder without the ending."""
    field = naming.field or field
    if not folder.is_dir():
        raise ComponentError(f"there is no folder {folder}; give one with pictures in it", field=field)
    found = by_stem(folder, recursive=naming.recursive)
    if not found:
        deeper = "" if naming.recursive else "; 'recursive: true' looks into the folders inside it too"
        text = f"no pictures ({', '.join(sorted(ENDINGS))}) in {folder}{deeper}"
        raise ComponentError(text, field=field)
    return found


def _pictures(
    every: Mapping[str, list[Path]], folder: Path, naming: Naming, *, beside: bool
) -> dict[str, list[Path]]:
    """Return the pictures by name: those with `image_suffix`, without masks that lie beside them."""
    first = min(every)
    if naming.image_suffix:
        found = with_suffix(every, naming.image_suffix)
        if not found:
            text = f"no picture in {folder} ends in '{naming.image_suffix}', as image_suffix says"
            raise ComponentError(f"{text}; the first is called {first!r}", field="image_suffix")
        return found
    if not beside:
        return dict(every)
    found = {stem: paths for stem, paths in every.items() if not stem.endswith(naming.mask_suffix)}
    if not found:
        text = f"every picture in {folder} ends in '{naming.mask_suffix}', as mask_suffix says of masks"
        raise ComponentError(f"{text}; the first is called {first!r}", field="mask_suffix")
    return found


def _looks_masked(every: Mapping[str, list[Path]]) -> list[str]:
    """Return a caution if there seem to be masks among the pictures."""
    pair = paired_suffix(every)
    if pair is not None:
        suffix, number = pair
        text = f"{number} of the {len(every)} pictures are named as another one and '{suffix}': if they are"
        return [f"{text} masks, write mask_suffix: {suffix}; now they are read as pictures"]
    twins = twin_suffixes(every)
    if twins is None:
        return []
    picture, mask = twins
    text = f"half of the {len(every)} pictures end in '{picture}', the others in '{mask}': if these are masks"
    return [f"{text}, write image_suffix: {picture} and mask_suffix: {mask}; now they are read as pictures"]


def _unmatched(
    images: Mapping[str, Sequence[Path]],
    masks: Mapping[str, Sequence[Path]],
    image_folder: Path,
    mask_folder: Path,
    naming: Naming,
) -> dict[str, list[DataProblem]]:
    """Return, by name, a problem for each picture without a mask and each mask without a picture."""
    bare, orphans = images.keys() - masks.keys(), masks.keys() - images.keys()
    drawn, taken = Nearby(orphans), Nearby(bare)
    problems: dict[str, list[DataProblem]] = {}
    for stem in bare:
        text = f"its mask {mask_folder}/{stem}{naming.mask_suffix}.png is missing"
        problems[stem] = [DataProblem(str(images[stem][0]), text + drawn.hint(stem, "mask_suffix"))]
    for stem in orphans:
        text = f"there is no picture {stem}{naming.image_suffix} in {image_folder}"
        problems[stem] = [DataProblem(str(masks[stem][0]), text + taken.hint(stem, "image_suffix"))]
    return problems
