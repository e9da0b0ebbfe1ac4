"""CLEVRTex and its variants, from the official tree of files or from the archives as downloaded.

Source: Karazija et al. 2021, "ClevrTex: A Texture-Rich Benchmark for Unsupervised
Multi-Object Segmentation". Axes as in `slotlab.framework.contracts`.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from slotlab.framework.contracts import DataProblem, DatasetContext, Downloads, Recognized, Sample, Source
from slotlab.framework.data.formats import clevrtex_scene as scene
from slotlab.framework.data.formats.archives import ArchiveProgress
from slotlab.framework.data.formats.clevrtex_tree import find_scenes, variants_in
from slotlab.framework.data.formats.pictures import fingerprint_paths
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, hookimpl

_HOST = "https://thor.robots.ox.ac.uk/datasets/clevrtex/clevrtex_"
_LICENSE = "see https://www.robots.ox.ac.uk/~vgg/data/clevrtex"
_PARTS = [
    Source(url=f"{_HOST}full_part{number}.tar.gz", bytes=4_700_000_000, license=_LICENSE)
    for number in range(1, 6)
]
_PROTOCOL = "clevrtex-official"
"""The protocol that is usual for these pictures."""


class CLEVRTexConfig(ComponentConfig):
    """Settings of CLEVRTex."""

    root: SpecPath
    """The folder that holds `clevrtex_<variant>` or the archives as downloaded; or one of these itself."""
    variant: Literal["full", "outd", "camo", "pbg", "vbg", "grassbg"] = "full"
    """Which of the published data sets to read."""
    picture_size: tuple[PositiveInt, PositiveInt] = (320, 240)
    """Columns and rows of every picture: the same in all published data, but not in rendered data."""

    published_data: ClassVar[str] = "clevrtex"
    downloads: ClassVar[Downloads] = Downloads(
        parts={
            "full": tuple(_PARTS),
            "outd": (Source(url=f"{_HOST}outd.tar.gz", bytes=5_300_000_000, license=_LICENSE),),
            "camo": (Source(url=f"{_HOST}camo.tar.gz", license=_LICENSE),),
        },
        usual=("full",),
        by_hand="the archives are read as they are; pbg, vbg and grassbg are on the page of the data",
    )
    recognized_data: ClassVar[str] = "the folder that holds clevrtex_<variant> or its archives"

    @classmethod
    def recognize(cls, path: Path) -> Recognized | None:
        """Return the variants in a folder, or the one whose folder or archive `path` is."""
        found = variants_in(path)
        if not found:
            return None
        settings = {"root": str(path)}
        if len(found) == 1:
            return Recognized(settings={**settings, "variant": found[0]}, protocol=_PROTOCOL)
        return Recognized(settings=settings, protocol=_PROTOCOL, choices={"variant": found})

    @property
    def unsplit(self) -> bool:
        """Whether every split is the whole variant: `outd` is published as one test set."""
        return self.variant == "outd"

    @property
    def object_limit(self) -> int:
        """Most objects in a scene."""
        return scene.MOST_OBJECTS


class CLEVRTexDataset:
    """All scenes of a variant by index: image uint8 (3, H, W), mask uint8 (H, W), 0 for the ground.

    Mask value i is object i of the JSON, counted from 1. Attributes of a sample: `objects` (the JSON's,
    with index, shape, size, material, rotation), `num_objects` and `ground_material`.
    """

    problems: Sequence[DataProblem]
    """Scenes that are left out because a file is missing or exists twice, and broken archives."""
    cautions: Sequence[str]
    """Warnings about missing parts of the published data."""

    def __init__(self, config: CLEVRTexConfig, context: DatasetContext):
        self.config = config
        self._found = find_scenes(config.root, config.variant, ArchiveProgress())
        self.problems, self.cautions = self._found.problems, self._found.cautions

    def __len__(self) -> int:
        """Return the number of scenes."""
        return len(self._found.scenes)

    @property
    def listed(self) -> int:
        """The number of scenes, including those that are left out or missing."""
        return len(self._found.extent)

    @cached_property
    def places(self) -> Sequence[int]:
        """The position of each scene among all, by its index."""
        return tuple(files.number - self._found.extent.start for files in self._found.scenes)

    @cached_property
    def ids(self) -> Sequence[str]:
        """The scenes' names."""
        return tuple(scene.stem(self.config.variant, files.number) for files in self._found.scenes)

    def __getitem__(self, index: int) -> Sample:
        """Return scene `index`, read from disk; raises DataError for a broken file."""
        files = self._found.scenes[index]
        return Sample(
            id=scene.stem(self.config.variant, files.number),
            image_CHW=torch.from_numpy(scene.read_image(files.image, self.config.picture_size)),
            mask_HW=self.mask(index),
            attributes=self.attributes(index),
            path=files.image.name,
        )

    def mask(self, index: int) -> Tensor:
        """Return the mask of scene `index`, uint8 (H, W); raises DataError for a broken file."""
        blob = self._found.scenes[index].mask
        return torch.from_numpy(scene.read_mask(blob, self.config.picture_size))

    def attributes(self, index: int) -> Mapping[str, Any]:
        """Return what the JSON says of scene `index`; raises DataError for a broken file."""
        return scene.read_attributes(self._found.scenes[index].metadata)

    def fingerprint(self) -> str:
        """Return the state of the files: of the archives, or of each file of a tree."""
        found = self._found
        if found.archives:
            return fingerprint_paths(found.archives, found.root)
        return fingerprint_paths((blob.path for files in found.scenes for blob in files[1:]), found.root)


@hookimpl
def slotlab_datasets() -> Iterable[Component[CLEVRTexConfig]]:
    """Provide `clevrtex`."""
    yield Component(
        name="clevrtex",
        config=CLEVRTexConfig,
        build=CLEVRTexDataset,
        summary="CLEVRTex and its variants, from the official files or archives",
        version=2,
    )
