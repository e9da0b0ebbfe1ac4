"""CLEVRTex and its variants, from the official tree of files.

Source: Karazija et al. 2021, "ClevrTex: A Texture-Rich Benchmark for Unsupervised
Multi-Object Segmentation"; splits, crop and resize as in the authors' `clevrtex_eval.py`.
Axes as in `slotlab.framework.contracts`.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import PositiveInt

from slotlab.framework import clevrtex_tree as tree
from slotlab.framework.contracts import DatasetContext, Sample
from slotlab.framework.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import suggest

MOST_OBJECTS = 10
"""No scene of any variant has more."""


class CLEVRTexConfig(ComponentConfig):
    """Settings of CLEVRTex."""

    root: SpecPath
    """The folder that holds `clevrtex_<variant>`, or that folder itself."""
    variant: Literal["full", "outd", "camo", "pbg", "vbg", "grassbg"] = "full"
    """Which of the published data sets."""
    crop: PositiveInt | None = 192
    """Side in pixels of the centered square to show; null squashes the whole picture."""
    max_objects: PositiveInt | None = None
    """Keep scenes of at most so many objects (6 for CLEVRTex6); null keeps all."""
    count: Literal["metadata", "mask_colors"] = "metadata"
    """What `max_objects` counts: objects in the JSON, or values in the uncropped mask less one."""

    splits: ClassVar[tuple[str, ...]] = tuple(tree.SPLITS)

    @property
    def object_limit(self) -> int:
        """Most objects in a scene."""
        return self.max_objects or MOST_OBJECTS


class CLEVRTexDataset:
    """Samples of CLEVRTex: image uint8 (3, H, W), mask int64 (H, W), 0 for the ground.

    Mask value i is object i of the JSON, counted from 1; an object outside the crop has no
    pixel. Attributes of a sample: `objects` (the JSON's, with shape, size, material),
    `num_objects` and `ground_material`.

    Splits are by sorted index: `test` the first tenth, `val` the second, `train` the rest,
    `all` everything. `outd` is one test set: each of the four names gives all of it. The
    fractions are of the scenes found, so a part of the archive has other splits than the
    whole. `max_objects` applies after the split.
    """

    def __init__(self, config: CLEVRTexConfig, context: DatasetContext):
        if context.split not in tree.SPLITS:
            message = f"there is no split {context.split!r}; the splits are {', '.join(tree.SPLITS)}"
            raise ComponentError(message + suggest(context.split, tree.SPLITS))
        self.config = config
        self.context = context
        folder = tree.find_folder(config.root, config.variant)
        found = tree.find_scenes(folder, config.variant)
        _check_crop(config, found[0])
        scenes = tree.take_split(found, config.variant, context.split)
        if not scenes:
            message = f"split {context.split!r} is empty: {folder} has too few scenes, {len(found)}"
            raise ComponentError(message, field="root")
        self._scenes = tuple(_filter(scenes, config, context.split))

    def __len__(self) -> int:
        """Return the number of scenes."""
        return len(self._scenes)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`, read from disk; raises SlotlabError for a broken file."""
        files = self._scenes[index]
        crop, size = self.config.crop, self.context.image_size
        image_HWC = tree.read_image(files, crop, size)
        mask_HW = tree.read_mask(files, crop, size)
        metadata = tree.read_metadata(files)
        return Sample(
            id=files.stem,
            image_CHW=torch.from_numpy(image_HWC.transpose(2, 0, 1).copy()),
            mask_HW=torch.from_numpy(mask_HW.astype(np.int64)),
            attributes={
                "objects": metadata["objects"],
                "num_objects": len(metadata["objects"]),
                "ground_material": metadata.get("ground_material"),
            },
        )


def _check_crop(config: CLEVRTexConfig, first: tree.Files) -> None:
    # Pictures of a variant are all alike, so the first stands for all; each is checked when read.
    width, height = tree.image_size(first)
    if config.crop is not None and config.crop > min(width, height):
        message = f"{config.crop} is too much for pictures of {width}x{height}; at most {min(width, height)}"
        raise ComponentError(message, field="crop")


def _filter(scenes: Sequence[tree.Files], config: CLEVRTexConfig, split: str) -> list[tree.Files]:
    if config.max_objects is None:
        return list(scenes)
    counts = [tree.count_objects(files, config.count) for files in scenes]
    kept = [files for files, count in zip(scenes, counts, strict=True) if count <= config.max_objects]
    if not kept:
        raise ComponentError(
            f"none of the {len(scenes)} scenes of split {split!r} has at most {config.max_objects} objects "
            f"(by {config.count}); they have {min(counts)} to {max(counts)}",
            field="max_objects",
        )
    return kept


@hookimpl
def slotlab_datasets() -> Iterable[Component[CLEVRTexConfig]]:
    """Provide `clevrtex`."""
    yield Component(
        name="clevrtex",
        config=CLEVRTexConfig,
        build=CLEVRTexDataset,
        summary="CLEVRTex and its variants, from the official files",
    )
