"""COCO: panoptic segmentations from PNGs, or instances from polygons and run lengths.

    annotations/panoptic_val2017.json      images, categories, annotations with segments_info
    annotations/panoptic_val2017/*.png     colors encode segments: id = red + 256 green + 65536 blue
    val2017/*.jpg                          the pictures

Sources: cocodataset.org/#format-data; Kirillov et al. 2019, "Panoptic Segmentation". Crowds (one
segment for a group that nobody took apart) are background: they are no objects.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import model_validator
from torch import Tensor

from slotlab.framework.coco import CocoItem, Entry, draw_instance, list_coco, read_segments
from slotlab.framework.contracts import DataProblem, DatasetContext, Sample
from slotlab.framework.files import decode, fingerprint_paths, rgb
from slotlab.framework.paths import SpecPath
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
    and `thing`.
    """

    problems: Sequence[DataProblem]
    """Pictures that are left out, because a file or an annotation of theirs is missing or wrong."""

    def __init__(self, config: CocoPanopticConfig, context: DatasetContext):
        self.config = config
        self._files = config.files(context.split)
        field = "annotations" if config.splits is None else "splits"
        try:
            listing = list_coco(self._files.annotations, self._files.images, self._files.panoptic)
        except ValueError as error:
            raise ComponentError(str(error), field=field) from None
        self._items, self._categories, self.problems = listing.items, listing.categories, listing.problems
        if not self._items and not self.problems:
            raise ComponentError(f"{self._files.annotations} lists no pictures", field=field)
        if self._items and self._items[0].png is None and find_spec("pycocotools") is None:
            raise ComponentError("masks of instances need pycocotools: pip install 'slotlab[data]'")

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._items)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`, read from disk; raises DataError for a broken or contradictory file."""
        image = self._items[index].image
        return Sample(
            id=image.stem,
            image_CHW=torch.from_numpy(rgb(decode(image, str(image)), str(image))),
            mask_HW=self.mask(index),
            attributes=self.attributes(index),
            path=str(image),
        )

    def mask(self, index: int) -> Tensor:
        """Return the mask of sample `index`; raises DataError for a broken or contradictory file."""
        item = self._items[index]
        kept = self._objects(item)
        if item.png is not None:
            ids, places_HW = read_segments(item, self._files.annotations)
            numbers = {segment["id"]: number for number, segment in enumerate(kept, start=1)}
            labels_HW = np.array([numbers.get(segment, 0) for segment in ids])[places_HW]
        else:
            assert item.size is not None
            labels_HW = np.zeros(item.size, np.int64)
            for number, segment in enumerate(kept, start=1):
                labels_HW[draw_instance(segment["segmentation"], item.size, str(item.image))] = number
        return torch.from_numpy(labels_HW.astype(np.uint8 if len(kept) < 256 else np.int32))

    def attributes(self, index: int) -> Mapping[str, Any]:
        """Return `objects` and `num_objects` of sample `index`."""
        objects = [
            {
                "index": number,
                "category": self._categories[segment["category_id"]]["name"],
                "area": segment.get("area"),
                "thing": self._is_thing(segment),
            }
            for number, segment in enumerate(self._objects(self._items[index]), start=1)
        ]
        return {"num_objects": len(objects), "objects": objects}

    def fingerprint(self) -> str:
        """Return the state of the JSON, the pictures and the PNGs."""
        paths = [path for item in self._items for path in (item.image, item.png) if path is not None]
        root = os.path.commonpath([self._files.annotations.parent, self._files.images])
        return fingerprint_paths([self._files.annotations, *paths], Path(root))

    def _objects(self, item: CocoItem) -> list[Entry]:
        whole = [segment for segment in item.segments if not segment.get("iscrowd")]
        return [part for part in whole if self.config.stuff == "segments" or self._is_thing(part)]

    def _is_thing(self, segment: Entry) -> bool:
        return bool(self._categories[segment["category_id"]].get("isthing", 1))


@hookimpl
def slotlab_datasets() -> Iterable[Component[CocoPanopticConfig]]:
    """Provide `coco_panoptic`."""
    yield Component(
        name="coco_panoptic",
        config=CocoPanopticConfig,
        build=CocoDataset,
        summary="pictures with COCO's panoptic or instance annotations",
    )
