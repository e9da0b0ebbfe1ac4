"""COCO: panoptic segmentations from PNGs, or instances from polygons and run lengths.

    annotations/panoptic_val2017.json      images, categories, annotations with segments_info
    annotations/panoptic_val2017/*.png     colors encode segments: id = red + 256 green + 65536 blue
    val2017/*.jpg                          the pictures

Sources: cocodataset.org/#format-data; Kirillov et al. 2019, "Panoptic Segmentation". Crowds (a group of
objects that was annotated as one segment) are background unless `crowds` says otherwise.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator
from torch import Tensor

from slotlab.framework.contracts import (
    VOID,
    DataError,
    DataProblem,
    DatasetContext,
    Downloads,
    Recognized,
    Sample,
    Source,
)
from slotlab.framework.data.formats.coco import (
    CocoItem,
    Overlaps,
    Segment,
    draw_instance,
    paint_instances,
    read_segments,
)
from slotlab.framework.data.formats.coco_match import list_coco
from slotlab.framework.data.formats.exif import Exif, Tagged, choose, read_as
from slotlab.framework.data.formats.pictures import decode, fingerprint_paths, rgb
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import ClosedModel, Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import custom_error, suggest

_HOST = "http://images.cocodataset.org/"
_LICENSE = "annotations CC BY 4.0, pictures by Flickr's terms: https://cocodataset.org/#termsofuse"
_PANOPTIC = re.compile(r"panoptic_(([A-Za-z_]*?)[0-9]*)\.json")
_PLACES = ("panoptic_*.json", "annotations/panoptic_*.json")


def _pictures(name: str, size: int) -> Source:
    """Return where the pictures of a split are published."""
    return Source(url=f"{_HOST}zips/{name}.zip", bytes=size, license=_LICENSE, unpack=".")


class CocoFiles(ClosedModel):
    """The files of a split."""

    annotations: SpecPath
    """The JSON: panoptic, or of instances."""
    images: SpecPath
    """The folder of the pictures."""
    panoptic: SpecPath | None = None
    """The folder of the panoptic PNGs; null for the one beside the JSON with its name."""


class CocoPanopticConfig(ComponentConfig):
    """Settings of data in COCO's formats."""

    annotations: SpecPath | None = None
    """The JSON, panoptic or of instances, which the protocol splits; or give `splits`."""
    images: SpecPath | None = None
    """The folder of its pictures."""
    panoptic: SpecPath | None = None
    """The folder of its panoptic PNGs; null for the one beside the JSON with its name."""
    splits: Mapping[str, CocoFiles] | None = None
    """Files for each split, such as {train: {annotations: JSON, images: DIR}, val: ...}."""
    stuff: Literal["background", "segments"] = "background"
    """How stuff (sky, grass and the like) is labeled: as background, or as segments like things."""
    crowds: Literal["background", "void", "objects"] = "background"
    """How crowds (groups annotated as one segment) are labeled: background, void (not scored), or objects."""
    overlaps: Overlaps = "smallest"
    """Whose pixels are where instances overlap: the smallest's; those of the first or the last in the JSON;
    background; or void (not scored). Segments of panoptic PNGs never overlap."""
    unlabeled: Literal["background", "void"] = "background"
    """How unlabeled pixels of panoptic PNGs are labeled: background, or void (not scored)."""
    broken_annotations: Literal["fail", "skip"] = "fail"
    """What a broken annotation does: its picture counts as broken, or only the annotation is left out, with a
    caution."""
    exif: Exif | None = None
    """Whether files are turned as their EXIF orientation says: apply or ignore.
    null ignores it, as COCO's own tools do, and is an error if picture and mask disagree and nothing tells
    which reading is meant."""

    downloads: ClassVar[Downloads] = Downloads(
        parts={
            "annotations": (
                Source(
                    url=f"{_HOST}annotations/panoptic_annotations_trainval2017.zip",
                    license=_LICENSE,
                    unpack=".",
                    inner=("annotations/panoptic_train2017.zip", "annotations/panoptic_val2017.zip"),
                ),
            ),
            "instances": (
                Source(
                    url=f"{_HOST}annotations/annotations_trainval2017.zip",
                    bytes=241_000_000,
                    license=_LICENSE,
                    unpack=".",
                ),
            ),
            "train": (_pictures("train2017", 18_000_000_000),),
            "val": (_pictures("val2017", 1_000_000_000),),
        },
        usual=("annotations", "train", "val"),
    )
    recognized_data: ClassVar[str] = "COCO's folder with annotations/panoptic_*.json"

    @classmethod
    def recognize(cls, path: Path) -> Recognized | None:
        """Return the panoptic JSONs in `path` or in its folder `annotations`, or the one that `path` is."""
        files = [path] if path.is_file() else [f for p in _PLACES for f in path.glob(p)]
        matches = {file: match for file in sorted(files) if (match := _PANOPTIC.fullmatch(file.name))}
        parts = {
            match[2] or match[1]: {"annotations": str(file), "images": str(_above(file) / match[1])}
            for file, match in matches.items()
        }
        if not parts:
            return None
        if len(parts) == 1:
            return Recognized(settings=next(iter(parts.values())))
        ranks = {name: rank for rank, name in enumerate(("train", "val", "test"))}
        order = sorted(parts, key=lambda name: (ranks.get(name, len(ranks)), name))
        return Recognized(settings={"splits": {name: parts[name] for name in order}})

    @model_validator(mode="after")
    def _one_way(self) -> "CocoPanopticConfig":
        if (self.annotations is None) == (not self.splits):
            raise custom_error("coco_files", "give either 'annotations' or, for each split, 'splits'")
        if (self.annotations is None) != (self.images is None):
            raise custom_error("coco_files", "give 'images' with 'annotations', or inside 'splits'")
        if self.splits and self.panoptic is not None:
            raise custom_error("coco_files", "give the panoptic PNGs of each split inside 'splits'")
        return self

    def files(self, split: str) -> CocoFiles:
        """Return the files of a split.

        Raises:
            ComponentError: if there is no such split.
        """
        if self.splits is None:
            return CocoFiles.model_validate(
                {"annotations": self.annotations, "images": self.images, "panoptic": self.panoptic}
            )
        if split not in self.splits:
            message = f"there is no split {split!r}; the splits are {', '.join(self.splits)}"
            raise ComponentError(message + suggest(split, self.splits))
        return self.splits[split]


