"""Put samples together to batches, and take batches apart."""

from collections.abc import Iterator, Sequence

import torch

from slotlab.framework.contracts import RawBatch, Sample, Size
from slotlab.framework.data.sample_checks import BrokenPromise, check_sample, check_size
from slotlab.registry import SlotlabError


def split(raw: RawBatch, sizes: Sequence[int]) -> Iterator[RawBatch]:
    """Yield consecutive parts of a batch, with `sizes` images."""
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        yield RawBatch(
            images_BCHW=raw.images_BCHW[part],
            masks_BHW=None if raw.masks_BHW is None else raw.masks_BHW[part],
            ids=raw.ids[part],
            attributes=raw.attributes[part],
        )
        start += size


def collate(samples: Sequence[Sample], device: torch.device) -> RawBatch:
    """Return samples as one batch on a device."""
    masks = [sample.mask_HW for sample in samples if sample.mask_HW is not None]
    return RawBatch(
        images_BCHW=torch.stack([sample.image_CHW for sample in samples]).to(device, non_blocking=True),
        masks_BHW=torch.stack(masks).to(device, non_blocking=True) if masks else None,
        ids=tuple(sample.id for sample in samples),
        attributes=tuple(sample.attributes for sample in samples),
    )


def check_samples(samples: list[Sample], masked: bool | None, mask_size: Size | None = None) -> bool:
    """Return whether the samples of a batch have masks, after checking them.

    Args:
        samples: the samples of a batch.
        masked: whether earlier samples had masks; None if there were none.
        mask_size: (rows, columns) of masks; None for those of the images.

    Raises:
        SlotlabError: for samples that are not as the contract requires, or if only some have masks.
    """
    for sample in samples:
        check_sample(sample)
        check_size(sample, mask_size)
        if sample.image_CHW.shape != samples[0].image_CHW.shape:
            shapes = tuple(sample.image_CHW.shape), samples[0].id, tuple(samples[0].image_CHW.shape)
            text = "has shape {}, and that of {} {}; images of one batch have one size".format(*shapes)
            raise BrokenPromise(f"the image of {sample.id} {text}")
        mask = sample.mask_HW
        if masked not in (None, mask is not None):
            has, others = ("no mask", "have one") if masked else ("a mask", "have none")
            raise SlotlabError(
                f"{sample.id} has {has} and samples before it {others}; give all of them or none"
            )
        masked = mask is not None
    assert masked is not None
    return masked
