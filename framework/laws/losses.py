"""Laws of auxiliary losses and codecs."""

from typing import Any

import torch
from torch import Generator, Tensor

from slotlab.framework.contracts import (
    AuxiliaryConfig,
    Decoded,
    Grouped,
    GroupingTrace,
    LatentCodec,
    Losses,
    ModelOutput,
    RandomSource,
    RelaxedCodec,
    Slots,
    TokenCodec,
)
from slotlab.framework.contracts.promises import expect_losses
from slotlab.framework.laws.bench_pictures import codec_losses
from slotlab.framework.laws.blame import global_streams, line_that_changes
from slotlab.framework.laws.compare import all_close, apart, expect_close
from slotlab.framework.laws.general import BUILT
from slotlab.framework.laws.inputs import noise, pictures, stream
from slotlab.framework.laws.modules import DRAWN, KEEPING, PROMISED
from slotlab.framework.laws.slots import ORDER
from slotlab.framework.laws.subject import Subject, evaluated
from slotlab.framework.laws.verdict import Broken, Law


def passed(
    rows: slice = slice(None),
    order: Tensor | None = None,
    *,
    generator: RandomSource = None,
    traced: bool = True,
    frames: int = 1,
) -> tuple[ModelOutput, list[Tensor]]:
    """Return what a model with four slots made of three images, or clips, and what it learns from."""
    number, (first, stop, _) = 3 * frames, rows.indices(3)
    rows, order = slice(first * frames, stop * frames), torch.arange(4) if order is None else order
    sizes = torch.arange(4.0)[:, None]  # slots of other sizes, so that no two matches are equally good
    keep = torch.tensor([[1.0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 1]]).repeat_interleave(frames, 0)
    every = (noise(number, 4, 8, seed=6), keep, noise(number, 4, 8, seed=7))
    logits = 2 * noise(number, 2, 4, 64) + sizes
    learned = [logits[rows][:, :, order], *(one[rows][:, order] for one in every)]
    logits, vectors, kept, preheated = (tensor.requires_grad_() for tensor in learned)
    attention = logits.softmax(dim=2)
    trace = GroupingTrace(logits[:, -1], attention) if traced else None
    images = pictures(number, 16, 16, seed=8)[rows]
    output = ModelOutput(
        images_BCHW=images,
        features_BCHW=noise(number, 5, 8, 8)[rows],
        tokens_BND=noise(number, 64, 6)[rows],
        initial=Slots(preheated, {"preheated": preheated}),
        grouped=Grouped(Slots(vectors, {"keep": kept}), attention[:, -1], trace),
        decoded=Decoded(images),
        target_BCHW=images,
        grid=(8, 8),
        generator=generator,
        frames=frames,
    )
    return output, learned


def frames_of(loss: Any) -> int:
    """Return how many frames the clips have that a loss is tried on: two for one that compares frames."""
    return 2 if getattr(loss, "of_clips", False) else 1


def of(loss: Any, **options: Any) -> Losses:
    """Return the losses of a pass, drawn from a new stream."""
    found: Losses = loss(passed(**{"generator": stream(0), "frames": frames_of(loss), **options})[0])
    return found


def auxiliary_is_promised(subject: Subject) -> None:
    """It gives scalars, finite ones, and reads the trace only if it says so."""
    if not issubclass(subject.item.component.config, AuxiliaryConfig):
        raise Broken(
            "its Config is no AuxiliaryConfig, which has the weight", "derive it from AuxiliaryConfig"
        )
    loss = subject.build()
    if not isinstance(getattr(loss, "traced", None), bool):
        repair = "write traced = False, or True if it reads output.grouped.trace"
        raise Broken("it does not say in 'traced' whether it reads the trace", repair, place=subject.place())
    losses = of(loss, traced=loss.traced)
    expect_losses(losses)
    for what, found in (("the loss", losses.total), *losses.terms.items()):
        if not found.isfinite():
            raise Broken(f"{what} is {float(found):g}", place=subject.place())


def auxiliary_draws(subject: Subject) -> None:
    """It draws from `output.generator` alone."""
    loss = subject.build()
    before = global_streams()
    first, again = (of(loss).total for _ in range(2))
    if global_streams() != before:
        place = line_that_changes(global_streams, lambda: of(loss), subject.files)
        raise Broken("it draws from a stream that is nobody's", place=place)
    if not torch.equal(first, again):
        raise Broken("the same pass and the same generator give two losses", place=subject.place())


