"""From a dataset's samples to batches on a device, in an order fixed by the seed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from slotlab.framework.contracts import Batch, Dataset, DatasetContext, Sample
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import ComponentError, SlotlabError


def load_dataset(spec: ExperimentSpec, split: str) -> Dataset:
    """Build the spec's dataset for one split.

    Raises:
        PathProblem: if the data is not there, or not as the settings say.
    """
    size = (spec.data.image_size, spec.data.image_size)
    context = DatasetContext(split=split, image_size=size, seed=spec.seed)
    try:
        dataset: Dataset = spec.data.dataset.build(context)
    except ComponentError as error:
        path = ("data", "dataset") if error.field is None else ("data", "dataset", error.field)
        raise PathProblem(path, f"{spec.data.dataset.name}: {error}") from None
    if len(dataset) == 0:
        raise PathProblem(("data", "dataset"), f"{spec.data.dataset.name}: the split '{split}' is empty")
    return dataset


def mix(seed: int, number: int) -> int:
    """Return the seed of stream `number` of a spec's seed, in the range that torch takes."""
    return (seed * 1_000_003 + number) % 2**63


def permutation(length: int, *, seed: int, epoch: int) -> list[int]:
    """Return the order in which an epoch visits the samples: the same for the same seed."""
    generator = Generator().manual_seed(mix(seed, epoch))
    order: list[int] = torch.randperm(length, generator=generator).tolist()
    return order


def streams(seed: int, positions: Iterable[int], device: torch.device) -> list[Generator]:
    """Return one random stream for each image, by its position in the split."""
    return [Generator(device).manual_seed(mix(seed, position)) for position in positions]


def normalize(images_BCHW: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Bring uint8 images to float32 in `bounds`, (0, 1) or (-1, 1), as torchvision does."""
    unit_BCHW = images_BCHW.to(torch.float32) / 255
    return unit_BCHW if bounds == (0.0, 1.0) else (unit_BCHW - 0.5) / 0.5


def to_uint8(images_BCHW: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Bring float images in `bounds` to uint8, values outside clipped."""
    low, high = bounds
    unit_BCHW = (images_BCHW.float() - low) / (high - low)
    return (unit_BCHW.clamp(0, 1) * 255).round().to(torch.uint8)


@dataclass(frozen=True)
class Loader:
    """Batches of one dataset on one device."""

    dataset: Dataset
    batch_size: int
    device: torch.device
    bounds: tuple[float, float]
    workers: int = 0

    def epoch(self, order: list[int] | None = None) -> Iterator[Batch]:
        """Yield the samples in `order` (None: as they come); the last batch may be smaller."""
        indices = range(len(self.dataset)) if order is None else order
        size = self.batch_size
        groups = [list(indices[start : start + size]) for start in range(0, len(indices), size)]
        loader: DataLoader[Sample] = DataLoader(
            self.dataset,  # type: ignore[arg-type]
            batch_sampler=groups,
            num_workers=self.workers,
            collate_fn=list,
            generator=Generator(),  # its own: else each epoch draws from torch's global one
        )
        masked: bool | None = None
        for samples in loader:
            masked = check_samples(samples, masked)
            yield self._batch(samples)

    def _batch(self, samples: list[Sample]) -> Batch:
        images_BCHW = torch.stack([sample.image_CHW for sample in samples]).to(self.device)
        masks = [sample.mask_HW for sample in samples if sample.mask_HW is not None]
        return Batch(
            images_BCHW=normalize(images_BCHW, self.bounds).contiguous(memory_format=torch.channels_last),
            masks_BHW=torch.stack(masks).to(self.device) if masks else None,
            ids=tuple(sample.id for sample in samples),
        )


def check_samples(samples: list[Sample], masked: bool | None) -> bool:
    """Return whether these samples have masks, as those before had (None: there were none before).

    Raises:
        SlotlabError: for images or masks that are not as the contract says.
    """
    for sample in samples:
        image, mask = sample.image_CHW, sample.mask_HW
        if image.dtype != torch.uint8:
            raise SlotlabError(f"the image of {sample.id} is {image.dtype}; a dataset gives torch.uint8")
        if mask is not None and mask.dtype != torch.int64:
            raise SlotlabError(f"the mask of {sample.id} is {mask.dtype}; a dataset gives torch.int64")
        if masked not in (None, mask is not None):
            has, others = ("no mask", "have one") if masked else ("a mask", "have none")
            raise SlotlabError(
                f"{sample.id} has {has} and samples before it {others}; give all of them or none"
            )
        masked = mask is not None
    assert masked is not None
    return masked


def make_loader(spec: ExperimentSpec, split: str, *, batch_size: int, device: torch.device) -> Loader:
    """Return the loader of one split of the spec's data."""
    return Loader(load_dataset(spec, split), batch_size, device, spec.data.bounds, spec.data.workers)
