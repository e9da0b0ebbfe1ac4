"""What datasets receive when they are built, and what they return. B images, H rows, W columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from slotlab.registry import SlotlabError

Size = tuple[int, int]
"""(rows, columns) in pixels or positions."""
Crop = int | Literal["square"] | tuple[int, int, int, int] | None
"""What is cut out of a picture: the side of a centered square, the largest one, or (top, left, height,
width), all in pixels; None for the whole picture."""
Resize = Literal["pil", "torch", "torch_antialias"]
"""Which library resizes."""
Interpolation = Literal["bilinear", "bicubic"]
"""How images are resized. Bicubic values that leave the range of images are clipped to it."""
MaskResize = Literal["nearest", "nearest_exact"]
"""Which neighbor torch takes for a label: by its plain `nearest` the one at the pixel's upper left corner, by
the exact one that at its center, which PIL takes by either name."""
Fit = Literal["squash", "cover"]
"""How a picture comes to a size: squashed to it; or resized to just cover it, then cut around its center."""
Counting = Literal["metadata", "mask_colors", "visible"]
"""What counts as the number of objects in a picture:

* `metadata`: objects that the data lists, seen or not;
* `mask_colors`: values in the whole mask, before any crop, minus one for the ground;
* `visible`: values left in the mask after the crop (in pixels of the file), minus one.

Void does not count as a value.
"""


Field = Literal["flow", "depth"]
"""What data may know of each pixel besides its color and its object: numbers that a loss may need.

* `flow`: how far the surface in the pixel moved since the frame before, two numbers (row, column) in pixels;
* `depth`: how far away it is, one number in the units of the data, not negative.
"""
FIELD_CHANNELS: Mapping[Field, int] = {"flow": 2, "depth": 1}
"""How many numbers a field has at a pixel."""


@dataclass(frozen=True, kw_only=True)
class DatasetContext:
    """For datasets: which split to return, and the size and seed of generated pictures.

    `split` is `all` for a dataset whose Config has no `splits` of its own: the protocol splits it.
    `image_size` is for datasets whose Config says `rendered`; the others return pictures at the size
    of their files. `seed` is the spec's `data.seed`, the same for every seed of a training.
    """

    split: str
    image_size: Size
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image. `id` names it in results; `attributes` may hold metadata of its objects.

    Attributes are data that JSON can hold. Three have a meaning everywhere: `num_objects`,
    `objects` (a list with an entry for each object; its `index` is its value in the mask), and
    `ground_material`. Evaluation groups by an object's `material`, `shape` and `size`, and by its
    `visible_fraction`, from 0 to 1, where the data has it.
    """

    id: str
    image_CHW: Tensor
    """uint8 of shape (3, H, W)."""
    mask_HW: Tensor | None = None
    """Instance labels of any integer type, 0 for the background; None without ground truth.

    `VOID` (-1) marks pixels that nobody labeled: no metric, filter or number of objects counts them.
    """
    attributes: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None
    """The picture's file, for error messages."""


@dataclass(frozen=True, order=True)
class DataProblem:
    """One thing that is wrong with the data, and the file where it is wrong."""

    path: str
    reason: str
    place: int | None = field(default=None, compare=False)
    """Of the item that is left out for it: its position among all items (see `HasPlaces`)."""

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class DataError(SlotlabError):
    """Data that cannot be used, each problem with its file. Raised by `Dataset.__getitem__`."""

    def __init__(self, *problems: DataProblem, hint: str = ""):
        self.problems = problems
        self.hint = hint
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """Return one line for each problem, and one that says what can be done."""
        return [*map(str, self.problems), *([self.hint] if self.hint else [])]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with all problems, so that the error comes out of a worker process unchanged."""
        return partial(type(self), hint=self.hint), self.problems


@runtime_checkable
class Dataset(Protocol):
    """A sized, indexable collection of samples. Item i is always the same.

    No two samples have the same id. A dataset may offer more, such as a fingerprint of its files, or masks
    that can be read alone: see `framework.contracts.dataset_capabilities`.
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
class Recognized:
    """What a dataset reads from a file or folder that it recognizes."""

    settings: Mapping[str, Any]
    """Settings of its Config, as a spec writes them."""
    protocol: str | None = None
    """The name of the protocol that is usual for such data; None for the default of `data.protocol`."""
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Settings with several values that are all there: the user must choose one."""
    general: bool = False
    """True for a claim on data of any origin, such as a folder of pictures: other claims are preferred."""


@runtime_checkable
class RecognizesData(Protocol):
    """A dataset's Config class that recognizes its data, so that `slotlab data` takes a path without a spec.

    It is optional. Where several datasets recognize a path, those that are not `general` are preferred; if
    several are left, the user is asked to choose.
    """

    recognized_data: ClassVar[str]
    """What is recognized, in words that complete "give ...": `a folder of pictures`."""

    @classmethod
    def recognize(cls, path: Path) -> Recognized | None:
        """Return what the dataset reads from `path`, by names and headers alone; None if it is not its data.

        Args:
            path: an absolute path of a file or folder that exists.
        """


@dataclass(frozen=True, kw_only=True)
class RawBatch:
    """Samples brought together on a device, still as 8-bit images."""

    images_BCHW: Tensor
    """uint8 of shape (B, 3, H, W), in any memory format."""
    masks_BHW: Tensor | None
    """Instance labels of any integer type, `VOID` included, (B, H, W); None without ground truth. H and W may
    be others than the images', where the protocol has a `mask_size`."""
    ids: tuple[str, ...]
    attributes: tuple[Mapping[str, Any], ...]


