"""Slots, masks and reconstructions of any images, as evaluation computes them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slotlab.framework.api.pictures import GivenImages, as_pictures
from slotlab.framework.composition.composer import Composer
from slotlab.framework.contracts import MaskSource, Model, Sample
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.pixels import to_uint8
from slotlab.framework.data.preparation import Preparation
from slotlab.framework.evaluation.evaluate import reconstruct
from slotlab.framework.figures.mask_colors import paint_slots
from slotlab.framework.figures.png import to_png
from slotlab.framework.model.engine import Engine
from slotlab.framework.model.masks import labels_of, masks_at
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError

_GAP, _LEAST = 4, 96
"""Pixels between pictures that are shown, and the least side of one: small ones are enlarged."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images of a dataset as the model sees them: cropped and resized by the protocol."""

    images_BCHW: Tensor
    """uint8, of the model's image size."""
    masks_BHW: Tensor | None
    """int64 labels, 0 for the background, -1 for void, of the protocol's size of masks; None without."""
    ids: tuple[str, ...]
    attributes: tuple[Mapping[str, Any], ...]
    """What the data knows of each image's objects."""
    split: str
    positions: tuple[int, ...]
    """In the split: which random streams evaluation gives them."""


def images_of(composer: Composer, split: str, positions: Iterable[int]) -> Images:
    """Return images of a split; see `Run.images`."""
    places = tuple(positions)
    batch = composer.read(split, places)
    return Images(
        images_BCHW=to_uint8(batch.images_BCHW, composer.spec.data.bounds).contiguous().cpu(),
        masks_BHW=None if batch.masks_BHW is None else batch.masks_BHW.cpu(),
        ids=batch.ids,
        attributes=batch.attributes,
        split=split,
        positions=places,
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class Segmentation:
    """What a model makes of images. All tensors are on the CPU; H and W are the model's image size.

    A notebook shows the images, their segments and their reconstructions, one row for each image.
    """

    images_BCHW: Tensor
    """uint8: the images as the model saw them."""
    slots_BKD: Tensor | None
    """float32 slot vectors."""
    masks_BKHW: Tensor
    """float32, from the source that the spec names unless another was asked for; they sum to one over K."""
    labels_BHW: Tensor
    """int64: the slot with the largest mask at each pixel."""
    reconstruction_BCHW: Tensor | None
    """uint8; None for a model that predicts no images."""
    mask_source: MaskSource

    def __len__(self) -> int:
        return len(self.images_BCHW)

    def __repr__(self) -> str:
        batch, slots, rows, columns = self.masks_BKHW.shape
        size = f"{slots} slots, {columns}x{rows} pixels, masks from the {self.mask_source}"
        return f"<Segmentation of {batch} image{'' if batch == 1 else 's'}: {size}>"

    def picture(self) -> NDArray[np.uint8]:
        """Return images, segments and reconstructions side by side as one RGB picture (H, W, 3), uint8."""
        rows = []
        for i in range(len(self)):
            row = [self.images_BCHW[i].permute(1, 2, 0).numpy(), paint_slots(self.labels_BHW[i].numpy())]
            if self.reconstruction_BCHW is not None:
                row.append(self.reconstruction_BCHW[i].permute(1, 2, 0).numpy())
            rows.append(row)
        return _sheet(rows)

    def _repr_png_(self) -> bytes:
        return to_png(self.picture())


def _sheet(rows: Sequence[Sequence[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Return pictures of one size in rows, on white."""
    height, width = rows[0][0].shape[:2]
    factor = max(1, -(-_LEAST // max(height, width)))
    tall, wide = height * factor + _GAP, width * factor + _GAP
    sheet = np.full((tall * len(rows) - _GAP, wide * len(rows[0]) - _GAP, 3), 255, dtype=np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            large = picture.repeat(factor, axis=0).repeat(factor, axis=1)
            sheet[i * tall : i * tall + tall - _GAP, j * wide : j * wide + wide - _GAP] = large
    return sheet


@dataclass(frozen=True)
class _Given:
    """Samples in memory, as a dataset."""

    samples: Sequence[Sample]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def segment(
    spec: ExperimentSpec,
    model: Model,
    engine: Engine,
    given: GivenImages | Images,
    *,
    positions: Iterable[int] | None = None,
    prepared: bool = False,
    masks: MaskSource | None = None,
) -> Segmentation:
    """Find the slots of images; see `Run.segment`.

    Raises:
        SlotlabError: for what is no image, and for masks that the model does not have.
        DataError: for images that are too small for the protocol's crop.
    """
    if isinstance(given, Images):
        positions = given.positions if positions is None else positions
        given, prepared = given.images_BCHW, True
    samples = [_prepared(spec, i, image, prepared=prepared) for i, image in enumerate(as_pictures(given))]
    places = list(range(len(samples)) if positions is None else positions)
    if len(places) != len(samples):
        raise SlotlabError(f"there are {len(places)} positions for {len(samples)} images; give one for each")
    loader = Loader(
        _Given(samples),
        spec.evaluation.batch_size,
        engine.device,
        spec.data.bounds,
        memory_format=engine.memory_format,
    )
    source = masks or spec.evaluation.mask_source
    if source not in ("decoder", "attention"):
        raise SlotlabError(f"masks '{source}': write decoder or attention")
    parts = []
    for group, batch in loader.share(range(len(samples))):
        made = reconstruct(spec, model, batch, [places[i] for i in group])
        masks_BKHW = masks_at(made, source, spec.data.size)
        if masks_BKHW is None:
            if source == "attention":
                raise SlotlabError(f"the model '{spec.model.name}' has no attention; write masks='decoder'")
            who = model.names.get("decoder", f"model '{spec.model.name}'")
            raise SlotlabError(f"the {who} gives no masks; write masks='attention'")
        pictures = None if made.images_BCHW is None else to_uint8(made.images_BCHW, spec.data.bounds).cpu()
        slots_BKD = None if made.found is None else made.found.slots.vectors_BKD.float().cpu()
        parts.append((slots_BKD, masks_BKHW.cpu(), labels_of(masks_BKHW, made).cpu(), pictures))
    slots, all_masks, labels, recons = zip(*parts, strict=True)
    return Segmentation(
        images_BCHW=torch.stack([sample.image_CHW for sample in samples]),
        slots_BKD=None if slots[0] is None else torch.cat(slots),
        masks_BKHW=torch.cat(all_masks),
        labels_BHW=torch.cat(labels),
        reconstruction_BCHW=None if recons[0] is None else torch.cat(recons),
        mask_source=source,
    )


def _prepared(spec: ExperimentSpec, number: int, image_CHW: Tensor, *, prepared: bool) -> Sample:
    """Return an image as the protocol prepares it, or as it is if it was prepared before.

    Raises:
        DataError: if it is too small for the crop.
        SlotlabError: if it was prepared for another model.
    """
    sample = Sample(id=f"image {number}", image_CHW=image_CHW)
    size = spec.data.size
    if not prepared:
        return Preparation.of(spec.data.settings)(sample).sample
    if tuple(image_CHW.shape[1:]) != size:
        rows, columns = image_CHW.shape[1:]
        text = f"it has {columns}x{rows} pixels, and the model takes {size[1]}x{size[0]}"
        raise SlotlabError(f"image {number}: {text}; without prepared=True it is cropped and resized")
    return sample
