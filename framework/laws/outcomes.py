"""What metrics are tried on: images, true and predicted masks, reconstructions."""

from dataclasses import fields, replace
from itertools import product
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import VOID, Outcome
from slotlab.framework.laws.inputs import noise

KINDS = [{"index": label, "category": f"kind {label}"} for label in range(1, 10)]
"""What the data knows of objects: each is of a category of its own."""
ROWS, COLUMNS = 33, 35


def outcome(batch: int = 4, value_range: tuple[float, float] = (-1.0, 1.0)) -> Outcome:
    """Return images whose labels go up to different numbers, with gaps; the first has no foreground."""
    stream = Generator().manual_seed(0)
    true = torch.randint(0, 4, (batch, ROWS, COLUMNS), generator=stream)
    true[0] = 0
    true[3][true[3] == 3] = 9
    images, masks = (
        noise(batch, 3, ROWS, COLUMNS).clamp(-1, 1),
        noise(batch, 5, ROWS, COLUMNS, seed=7).softmax(1),
    )
    masks[2, 3:] = 0
    masks[2] /= masks[2].sum(dim=0)
    made = images + 3 * noise(batch, 3, ROWS, COLUMNS, seed=8)
    low, high = value_range
    factor = (high - low) / 2
    return Outcome(
        images_BCHW=(images + 1) * factor + low,
        true_BHW=true,
        predicted_BHW=masks.argmax(dim=1),
        reconstructions_BCHW=(made + 1) * factor + low,
        masks_BKHW=masks,
        attributes=({"objects": KINDS},) * batch,
    )


def one_of(every: Outcome, index: int) -> Outcome:
    """Return one image of a batch, as an outcome of its own."""
    return rows_of(every, slice(index, index + 1))


def rows_of(every: Outcome, rows: Any) -> Outcome:
    """Return some images of a batch."""
    tensors: dict[str, Any] = {one.name: getattr(every, one.name) for one in fields(every)}
    chosen: dict[str, Any] = {
        name: one[rows] if isinstance(one, Tensor | tuple) else one for name, one in tensors.items()
    }
    return Outcome(**chosen)


def doubled(every: Outcome) -> Outcome:
    """Return each image of a batch as a clip of two frames that are alike."""
    twice = torch.arange(len(every.images_BCHW)).repeat_interleave(2)
    tensors: dict[str, Any] = {one.name: getattr(every, one.name) for one in fields(every)}
    chosen: dict[str, Any] = {
        name: one[twice] if isinstance(one, Tensor) else one for name, one in tensors.items()
    }
    attributes = [facts for facts in every.attributes for _ in range(2)]
    return Outcome(**{**chosen, "attributes": tuple(attributes), "frames": 2})


def turned(every: Outcome) -> Outcome:
    """Return the images of a batch in the opposite order."""
    tensors: dict[str, Any] = {one.name: getattr(every, one.name) for one in fields(every)}
    tensors["attributes"] = tensors["attributes"][::-1]
    for name, one in tensors.items():
        tensors[name] = one.flip(0) if isinstance(one, Tensor) else one
    return Outcome(**tensors)


def only_needed(metric: Any, found: Outcome) -> Outcome:
    """Return the outcome without what the metric does not ask for."""
    others = {one.name for one in fields(found)} - set(metric.needs) - {"images_BCHW", "attributes", "frames"}
    without: dict[str, Any] = dict.fromkeys(others)
    return replace(found, **without)


def dropped() -> tuple[Outcome, Outcome]:
    """Return images of which the second and fourth slot were dropped, and the same without those slots."""
    kept, found = [0, 2, 4], outcome()
    assert found.masks_BKHW is not None
    few = found.masks_BKHW[:, kept].double()
    few = few / few.sum(dim=1, keepdim=True)
    masks = few.new_zeros(found.masks_BKHW.shape)
    masks[:, kept] = few
    keep = torch.tensor([[1.0, 0, 1, 0, 1]]).expand(4, 5)
    return (
        replace(found, masks_BKHW=masks, predicted_BHW=masks.argmax(dim=1), keep_BK=keep),
        replace(found, masks_BKHW=few, predicted_BHW=few.argmax(dim=1)),
    )


def voids() -> tuple[Outcome, Outcome]:
    """Return images with void pixels, and the same with other predictions at those pixels."""
    found = outcome()
    assert found.true_BHW is not None
    assert found.masks_BKHW is not None
    void = torch.zeros_like(found.true_BHW, dtype=torch.bool)
    void[:, 4:9, 6:30] = True
    true = found.true_BHW.masked_fill(void, VOID)
    other = torch.where(void[:, None], found.masks_BKHW.roll(1, dims=1), found.masks_BKHW)
    before = replace(found, true_BHW=true)
    return before, replace(before, masks_BKHW=other, predicted_BHW=other.argmax(dim=1))


def renamed(found: Outcome) -> Outcome:
    """Return the same segments under other numbers."""
    assert found.predicted_BHW is not None
    assert found.masks_BKHW is not None
    names = torch.tensor([3, 0, 4, 1, 2])
    masks = found.masks_BKHW[:, names.argsort()]
    return replace(found, predicted_BHW=names[found.predicted_BHW], masks_BKHW=masks)


def perfect(found: Outcome) -> Outcome:
    """Return an outcome in which everything is found as it is."""
    assert found.true_BHW is not None
    masks = F.one_hot(found.true_BHW).permute(0, 3, 1, 2).double()
    return replace(
        found, predicted_BHW=found.true_BHW, reconstructions_BCHW=found.images_BCHW, masks_BKHW=masks
    )


def degenerate() -> Outcome:
    """Return every pair of: all background, all one object, one pixel of an object, a pixel a segment."""
    none, one = torch.zeros(ROWS, COLUMNS, dtype=torch.int64), torch.full((ROWS, COLUMNS), 2)
    dot, many = none.clone(), torch.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 7
    dot[5, 6] = 4
    pairs = product((none, one, dot, many), repeat=2)
    true, predicted = (torch.stack(side) for side in zip(*pairs, strict=True))
    images = noise(16, 3, ROWS, COLUMNS)
    images[:8] = 0
    return Outcome(
        images_BCHW=images,
        true_BHW=true,
        predicted_BHW=predicted,
        reconstructions_BCHW=torch.zeros_like(images),
        masks_BKHW=F.one_hot(predicted, 8).permute(0, 3, 1, 2).float(),
        attributes=({"objects": KINDS},) * 16,
    )
