"""Checks that components return what their contracts promise.

Types and shapes are checked on the meta device before any data is read (`framework.model.check`), and once
more, together with values, before a training (`framework.training.rehearsal`) and while a model is evaluated.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import (
    Decoded,
    Grouped,
    Losses,
    Prepared,
    Slots,
    TargetShape,
)
from slotlab.framework.contracts.data import Size
from slotlab.registry import ComponentError

SUM_TOLERANCE = 1e-2
"""How far masks and attention may be from a sum of one: they may be computed in half precision."""


def expect_type(value: object, wanted: type, what: str = "forward") -> None:
    """Compare a type with what the contract promises.

    Raises:
        ComponentError: if they differ.
    """
    if not isinstance(value, wanted):
        raise ComponentError(f"{what} should return {wanted.__name__}, not {type(value).__name__}")


def expect(tensor: Any, shape: tuple[int, ...], what: str, *, floating: bool = True) -> None:
    """Compare a tensor's type, shape and kind of numbers with what the contract promises.

    Raises:
        ComponentError: if they differ.
    """
    if not isinstance(tensor, Tensor):
        raise ComponentError(f"{what} should be a tensor of shape {shape}, not {type(tensor).__name__}")
    if tuple(tensor.shape) != shape:
        raise ComponentError(f"{what} should have shape {shape}, not {tuple(tensor.shape)}")
    if floating and not tensor.is_floating_point():
        raise ComponentError(f"{what} should be floating-point numbers, not {tensor.dtype}")


def expect_slots(slots: object, shape: tuple[int, int, int], what: str = "forward") -> None:
    """Check `Slots` of shape (B, K, D) and all that belongs to them.

    Raises:
        ComponentError: saying what is wrong.
    """
    expect_type(slots, Slots, what)
    assert isinstance(slots, Slots)
    expect(slots.vectors_BKD, shape, "slots")
    if not isinstance(slots.extras, Mapping):
        raise ComponentError(f"what belongs to slots should be a mapping, not {type(slots.extras).__name__}")
    for name, extra in slots.extras.items():
        found = tuple(extra.shape[:2]) if isinstance(extra, Tensor) else type(extra).__name__
        if found != shape[:2]:
            text = f"'{name}' of the slots should be a tensor whose first axes are {shape[:2]}"
            raise ComponentError(f"{text}, not {found}")


def expect_grouped(grouped: object, shape: tuple[int, int, int], tokens: int) -> None:
    """Check `Grouped` of slots (B, K, D) and N tokens.

    Raises:
        ComponentError: saying what is wrong.
    """
    expect_type(grouped, Grouped)
    assert isinstance(grouped, Grouped)
    expect_slots(grouped.slots, shape, "the slots of Grouped")
    expect(grouped.attention_BKN, (*shape[:2], tokens), "attention")


def expect_predicted(predicted: object, slots: Slots) -> None:
    """Check what a predictor returns for slots: `Slots` with all that belonged to them, and a state.

    Raises:
        ComponentError: saying what is wrong.
    """
    if not isinstance(predicted, tuple) or len(predicted) != 2:
        raise ComponentError(f"forward should return (Slots, state), not {type(predicted).__name__}")
    found, state = predicted
    batch, number, dim = slots.vectors_BKD.shape
    expect_slots(found, (batch, number, dim), "the first result of forward")
    lost = sorted(slots.extras.keys() - found.extras.keys())
    if lost:
        raise ComponentError(f"what belongs to the slots (Slots.extras) is lost: {', '.join(lost)}")
    expect_state(state, (batch, number))


def expect_state(state: object, shape: tuple[int, int]) -> None:
    """Check what a predictor remembers of slots (B, K): None, or tensors by name.

    Raises:
        ComponentError: saying what is wrong.
    """
    if state is None:
        return
    if not isinstance(state, Mapping):
        text = "what is remembered of slots should be tensors by name, or None"
        raise ComponentError(f"{text}, not {type(state).__name__}")
    for name, one in state.items():
        found = tuple(one.shape[:2]) if isinstance(one, Tensor) else type(one).__name__
        if found != shape:
            text = f"'{name}', remembered of the slots, should be a tensor whose first axes are {shape}"
            raise ComponentError(f"{text}, not {found}")


def expect_foretold(foretold: object, slots_BTKD: Tensor, steps: int) -> None:
    """Check what dynamics make of slots: those of so many frames that follow.

    Raises:
        ComponentError: saying what is wrong.
    """
    batch, _, number, dim = slots_BTKD.shape
    expect(foretold, (batch, steps, number, dim), "slots of the frames that follow")


def expect_decoded(
    decoded: object, batch: int, slots: int, target: TargetShape, *, image: Size | None = None, method: str
) -> None:
    """Check what a decoder's `forward` or `sample` returns for so many images and slots.

    `image` is the model's image size, above which masks are refused; None leaves them any size.

    Raises:
        ComponentError: saying what is wrong.
    """
    expect_type(decoded, Decoded, method)
    assert isinstance(decoded, Decoded)
    of = " of sample" if method == "sample" else ""
    if target.classes is not None:
        _check_classes(decoded, batch, target, method)
    elif method == "sample" or decoded.target_BCHW is None:
        expect(decoded.prediction_BCHW, (batch, target.channels, *target.size), f"the prediction{of}")
    elif not isinstance(decoded.prediction_BCHW, Tensor) or not isinstance(decoded.target_BCHW, Tensor):
        raise ComponentError("the prediction and the target that comes with it should be tensors")
    if decoded.masks_BKHW is not None:
        _check_masks(decoded.masks_BKHW, (batch, slots), target.size, image, of)
    if decoded.parts_BKCHW is not None:
        shape = (batch, slots, *decoded.prediction_BCHW.shape[1:])
        expect(decoded.parts_BKCHW, shape, f"parts{of}, each like the prediction,")


def _check_classes(decoded: Decoded, batch: int, target: TargetShape, method: str) -> None:
    """Check the prediction of a target of classes: chosen ones, logits, or what logits are made of."""
    found, size = decoded.prediction_BCHW, target.size
    if method == "sample":
        what = "the prediction of sample, a class at each position,"
        expect(found, (batch, 1, *size), what, floating=False)
        expect_classes(found, what)
    elif decoded.readout is None:
        expect(found, (batch, int(target.classes or 0), *size), "the prediction, logits of classes,")
    else:
        channels = found.shape[1] if isinstance(found, Tensor) and found.dim() == 4 else 0
        expect(found, (batch, channels, *size), "the prediction, of which its readout makes logits,")


def expect_classes(found: Tensor, what: str) -> None:
    """Check that classes are int64.

    Raises:
        ComponentError: saying what they are.
    """
    if found.dtype != torch.int64:
        raise ComponentError(f"{what} should be int64, the index of a class, not {found.dtype}")


def _check_masks(masks_BKHW: Any, leading: tuple[int, int], size: Size, image: Size | None, of: str) -> None:
    rows, columns = size
    most = math.inf if image is None else max(rows, image[0])
    found = tuple(masks_BKHW.shape) if isinstance(masks_BKHW, Tensor) else ()
    fits = len(found) == 4 and 0 < found[2] <= most and found[2] * columns == found[3] * rows
    if fits and found[:2] != leading:
        raise ComponentError(f"masks{of}, at each pixel, should have shape {leading}, not {found[:2]}")
    expect(masks_BKHW, (*leading, *(found[2:] if fits else size)), f"masks{of}")


def expect_prepared(prepared: object, batch: int, target: TargetShape) -> None:
    """Check what an objective prepares for so many images: a target without a gradient, and losses.

    Raises:
        ComponentError: saying what is wrong.
    """
    expect_type(prepared, Prepared, "prepare")
    assert isinstance(prepared, Prepared)
    found, what = prepared.target_BCHW, "the prepared target, by the objective's target_shape,"
    expect(found, (batch, target.channels, *target.size), what, floating=target.classes is None)
    if target.classes is not None:
        expect_classes(found, "the prepared target")
    elif found.requires_grad:
        raise ComponentError("the prepared target has a gradient: the model could move it; detach it")
    if prepared.losses is None or not isinstance(prepared.losses, Losses):
        text = f"prepare should give Losses of what makes the target, not {type(prepared.losses).__name__}"
        raise ComponentError(text)
    expect_losses(prepared.losses)
    if not prepared.losses.total.requires_grad:
        raise ComponentError(
            "the losses of what makes the target have no gradient: it would never be trained"
        )


def expect_losses(losses: object) -> None:
    """Check `Losses`: scalars.

    Raises:
        ComponentError: saying what is wrong.
    """
    expect_type(losses, Losses, "loss")
    assert isinstance(losses, Losses)
    expect(losses.total, (), "the loss")
    for name, term in losses.terms.items():
        expect(term, (), f"the term '{name}' of the loss")


def expect_picture(picture_BCHW: object, batch: int, image: Size) -> None:
    """Check what `to_image` returns: images (B, 3, H, W) of the model's size, or None.

    Raises:
        ComponentError: saying what is wrong.
    """
    if picture_BCHW is not None:
        expect(picture_BCHW, (batch, 3, *image), "what to_image makes of a prediction")


# --- values ------------------------------------------------------------------------------


def expect_finite(found: Tensor, what: str) -> None:
    """Refuse values that are not finite; waits for the device.

    Raises:
        ComponentError: if there are any.
    """
    if not found.isfinite().all():
        raise ComponentError(f"{what} should be finite, and holds values that are not")


def check_sums(masks_BKxx: Tensor, what: str, *, dropped: bool = False) -> None:
    """Check that masks (B, K, ...) are not negative and sum to one over slots; waits for the device.

    With `dropped` slots the sum may be less: what belonged to them is shared out among the others, as far
    as these had anything there.

    Raises:
        ComponentError: saying what they are.
    """
    masks_BKxx = masks_BKxx.detach().float()
    expect_finite(masks_BKxx, what)
    lowest = float(masks_BKxx.min())
    if lowest < -SUM_TOLERANCE:
        raise ComponentError(f"{what} should not be negative, and is {lowest:.4g} at the lowest")
    sums_Bxx = masks_BKxx.sum(1)
    low, high = float(sums_Bxx.min()), float(sums_Bxx.max())
    if (low < 1 - SUM_TOLERANCE and not dropped) or high > 1 + SUM_TOLERANCE:
        raise ComponentError(f"{what} should sum to one over slots, and sums to {low:.4g} to {high:.4g}")
