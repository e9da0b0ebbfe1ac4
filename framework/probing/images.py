"""Slots of images and the objects that are seen in them, found once for all heads.

Every image has its own random stream, as in an evaluation, so that the batch size changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import Batch, FindsSlots, Model, Reconstruction
from slotlab.framework.contracts.model import KEEP
from slotlab.framework.data.loader import Loader
from slotlab.framework.evaluation.evaluate import find_slots, reconstruct, scored_size
from slotlab.framework.model.masks import masks_at
from slotlab.framework.probing.settings import ProbeSettings
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class ProbedImages:
    """N images with K slots each, on the CPU."""

    ids: tuple[str, ...]
    slots_NKD: Tensor
    """float32."""
    kept_NK: Tensor
    """bool: the slots that the model did not drop."""
    objects: tuple[tuple[Facts, ...], ...]
    """What the data says of the objects that are seen in each image; all listed ones without true masks."""
    overlap_NTK: Tensor | None
    """float32 in [0, 1]: of each object's mask and each slot's, 0 where an image has fewer objects; None if
    the data or the model has no masks."""
    colors_NK3: Tensor | None
    """float32, in the value range of the images: the mean of the pixels under each slot's mask; None if the
    model has no masks."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def there_NT(self) -> Tensor:
        """bool: which rows are objects; T is the largest number of objects, at least 1."""
        numbers = torch.tensor([len(one) for one in self.objects])
        return torch.arange(max(1, int(numbers.max())))[None, :] < numbers[:, None]

    def shuffled(self, seed: int) -> "ProbedImages":
        """Return them with the slots of another image each; overlaps stay those of an image's own slots."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        other = torch.empty_like(order)
        other[order] = order.roll(1)
        return replace(self, slots_NKD=self.slots_NKD[other], kept_NK=self.kept_NK[other])

    def of_colors(self) -> "ProbedImages":
        """Return them with the mean colors in place of slots."""
        assert self.colors_NK3 is not None
        return replace(self, slots_NKD=self.colors_NK3)


def find_images(
    spec: ExperimentSpec,
    model: Model,
    loader: Loader,
    positions: Sequence[int],
    settings: ProbeSettings,
    report: Callable[[int], None] = lambda images: None,
) -> ProbedImages:
    """Find the slots and the objects of images.

    Args:
        spec: says the seed, the number of slots and the source of masks.
        model: on the loader's device.
        loader: of the split.
        positions: of the images in the split.
        settings: of the probe.
        report: called with the number of images that were found since the last call.

    Raises:
        SlotlabError: for a model without slots, data that knows no objects, and images with other numbers
            of slots than those before.
    """
    check_slots(spec, model)
    parts = []
    with torch.no_grad():
        for places, batch in loader.share(positions):
            made = look(spec, model, batch, places)
            parts.append(found_in(spec, batch, made, settings))
            report(len(places))
    if len({tuple(part.slots_NKD.shape[1:]) for part in parts}) != 1:
        shapes = sorted({tuple(part.slots_NKD.shape[1:]) for part in parts})
        raise SlotlabError(f"images have slots of different shapes {shapes}; a head needs them alike")
    return joined(parts)


def check_slots(spec: ExperimentSpec, model: Model) -> None:
    """Refuse a model without slots.

    Raises:
        SlotlabError: with what a probe needs.
    """
    if not isinstance(model, FindsSlots):
        text = "has no slots (contracts.FindsSlots), and a probe fits heads on slots"
        raise SlotlabError(f"the model '{spec.model.name}' {text}")


def look(spec: ExperimentSpec, model: Model, batch: Batch, places: Sequence[int]) -> Reconstruction:
    """Return what the model finds; nothing is decoded where the attention gives the masks."""
    if spec.evaluation.mask_source == "attention":
        found = find_slots(spec, model, batch.images_BCHW, places)
        return Reconstruction(found=found, decoded=None, images_BCHW=None)
    return reconstruct(spec, model, batch, places)


def found_in(
    spec: ExperimentSpec, batch: Batch, made: Reconstruction, settings: ProbeSettings
) -> ProbedImages:
    """Return what is kept of a batch."""
    assert made.found is not None  # `check_slots`
    slots, source = made.found.slots, spec.evaluation.mask_source
    masks_BKHW = masks_at(made, source, scored_size(batch))
    shown_BKHW = masks_at(made, source, (batch.images_BCHW.shape[2], batch.images_BCHW.shape[3]))
    objects = seen_objects(batch)
    overlap_BTK = None
    if (
        batch.masks_BHW is not None
        and masks_BKHW is not None
        and all("index" in one for o in objects for one in o)
    ):
        overlap_BTK = overlaps(batch.masks_BHW, masks_BKHW, objects, settings.overlap).cpu()
    vectors_BKD = slots.vectors_BKD.flatten(2)
    if settings.extras:
        more = [
            extra.flatten(2)
            for name, extra in sorted(slots.extras.items())
            if name != KEEP and extra.ndim > 2
        ]
        vectors_BKD = torch.cat([vectors_BKD, *(extra.to(vectors_BKD) for extra in more)], dim=2)
    keep_BK = slots.keep_BK
    kept_BK = torch.ones(vectors_BKD.shape[:2], dtype=torch.bool) if keep_BK is None else keep_BK.cpu() > 0
    return ProbedImages(
        ids=tuple(batch.ids),
        slots_NKD=vectors_BKD.float().cpu(),
        kept_NK=kept_BK,
        objects=objects,
        overlap_NTK=overlap_BTK,
        colors_NK3=None if shown_BKHW is None else mean_colors(batch.images_BCHW, shown_BKHW).cpu(),
    )


def seen_objects(batch: Batch) -> tuple[tuple[Facts, ...], ...]:
    """Return the facts of each image's objects: those with a pixel, where there are masks to tell."""
    listed = [tuple(facts.get("objects", ())) for facts in batch.attributes] or [()] * len(batch.ids)
    if batch.masks_BHW is None:
        return tuple(listed)
    seen = [set(mask_HW.unique().tolist()) for mask_HW in batch.masks_BHW]
    return tuple(
        tuple(one for one in objects if "index" not in one or one["index"] in there)
        for objects, there in zip(listed, seen, strict=True)
    )