@runtime_checkable
class BatchedDataset(Dataset, Protocol):
    """A dataset that gives many samples at once faster than one by one (a store, a renderer)."""

    def batch(self, indices: Sequence[int], device: torch.device, *, masks: bool = True) -> RawBatch:
        """Return the samples at `indices` on `device`; `masks=False` may leave the masks out."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples brought together on a device, images in the spec's value range.

    Where `frames` is T, they are clips of T frames each (`data.clip`), clip after clip: B is then the number
    of frames in all, `images_BCHW.unflatten(0, (-1, T))` has the axes (clips, T, 3, H, W), and `masks_BHW`
    has the same values for an object in all frames of its clip. An image is a clip of one frame.
    """

    images_BCHW: Tensor
    """float32 of shape (B, 3, H, W)."""
    masks_BHW: Tensor | None
    """int64 of shape (B, H, W), 0 for the background, `VOID` for pixels that are not scored.

    H and W are the images', unless the protocol has a `mask_size`.
    """
    ids: tuple[str, ...]
    """Of each sample; a clip has that of its first frame."""
    attributes: tuple[Mapping[str, Any], ...] = ()
    """What the data knows of each image's objects (see `Sample`)."""
    share: float = 1.0
    """The fraction that this process has of the batch of all processes together, in (0, 1]."""
    features_BCHW: Tensor | None = None
    """What the model's frozen encoder makes of the images, from a store: float32 (B, channels, *grid),
    rounded to 16 bits; None where the encoder computes it. Only a model that `TakesFeatures` gets any."""
    target_BCHW: Tensor | None = None
    """The target that the model's objective makes of the images, from a store: (B, *target_shape), float32
    rounded to 16 bits, or int64 for classes; None where it is computed. Only a model that `TakesTargets` gets
    any."""
    slots_BKD: Tensor | None = None
    """The slots that a frozen model finds in the clips, from a store: float32 (clips x T, K, D), clip after
    clip; None where it is asked for them. Only a model that `TakesSlots` gets any."""
    frames: int = 1
    """T: how many frames each sample has, one after the other; 1 for images."""
    fields: Mapping[Field, Tensor] = field(default_factory=dict)
    """Those that the model's losses read (`Model.fields`), no others: float32 (B, channels, H, W), of the
    images' size; flow is in their pixels."""

    def __len__(self) -> int:
        """Return the number of samples: clips, or images."""
        return len(self.images_BCHW) // self.frames

    @property
    def first_masks_BHW(self) -> Tensor | None:
        """The true masks of the clips' first frames, (clips, H, W)."""
        return None if self.masks_BHW is None else self.masks_BHW[:: self.frames]

    def at(self, rows: slice) -> "Batch":
        """Return some of the samples, as views."""
        first, stop, _ = rows.indices(len(self))
        own = slice(first * self.frames, stop * self.frames)
        return replace(
            self,
            images_BCHW=self.images_BCHW[own],
            masks_BHW=None if self.masks_BHW is None else self.masks_BHW[own],
            ids=self.ids[rows],
            attributes=self.attributes[own],
            features_BCHW=None if self.features_BCHW is None else self.features_BCHW[own],
            target_BCHW=None if self.target_BCHW is None else self.target_BCHW[own],
            slots_BKD=None if self.slots_BKD is None else self.slots_BKD[own],
            fields={name: found[own] for name, found in self.fields.items()},
        )

    def chunk(self, parts: int) -> list["Batch"]:
        """Return the samples in at most so many parts, as torch's `chunk` shares them out."""
        most = -(-len(self) // parts)
        return [self.at(slice(first, first + most)) for first in range(0, len(self), most)]
