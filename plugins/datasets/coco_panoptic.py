"""COCO: panoptic segmentations from PNGs, or instances from polygons and run lengths.

    annotations/panoptic_val2017.json      images, categories, annotations with segments_info
    annotations/panoptic_val2017/*.png     colors encode segments: id = red + 256 green + 65536 blue
    val2017/*.jpg                          the pictures

Sources: cocodataset.org/#format-data; Kirillov et al. 2019, "Panoptic Segmentation". Crowds (one
segment for a group that nobody took apart) are background unless `crowds` says otherwise.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator
from torch import Tensor

from slotlab.framework.contracts import VOID, DataError, DataProblem, DatasetContext, Sample
from slotlab.framework.data.formats.coco import CocoItem, Segment, draw_instance, read_segments
from slotlab.framework.data.formats.coco_match import list_coco
from slotlab.framework.data.formats.exif import Exif, Tagged, choose, read_as
from slotlab.framework.data.formats.pictures import decode, fingerprint_paths, rgb
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import ClosedModel, Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import custom_error, suggest


class CocoFiles(ClosedModel):
    """Where the files of a split are."""

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
    """What becomes of sky, grass and the like: 0 as the background, or segments as things are."""
    crowds: Literal["background", "void", "objects"] = "background"
    """What becomes of crowds, groups that nobody took apart: background, void (not scored), or objects."""
    unlabeled: Literal["background", "void"] = "background"
    """What becomes of pixels of panoptic PNGs that nobody labeled."""
    broken_annotations: Literal["fail", "skip"] = "fail"
    """What to do about a picture of which an annotation is broken: count the picture as broken, or leave
    out the annotation alone, with a caution."""
    exif: Exif | None = None
    """Whether files are turned as their EXIF orientation says: apply or ignore. null ignores it, as
    COCO's own tools do, and stops where picture and mask disagree and nothing tells which was meant."""

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
        """Return where the files of a split are."""
        if self.splits is None:
            return CocoFiles.model_validate(
                {"annotations": self.annotations, "images": self.images, "panoptic": self.panoptic}
            )
        if split not in self.splits:
            message = f"there is no split {split!r}; the splits are {', '.join(self.splits)}"
            raise ComponentError(message + suggest(split, self.splits))
        return self.splits[split]


class CocoDataset:
    """Pictures by their number in the JSON: image uint8 (3, H, W), mask uint8 or int32 (H, W).

    `objects` of a sample are its segments in the JSON's order (instances: the largest first, so that
    smaller ones are drawn over it), each with `index`, `category`, `area` (pixels, as the JSON says)
    and `thing`. A sample's id is its file's name: without ending, or as much of its path as makes it
    its own.
    """

    problems: Sequence[DataProblem]
    """Pictures that are left out, because a file or an annotation of theirs is missing or wrong."""
    cautions: Sequence[str]
    """Annotations that are left out where their pictures stay."""

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
        """How many images the JSON has."""
        if not self._items and not self.problems:
            raise ComponentError(f"{self._files.annotations} lists no pictures", field=field)
        if self._items and self._items[0].png is None and find_spec("pycocotools") is None:
            raise ComponentError("masks of instances need pycocotools: pip install 'slotlab[data]'")

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._items)

    @cached_property
    def places(self) -> Sequence[int]:
        """The positions among all images of the JSON."""
        return tuple(item.place for item in self._items)

    @cached_property
    def ids(self) -> Sequence[str]:
        """The pictures' names."""
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
        """Return labels as a panoptic PNG has them."""
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
        """Return labels drawn from polygons and run lengths: crowds first, so that objects lie over them."""
        assert item.size is not None
        labels_HW = np.zeros(item.size, np.int64)
        if self.config.crowds == "void":
            for _, pixels_HW in self._drawn(item, [one for one in item.segments if one.crowd]):
                labels_HW[pixels_HW] = VOID
        drawn = self._drawn(item, self._kept(item))
        for number, (_, pixels_HW) in enumerate(drawn, start=1):
            labels_HW[pixels_HW] = number
        return labels_HW, [segment for segment, _ in drawn]

    def _kept(self, item: CocoItem) -> list[Segment]:
        whole = [one for one in item.segments if self.config.crowds == "objects" or not one.crowd]
        return [one for one in whole if self.config.stuff == "segments" or one.category.thing]

    def _drawn(self, item: CocoItem, segments: Sequence[Segment]) -> list[tuple[Segment, NDArray[np.bool_]]]:
        """Draw instances, the largest first; one that cannot be is left out where the settings say so."""
        assert item.size is not None
        found = []
        for segment in segments:
            try:
                found.append((segment, draw_instance(segment, item.size)))
            except ValueError as error:
                if self.config.broken_annotations == "fail":
                    raise DataError(DataProblem(str(item.image), str(error))) from None
        return sorted(found, key=lambda pair: -(pair[1].sum() if pair[0].area is None else pair[0].area))


def facts_of(objects: Sequence[Segment]) -> dict[str, Any]:
    """Return the attributes of a sample with some objects."""
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
    )
