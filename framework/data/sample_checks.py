"""Checks that the samples and batches of a dataset are as the contract of datasets requires."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import RawBatch, Sample, Size
from slotlab.framework.contracts.component_calls import called
from slotlab.registry import SlotlabError


class BrokenPromise(SlotlabError):  # noqa: N818 - a name that says more than ContractError
    """A dataset returned something that its contract does not allow."""


@contextmanager
def naming(dataset: str | None) -> Iterator[None]:
    """Add the dataset's name to errors that the block raises; None if the name is unknown.

    Raises:
        DataError: as the dataset raised it: it names the file.
        SlotlabError: for every other exception of the dataset, and for broken promises.
    """
    try:
        with called("the dataset" if dataset is None else f"dataset '{dataset}'"):
            yield
    except BrokenPromise as error:
        raise SlotlabError(str(error) if dataset is None else f"dataset '{dataset}': {error}") from error


def check_sample(sample: object) -> None:
    """Check one sample.

    Raises:
        BrokenPromise: if it is not as the contract requires.
    """
    if not isinstance(sample, Sample):
        raise BrokenPromise(f"an item is a {type(sample).__name__}; a dataset gives a Sample")
    if not isinstance(sample.id, str) or not sample.id:
        raise BrokenPromise(f"the id of an item is {sample.id!r}; a dataset gives a text that is not empty")
    _check_pixels(sample.image_CHW, f"the image of {sample.id}", leading=(3,))
    if sample.mask_HW is not None:
        size = tuple(sample.image_CHW.shape[1:])
        _check_labels(sample.mask_HW, f"the mask of {sample.id}", size)
    _check_attributes(sample.attributes, sample.id)


def check_size(sample: Sample, mask_size: Size | None = None) -> None:
    """Check the mask's size, after image and mask were prepared by the protocol, if one does.

    `mask_size` is the protocol's size of masks; None for the image's.

    Raises:
        BrokenPromise: if it has another size.
    """
    wanted = sample.image_CHW.shape[1:] if mask_size is None else mask_size
    if sample.mask_HW is not None and tuple(sample.mask_HW.shape) != tuple(wanted):
        who = "its image" if mask_size is None else "the protocol's masks have"
        found = tuple(sample.mask_HW.shape)
        raise BrokenPromise(f"the mask of {sample.id} has shape {found}, and {who} {tuple(wanted)}")


def check_raw_batch(raw: object, number: int, mask_size: Size | None = None) -> RawBatch:
    """Return a dataset's batch of `number` items, after checking it; `mask_size` as for `check_size`.

    Raises:
        BrokenPromise: if it is not as the contract requires.
    """
    if not isinstance(raw, RawBatch):
        raise BrokenPromise(f"a batch is a {type(raw).__name__}; a dataset gives a RawBatch")
    _check_pixels(raw.images_BCHW, f"the images of a batch of {number}", leading=(number, 3))
    if raw.masks_BHW is not None:
        size = (number, *(raw.images_BCHW.shape[2:] if mask_size is None else mask_size))
        _check_labels(raw.masks_BHW, f"the masks of a batch of {number}", size, exactly=True)
    for name, values in (("ids", raw.ids), ("attributes", raw.attributes)):
        if not isinstance(values, Sequence) or len(values) != number:
            raise BrokenPromise(f"the {name} of a batch are {values!r:.80}; a dataset gives {number}")
    return raw


def _check_pixels(image: Any, what: str, *, leading: tuple[int, ...]) -> None:
    shape = f"({', '.join(map(str, leading))}, H, W)"
    if not isinstance(image, Tensor):
        kind = type(image).__name__
        raise BrokenPromise(f"{what} is a {kind}; a dataset gives a tensor of torch.uint8, of shape {shape}")
    if image.dtype != torch.uint8:
        raise BrokenPromise(f"{what} is {image.dtype}; a dataset gives torch.uint8")
    if image.dim() != len(leading) + 2 or tuple(image.shape[:-2]) != leading or not image.numel():
        raise BrokenPromise(f"{what} has shape {tuple(image.shape)}; a dataset gives {shape}")


def _check_labels(mask: Any, what: str, size: tuple[int, ...], *, exactly: bool = False) -> None:
    if not isinstance(mask, Tensor):
        raise BrokenPromise(f"{what} is a {type(mask).__name__}; a dataset gives a tensor, or None")
    if mask.dtype.is_floating_point or mask.dtype.is_complex or mask.dtype == torch.bool:
        raise BrokenPromise(f"{what} is {mask.dtype}; a dataset gives whole numbers")
    if mask.dim() != len(size) or (exactly and tuple(mask.shape) != size):
        shape = f"{size}" if exactly else "(H, W)"
        raise BrokenPromise(f"{what} has shape {tuple(mask.shape)}; a dataset gives {shape}")


def _check_attributes(attributes: Any, name: str) -> None:
    what = f"the attributes of {name}"
    if not isinstance(attributes, Mapping):
        raise BrokenPromise(f"{what} are a {type(attributes).__name__}; a dataset gives a mapping")
    objects = attributes.get("objects", ())
    if not isinstance(objects, Sequence) or not all(isinstance(one, Mapping) for one in objects):
        raise BrokenPromise(f"'objects' in {what} is no list of mappings, one for each object")