def auxiliary_teaches(subject: Subject) -> None:
    """A gradient goes from the loss to something of the model's."""
    loss = subject.build()
    output, learned = passed(generator=stream(0), traced=loss.traced, frames=frames_of(loss))
    total = loss(output).total
    found = torch.autograd.grad(total, learned, allow_unused=True) if total.requires_grad else ()
    if not any(one is not None and float(one.abs().sum()) > 0 for one in found):
        raise Broken("no gradient goes from the loss to slots and attention", place=subject.place())
    if not all(one.isfinite().all() for one in found if one is not None):
        raise Broken("a gradient is not finite", "add an epsilon inside of roots", place=subject.place())


def auxiliary_knows_no_order(subject: Subject) -> None:
    """The order of slots does not change the loss."""
    loss = subject.build()
    plain, moved = (of(loss, order=order).total for order in (None, ORDER))
    expect_close([moved], [plain], "the order of slots changes the loss", subject.place())


def auxiliary_is_a_mean(subject: Subject) -> None:
    """The loss of a batch is the mean of the losses of its images."""
    loss = evaluated(subject.build())
    streams = [Generator().manual_seed(i) for i in range(3)]
    alone = [of(loss, rows=slice(i, i + 1), generator=[Generator().manual_seed(i)]).total for i in range(3)]
    whole, mean = of(loss, generator=streams).total, torch.stack(alone).mean()
    if apart(whole, mean) > 1e-4 * max(1.0, abs(float(mean))):
        text = (
            f"three images have a loss of {float(whole):.4g}, and one by one of {float(mean):.4g} on average"
        )
        raise Broken(text, place=subject.place())


def codec_losses_are_promised(subject: Subject) -> None:
    """Its losses are finite scalars with a gradient, drawn from the generator alone."""
    part, (images,) = subject.build().train(), subject.inputs()
    before = global_streams()
    first, again = (codec_losses(part, images, stream(0)) for _ in range(2))
    if global_streams() != before:
        place = line_that_changes(
            global_streams, lambda: codec_losses(part, images, stream(0)), subject.files
        )
        raise Broken("its losses draw from a stream that is nobody's", place=place)
    if not first.isfinite() or not torch.equal(first, again):
        raise Broken(
            f"the same images have the losses {float(first):g} and {float(again):g}",
            "draw from generator alone",
            place=subject.place("losses"),
        )
    learns = any(one.requires_grad for one in part.parameters())
    if learns and not first.requires_grad:
        raise Broken("the loss has no gradient", place=subject.place("losses"))


def codes_and_latents_agree(subject: Subject) -> None:
    """What it makes of latents and tokens is what `reconstruct` makes of the images."""
    part, (images,) = evaluated(subject.build()), subject.inputs()
    made, place = part.reconstruct(images), subject.place("reconstruct")
    if isinstance(part, LatentCodec):
        reason = "decode(encode(images)) and reconstruct(images) are two pictures"
        expect_close([part.decode(part.encode(images))], [made], reason, place, 1e-3)
    if isinstance(part, TokenCodec):
        tokens = part.tokens(images)
        if not (tokens >= 0).all() or not (tokens < part.codes).all():
            raise Broken(f"tokens lie outside of 0 to {part.codes - 1}", place=subject.place("tokens"))
        reason = "paint(tokens(images)) and reconstruct(images) are two pictures"
        expect_close([part.paint(tokens)], [made], reason, place, 1e-3)
    if isinstance(part, RelaxedCodec):
        logits = part.logits(images)
        if not all_close([logits.exp().sum(1)], [torch.ones(len(images), *part.token_grid)], 1e-3):
            raise Broken("logits are no logarithms of probabilities", place=subject.place("logits"))


TRIED = (BUILT, PROMISED, DRAWN)
AUXILIARY = (
    Law(PROMISED, auxiliary_is_promised, "return what `python -m pydoc slotlab.hooks` says", (BUILT,)),
    Law(DRAWN, auxiliary_draws, "draw from output.generator", (BUILT, PROMISED)),
    Law(
        "the model learns",
        auxiliary_teaches,
        "compute the loss from slots or attention, without detach()",
        TRIED,
    ),
    Law("slots have no order", auxiliary_knows_no_order, "treat all slots alike", TRIED),
    Law(
        "the loss is a mean over images", auxiliary_is_a_mean, "take the mean over images, not the sum", TRIED
    ),
)
CODEC = (
    Law("its losses are numbers", codec_losses_are_promised, "return Losses of finite scalars", KEEPING),
    Law("codes and latents agree", codes_and_latents_agree, "see slotlab.contracts.Codec", KEEPING),
)