class CocoDataset:
    """Pictures by their id in the JSON: image uint8 (3, H, W), mask uint8 or int32 (H, W).

    `objects` of a sample are its segments in the JSON's order (instances: the largest first, where `overlaps`
    says that the smallest win), each with `index`, `category`, `area` (in pixels, as the JSON says) and
    `thing`. A sample's id is its file's name without ending, with as much of its path as makes it unique.
    """

    problems: Sequence[DataProblem]
    """Pictures that are left out because a file or an annotation of theirs is missing or broken."""
    cautions: Sequence[str]
    """Warnings about annotations that are left out while their pictures stay."""

    def __init__(self, config: CocoPanopticConfig, context: DatasetContext):
        self.config = config
        self._files = config.files(context.split)
        field = "annotations" if config.splits is None else "splits"
        files = self._files
        try:
            listing = list_coco(files.annotations, files.images, files.panoptic, config.broken_annotations)
        except ValueError as error:
            raise ComponentError(str(error), field=field) from None
        self._items, self.problems, self.cautions = listing.items, listing.problems, listing.cautions
        self.listed = listing.listed
        """The number of images in the JSON."""
        if not self._items and not self.problems:
            raise ComponentError(f"{self._files.annotations} lists no pictures", field=field)
        if self._items and self._items[0].png is None and find_spec("pycocotools") is None:
            raise ComponentError("masks of instances need pycocotools: pip install 'slotlab[data]'")

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._items)

    @cached_property
    def places(self) -> Sequence[int]:
        """The position of each picture among all images of the JSON."""
        return tuple(item.place for item in self._items)

    @cached_property
    def ids(self) -> Sequence[str]:
        """The id of each picture."""
        return tuple(item.name for item in self._items)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`, read from disk; raises DataError for a broken or contradictory file."""
        item = self._items[index]
        name = str(item.image)
        image = decode(item.image, name)
        if item.png is None:
            assert item.size is not None
            mask, what = (
                Tagged(item.size[1], item.size[0]),
                f"image {item.number} of {self._files.annotations}",
            )
        else:
            mask, what = Tagged.of(decode(item.png, str(item.png))), f"its PNG {item.png}"
        exif = choose(Tagged.of(image), mask, self.config.exif, usual="ignore", names=(name, what))
        if item.png is None and Tagged.of(image).size(exif) != mask.size(exif):
            said, there = ("{}x{}".format(*tagged.size(exif)) for tagged in (mask, Tagged.of(image)))
            text = f"has {there} pixels, and width and height of {what} are {said}"
            raise DataError(DataProblem(name, text))
        mask_HW, objects = self._read(item, exif)
        return Sample(
            id=item.name,
            image_CHW=torch.from_numpy(rgb(read_as(image, exif), name)),
            mask_HW=mask_HW,
            attributes=facts_of(objects),
            path=name,
        )

    def mask(self, index: int) -> Tensor:
        """Return the mask of sample `index`; raises DataError for a broken or contradictory file."""
        return self._read(self._items[index], self.config.exif or "ignore")[0]

    def attributes(self, index: int) -> Mapping[str, Any]:
        """Return `objects` and `num_objects` of sample `index`; raises DataError for a broken annotation."""
        item = self._items[index]
        kept = self._kept(item)
        return facts_of(kept if item.png is not None else [one for one, _ in self._drawn(item, kept)])

    def fingerprint(self) -> str:
        """Return the state of the JSON, the pictures and the PNGs."""
        paths = [path for item in self._items for path in (item.image, item.png) if path is not None]
        root = os.path.commonpath([self._files.annotations.parent, self._files.images])
        return fingerprint_paths([self._files.annotations, *paths], Path(root))

    def _read(self, item: CocoItem, exif: Exif) -> tuple[Tensor, Sequence[Segment]]:
        """Return the mask, and the segments that are objects, in the order of their labels."""
        labels_HW, objects = self._from_png(item, exif) if item.png is not None else self._from_shapes(item)
        wide = labels_HW.min() < 0 or labels_HW.max() > 255
        return torch.from_numpy(labels_HW.astype(np.int32 if wide else np.uint8)), objects

    def _from_png(self, item: CocoItem, exif: Exif) -> tuple[NDArray[np.int64], Sequence[Segment]]:
        """Return the labels of a panoptic PNG, and its objects."""
        assert item.png is not None
        picture = read_as(decode(item.png, str(item.png)), exif)
        ids, places_HW = read_segments(picture, item, self._files.annotations)
        kept = self._kept(item)
        numbers: dict[Any, int] = {0: VOID if self.config.unlabeled == "void" else 0}
        if self.config.crowds == "void":
            numbers |= {segment.id: VOID for segment in item.segments if segment.crowd}
        numbers |= {segment.id: number for number, segment in enumerate(kept, start=1)}
        return np.array([numbers.get(segment, 0) for segment in ids])[places_HW], kept

    def _from_shapes(self, item: CocoItem) -> tuple[NDArray[np.int64], Sequence[Segment]]:
        """Return labels drawn from polygons and run lengths, crowds first, and the objects."""
        assert item.size is not None
        labels_HW = np.zeros(item.size, np.int64)
        if self.config.crowds == "void":
            for _, pixels_HW in self._drawn(item, [one for one in item.segments if one.crowd]):
                labels_HW[pixels_HW] = VOID
        drawn = self._drawn(item, self._kept(item))
        paint_instances([pixels_HW for _, pixels_HW in drawn], labels_HW, self.config.overlaps)
        return labels_HW, [segment for segment, _ in drawn]

    def _kept(self, item: CocoItem) -> list[Segment]:
        whole = [one for one in item.segments if self.config.crowds == "objects" or not one.crowd]
        return [one for one in whole if self.config.stuff == "segments" or one.category.thing]

    def _drawn(self, item: CocoItem, segments: Sequence[Segment]) -> list[tuple[Segment, NDArray[np.bool_]]]:
        """Return the pixels of instances, broken ones left out if the settings say so.

        The largest come first if the smallest win where they overlap, else they keep the JSON's order.

        Raises:
            DataError: for a broken instance, if the settings do not say so.
        """
        assert item.size is not None
        found = []
        for segment in segments:
            try:
                found.append((segment, draw_instance(segment, item.size)))
            except ValueError as error:
                if self.config.broken_annotations == "fail":
                    raise DataError(DataProblem(str(item.image), str(error))) from None
        if self.config.overlaps != "smallest":
            return found
        return sorted(found, key=lambda pair: -(pair[1].sum() if pair[0].area is None else pair[0].area))


def _above(file: Path) -> Path:
    """Return the folder that holds the pictures' folders: COCO keeps its JSONs in `annotations` there."""
    return file.parent.parent if file.parent.name == "annotations" else file.parent


def facts_of(objects: Sequence[Segment]) -> dict[str, Any]:
    """Return the attributes of a sample with these objects."""
    facts = [
        {"index": number, "category": one.category.name, "area": one.written, "thing": one.category.thing}
        for number, one in enumerate(objects, start=1)
    ]
    return {"num_objects": len(facts), "objects": facts}


@hookimpl
def slotlab_datasets() -> Iterable[Component[CocoPanopticConfig]]:
    """Provide `coco_panoptic`."""
    yield Component(
        name="coco_panoptic",
        config=CocoPanopticConfig,
        build=CocoDataset,
        summary="pictures with COCO's panoptic or instance annotations",
        install="slotlab[data]",
    )
