"""Optional capabilities of datasets, beyond what `Dataset` requires: each is a Protocol of one member.

A dataset has a capability if it has the member; it need not derive from the Protocol. The framework reads all
of them in `slotlab.framework.data.read_capabilities`, which also says what holds for a dataset without one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from slotlab.framework.contracts.data import DataProblem


@runtime_checkable
class HasFingerprint(Protocol):
    """The state of the files. Without it a dataset cannot be packed, and results name its settings only."""

    def fingerprint(self) -> str:
        """Return a text that changes when the files change (`framework.data.formats.pictures` makes one)."""


@runtime_checkable
class HasProblems(Protocol):
    """Items left out while listing the files. Without it: none were left out."""

    @property
    def problems(self) -> Sequence[DataProblem]:
        """The problem of each item, such as a picture without a mask; a run stops, or skips them."""


@runtime_checkable
class HasCautions(Protocol):
    """Warnings about the files. Without it: none."""

    @property
    def cautions(self) -> Sequence[str]:
        """What the user should know about the files, each a sentence."""


@runtime_checkable
class HasIds(Protocol):
    """Ids that are known without reading samples. Without it: duplicates are found while reading."""

    @property
    def ids(self) -> Sequence[str]:
        """The id of each sample, in order; checked for duplicates when the dataset is opened."""


@runtime_checkable
class HasListed(Protocol):
    """How many items the files tell of. Without it: the number of samples, or of videos if it has videos."""

    @property
    def listed(self) -> int | None:
        """The number of items, including those left out; None if it is unknown: such data cannot be split."""


@runtime_checkable
class HasPlaces(Protocol):
    """Positions among all items that the files tell of. Without it: sample i is item i, or part of video i.

    A protocol splits these positions, so that a missing file moves no other item into another split. In a
    dataset of videos the items are the videos, and all frames of one have its position.
    """

    @property
    def places(self) -> Sequence[int]:
        """The position of each sample, from 0 to `listed` - 1, increasing; equal for frames of a video."""


@runtime_checkable
class HasMask(Protocol):
    """Masks that can be read alone, to count objects. Without it: whole samples are read."""

    def mask(self, index: int) -> Tensor:
        """Return the mask of sample `index`: labels of an integer type, of shape (H, W).

        Raises:
            DataError: for a file that is broken.
        """


@runtime_checkable
class HasMaskNames(Protocol):
    """How mask files write their labels. Without it: as the labels' numbers."""

    def mask_names(self, index: int) -> Mapping[int, str]:
        """Return what the file of sample `index` writes for each label: a number, or a color as `#rrggbb`."""


@runtime_checkable
class HasAttributes(Protocol):
    """Attributes that can be read alone, to count objects. Without it: whole samples are read."""

    def attributes(self, index: int) -> Mapping[str, Any]:
        """Return the attributes of sample `index` (see `Sample`).

        Raises:
            DataError: for a file that is broken.
        """


@runtime_checkable
class HasDepends(Protocol):
    """For generated pictures: what they depend on. Without it: all settings of the dataset.

    With split, size, seed and the component's version it makes the fingerprint by which evaluations on other
    pictures are told apart.
    """

    def depends(self) -> Any:
        """Return the settings that the pictures depend on (not how many there are), as JSON data."""


@runtime_checkable
class HasEndless(Protocol):
    """Whether positions past the end give further samples. Without it: they do not."""

    @property
    def endless(self) -> bool:
        """True if every epoch shows new samples; such a dataset is not packed."""


@runtime_checkable
class HasAtATime(Protocol):
    """For `BatchedDataset`: a preferred number of samples in a call. Without it: one batch at a time."""

    def at_a_time(self, device: torch.device) -> int:
        """Return how many samples are best made in one call of `batch` on `device`."""


@runtime_checkable
class HasFlow(Protocol):
    """The motion of each pixel. Without it: no loss can ask for `flow`.

    It is read for losses that need it alone, and prepared like the picture: cropped, resized, mirrored, and
    its vectors scaled with the size.
    """

    def flow(self, index: int) -> Tensor:
        """Return how far the surface in each pixel of sample `index` moved since the frame before.

        Floats (H, W, 2): (row, column) in pixels of the file, rows counted downward; of the picture's size.

        Raises:
            DataError: for a file that is broken, or has none.
        """


@runtime_checkable
class HasDepth(Protocol):
    """The distance of each pixel. Without it: no loss can ask for `depth`. Read and prepared as `HasFlow`."""

    def depth(self, index: int) -> Tensor:
        """Return how far the surface in each pixel of sample `index` is away.

        Floats (H, W), not negative, in the units of the data, which says from where; of the picture's size.

        Raises:
            DataError: for a file that is broken, or has none.
        """


@runtime_checkable
class HasVideos(Protocol):
    """Samples that are frames of videos. Without it: `data.clip` cannot make clips of them.

    Frames are read, prepared, packed and filtered like any picture. An object has the same mask value in all
    frames of its video. A protocol splits the videos: all frames of one are in the same split.
    """

    @property
    def videos(self) -> Sequence[Sequence[int]]:
        """The samples of each video, in the order of time; each sample belongs to one video."""