def overlaps(true_BHW: Tensor, masks_BKHW: Tensor, objects: Sequence[Sequence[Facts]], kind: str) -> Tensor:
    """Return the overlap of each object's mask with each slot's, float32 (B, T, K); void does not count.

    Args:
        true_BHW: int64 labels, -1 for void.
        masks_BKHW: soft masks.
        objects: of each image, with their `index`.
        kind: `cosine` of the soft mask, or `iou` of the pixels at which it is the largest.
    """
    most = max(1, *(len(one) for one in objects))
    index_BT = torch.full((len(objects), most), -2, device=true_BHW.device)
    for row, facts in enumerate(objects):
        for column, one in enumerate(facts):
            index_BT[row, column] = int(one["index"])
    true_BTN = (true_BHW.flatten(1)[:, None] == index_BT[:, :, None]).float()
    if kind == "iou":
        masks_BKHW = F.one_hot(masks_BKHW.argmax(1), masks_BKHW.shape[1]).movedim(3, 1).float()
    soft_BKN = masks_BKHW.flatten(2) * (true_BHW >= 0).flatten(1)[:, None]
    both_BTK = true_BTN @ soft_BKN.mT
    if kind == "iou":
        whole_BTK = true_BTN.sum(2)[:, :, None] + soft_BKN.sum(2)[:, None] - both_BTK
    else:
        whole_BTK = true_BTN.norm(dim=2)[:, :, None] * soft_BKN.norm(dim=2)[:, None]
    return torch.where(whole_BTK > 0, both_BTK / whole_BTK, torch.zeros_like(both_BTK))


def mean_colors(images_BCHW: Tensor, masks_BKHW: Tensor) -> Tensor:
    """Return the mean of the pixels under each mask, float32 (B, K, 3); 0 where a mask is empty."""
    sums_BKC = masks_BKHW.flatten(2) @ images_BCHW.flatten(2).float().mT
    return sums_BKC / masks_BKHW.flatten(2).sum(2, keepdim=True).clamp(min=1e-8)


def joined(parts: Sequence[ProbedImages]) -> ProbedImages:
    """Return the images of several batches as one."""
    most = max(1, *(len(one) for part in parts for one in part.objects))
    overlap = [part.overlap_NTK for part in parts if part.overlap_NTK is not None]
    colors = [part.colors_NK3 for part in parts if part.colors_NK3 is not None]
    padded = [F.pad(one, (0, 0, 0, most - one.shape[1])) for one in overlap]
    return ProbedImages(
        ids=tuple(name for part in parts for name in part.ids),
        slots_NKD=torch.cat([part.slots_NKD for part in parts]),
        kept_NK=torch.cat([part.kept_NK for part in parts]),
        objects=tuple(one for part in parts for one in part.objects),
        overlap_NTK=torch.cat(padded) if len(overlap) == len(parts) else None,
        colors_NK3=torch.cat(colors) if len(colors) == len(parts) else None,
    )
