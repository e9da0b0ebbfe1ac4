"""What datasets are told and give. B images, H rows, W columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from slotlab.registry import SlotlabError

Size = tuple[int, int]
"""(rows, columns) in pixels or positions."""
Crop = int | Literal["square"] | tuple[int, int, int, int] | None
"""What is cut out of a picture: the side of a centered square, the largest one, or (top, left, height,
width), all in pixels; None for the whole picture."""
Resize = Literal["pil", "torch", "torch_antialias"]
"""Which library resizes, bilinear for images and nearest for masks."""
Counting = Literal["metadata", "mask_colors", "visible"]
"""What counts as the number of objects in a picture:

* `metadata`: objects that the data lists, seen or not;
* `mask_colors`: values in the whole mask, before any crop, minus one for the ground;
* `visible`: values left in the mask after the crop (before the resize), minus one.

Void does not count as a value.
"""


@dataclass(frozen=True, kw_only=True)
class DatasetContext:
    """For datasets: which split to give, and the size and seed of what is generated.

    `split` is `all` for a dataset whose Config names no `splits` of its own: the protocol
    splits it. `image_size` is for datasets whose Config says `rendered`; the others give
    pictures as they are. `seed` is the spec's `data.seed`, the same for every seed of a training.
    """

    split: str
    image_size: Size
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image. `id` names it in results; `attributes` may hold metadata of its objects.

    Attributes are data that JSON can hold. Three have a meaning everywhere: `num_objects`,
    `objects` (a list with an entry for each object; its `index` is its value in the mask), and
    `ground_material`. An object's `material`, `shape` and `size` are what evaluation groups by, and
    its `visible_fraction`, from 0 to 1, where the data tells how much of it is seen.
    """

    id: str
    image_CHW: Tensor
    """uint8 of shape (3, H, W)."""
    mask_HW: Tensor | None = None
    """Instance labels of any integer type, 0 for the background; None where there is no truth.

    `VOID` (-1) marks pixels that nobody labeled: no metric, filter or number of objects counts them.
    """
    attributes: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None
    """The picture's file, for messages."""


@dataclass(frozen=True, order=True)
class DataProblem:
    """One thing that is wrong with the data, and the file it is wrong with."""

    path: str
    reason: str
    place: int | None = field(default=None, compare=False)
    """Of the item that is left out for it: its position among all items (see `Dataset.places`)."""

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class DataError(SlotlabError):
    """Data that cannot be used, each problem with its file. Raised by `Dataset.__getitem__`."""

    def __init__(self, *problems: DataProblem, hint: str = ""):
        self.problems = problems
        self.hint = hint
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """One line for each problem, and one that says what can be done."""
        return [*map(str, self.problems), *([self.hint] if self.hint else [])]

    def __reduce__(self) -> tuple[Any, ...]:
        """Come whole out of a worker process."""
        return partial(type(self), hint=self.hint), self.problems


@runtime_checkable
class Dataset(Protocol):
    """A sized, indexable collection of samples. Item i is always the same.

    No two samples have the same id. A dataset may have more attributes, each used where it is there:

    * `fingerprint() -> str`: changes when the files behind it change (`framework.data.formats.pictures`
      makes one); without it the dataset cannot be packed.
    * `problems: Sequence[DataProblem]`: items that had to be left out while listing, such as
      pictures without their mask; a run stops with all of them unless told to skip.
    * `depends() -> JSON data`: for generated pictures, the settings that the pictures of this split depend on
      (not how many there are); without it all settings are taken. With split, size, seed and the component's
      version they make the fingerprint by which evaluations on other pictures are told apart.
    * `places: Sequence[int]` and `listed: int`: each sample's position among all items that the files
      tell of, those that had to be left out included, and the number of these. A protocol's
      splits are taken of them, so that a file that is missing moves no other item. `listed` is None
      where nobody can tell; such data cannot be split.
    * `ids: Sequence[str]`: the samples' ids, known without reading them, and checked at once.
    * `cautions: Sequence[str]`: what the user should know of the files, in sentences.
    * `mask(index) -> Tensor` and `attributes(index) -> Mapping`: parts of a sample, for those
      who need no more (counting objects); `mask_names(index) -> Mapping[int, str]`: how the mask's file
      writes each label, for messages.
    """

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`.

        Raises:
            IndexError: past the end.
            DataError: for a file that is broken or not as it should be.
        """


@dataclass(frozen=True, kw_only=True)
class RawBatch:
    """Samples brought together on a device, still as 8-bit images."""

    images_BCHW: Tensor
    """uint8 of shape (B, 3, H, W), in any memory format."""
    masks_BHW: Tensor | None
    """Instance labels of any integer type, `VOID` included, of shape (B, H, W); None without truth."""
    ids: tuple[str, ...]
    attributes: tuple[Mapping[str, Any], ...]


@runtime_checkable
class BatchedDataset(Dataset, Protocol):
    """A dataset that gives many samples at once faster than one by one (a store, a renderer).

    It may have a method `at_a_time(device) -> int`: how many samples it would rather make together.
    """

    def batch(self, indices: Sequence[int], device: torch.device, *, masks: bool = True) -> RawBatch:
        """Return the samples at `indices` on `device`; `masks=False` may leave the masks out."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples brought together on a device, images in the spec's value range."""

    images_BCHW: Tensor
    """float32 of shape (B, 3, H, W)."""
    masks_BHW: Tensor | None
    """int64 of shape (B, H, W), 0 for the background, `VOID` for what is not scored."""
    ids: tuple[str, ...]
    attributes: tuple[Mapping[str, Any], ...] = ()
    """What the data knows of each image's objects (see `Sample`)."""
    share: float = 1.0
    """The part that this process has of the batch of all processes together."""
