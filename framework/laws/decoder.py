"""Laws of decoders."""

from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import Decoded, Sampler, Slots
from slotlab.framework.contracts.promises import check_sums
from slotlab.framework.laws.bench_pictures import checked_decoded, guide
from slotlab.framework.laws.blame import raised_at
from slotlab.framework.laws.compare import all_close, close, expect_close, greatest, same
from slotlab.framework.laws.inputs import noise, stream
from slotlab.framework.laws.modules import KEEPING
from slotlab.framework.laws.slots import ORDER
from slotlab.framework.laws.subject import Subject
from slotlab.framework.laws.verdict import Broken, Law, Skip
from slotlab.registry import ComponentError
from slotlab.registry.errors import describe

PICTURES = "makes pictures without the target"


def decoded(part: Any, slots: Slots, target: Tensor | None) -> Decoded:
    """Decode as in training, the generator being the same each time."""
    found: Decoded = part(slots, target_BCHW=target, generator=stream(), **guide(part))
    return found


def painted(part: Any, slots: Slots) -> Decoded:
    """Decode as for a picture that is measured or shown: without the target."""
    if isinstance(part, Sampler):
        found: Decoded = part.sample(slots, generator=stream(), **guide(part))
        return found
    return decoded(part, slots, None)


def masks_sum_to_one(subject: Subject) -> None:
    """Masks are not negative and sum to one over slots at each pixel."""
    part, (vectors, target) = subject.build(), subject.inputs()
    for training in (True, False):
        found = decoded(part.train(training), Slots(vectors), target)
        if found.masks_BKHW is None:
            raise Skip("it has no masks")
        try:
            check_sums(found.masks_BKHW, "masks")
        except ComponentError as error:
            raise Broken(str(error), place=subject.place()) from None


def slots_have_no_order(subject: Subject) -> None:
    """With slots in another order the prediction is the same, masks and parts are in that order."""
    part, (vectors, target) = subject.used(), subject.inputs()
    plain, moved = (decoded(part, Slots(one), target) for one in (vectors, vectors[:, ORDER]))
    reason, place = "the order of slots changes the {}", subject.place()
    expect_close([moved.prediction_BCHW], [plain.prediction_BCHW], reason.format("prediction"), place, 1e-3)
    for name in ("masks_BKHW", "parts_BKCHW"):
        before, after = getattr(plain, name), getattr(moved, name)
        if before is not None:
            expect_close([after], [before[:, ORDER]], reason.format(name), place, 1e-3)


def makes_pictures_without_the_target(subject: Subject) -> None:
    """Pictures are made of slots alone: by `sample`, or by `forward` without the target."""
    part, (vectors, target) = subject.used(), subject.inputs()
    slots = Slots(vectors)
    method = "sample" if isinstance(part, Sampler) else "forward"
    try:
        found = painted(part, slots)
    except Exception as error:
        if method == "sample":
            raise
        text = f"it needs the target, which no evaluation gives it, and has no 'sample': {describe(error)}"
        repair = "write a method sample(slots, *, generator=None)"
        raise Broken(text, repair, place=raised_at(error, subject.files) or subject.place()) from None
    checked_decoded(found, subject.context, 2, 4, method)
    if method == "sample" and found.masks_BKHW is not None:
        check_sums(found.masks_BKHW, "masks of sample")
    if not found.prediction_BCHW.isfinite().all():
        raise Broken(f"the prediction of {method} is not finite", place=subject.place(method))
    if method == "forward" and not close(found.prediction_BCHW, decoded(part, slots, target).prediction_BCHW):
        text = "the prediction depends on the target that it is given, and there is no 'sample'"
        raise Broken(text, "write a method sample(slots, *, generator=None)", place=subject.place())


def pictures_do_not_depend_on_the_batch(subject: Subject) -> None:
    """A picture of slots is the same, whichever pictures are made with it."""
    part, (vectors, _) = subject.used(), subject.inputs()
    first = painted(part, Slots(vectors)).prediction_BCHW
    changed = torch.cat([vectors[:1], vectors[1:] + 1])
    other = painted(part, Slots(changed)).prediction_BCHW
    place = subject.place("sample")
    expect_close(
        [other[:1]], [first[:1]], "a picture changes with the other pictures of its batch", place, 1e-3
    )
    streams = (painted_with(part, vectors, seed) for seed in (1, 2))
    if same([next(streams)], [next(streams)]):  # it draws nothing
        alone = painted(part, Slots(vectors[1:])).prediction_BCHW
        expect_close([alone], [first[1:]], "a picture alone is another one than in a batch", place, 1e-3)


def painted_with(part: Any, vectors: Tensor, seed: int) -> Tensor:
    """Return pictures drawn by another seed."""
    if not isinstance(part, Sampler):
        return painted(part, Slots(vectors)).prediction_BCHW
    found: Tensor = part.sample(Slots(vectors), generator=stream(seed), **guide(part)).prediction_BCHW
    return found


def prediction_comes_of_the_slots(subject: Subject) -> None:
    """Every slot has a say in the prediction, and learns from it."""
    part, (vectors, target) = subject.used().train(), subject.inputs()
    vectors.requires_grad_()
    found = decoded(part, Slots(vectors), target).prediction_BCHW
    gradient = None
    if found.requires_grad:
        weights = noise(*found.shape, seed=12)  # a plain sum may be the same for any slots
        gradient = torch.autograd.grad((found * weights).sum(), vectors, allow_unused=True)[0]
    if gradient is None:
        raise Broken("no gradient goes from the prediction to the slots", place=subject.place())
    other = decoded(part, Slots(noise(*vectors.shape, seed=11)), target).prediction_BCHW
    if close(found, other, 1e-6) and not float(gradient.abs().max()):
        raise Broken("other slots give the same prediction", place=subject.place())


def dropped_slots_have_no_mask(subject: Subject) -> None:
    """A dropped slot (`Slots.keep_BK`) has no mask, and no say in the prediction."""
    part, (vectors, target) = subject.used(), subject.inputs()
    keep = torch.tensor([[1.0, 0, 1, 1], [0, 1, 0, 1]])
    other = torch.where(keep[..., None] == 1, vectors, noise(*vectors.shape, seed=8))
    plain, changed = (decoded(part, Slots(one, {"keep": keep}), target) for one in (vectors, other))
    if plain.masks_BKHW is None:
        raise Skip("it has no masks")
    repair = "multiply masks by slots.keep_BK (if it is not None) and divide by their sum"
    if (plain.masks_BKHW.detach()[keep == 0] != 0).any():
        raise Broken("a slot that was dropped has a mask", repair, place=subject.place())
    if not all_close([changed.prediction_BCHW], [plain.prediction_BCHW], 1e-3):
        apart = greatest([changed.prediction_BCHW], [plain.prediction_BCHW])
        text = f"the prediction depends on slots that were dropped (by up to {apart:.3g})"
        raise Broken(text, repair, place=subject.place())


NOISE = "draw noise in training alone, or in sample()"
"""What else may have changed a prediction."""
DECODER = (
    Law("masks sum to one over slots", masks_sum_to_one, "take the softmax over slots (dim=1)", KEEPING),
    Law("slots have no order", slots_have_no_order, f"treat all slots alike; {NOISE}", KEEPING),
    Law(
        PICTURES,
        makes_pictures_without_the_target,
        "write a method sample(slots, *, generator=None)",
        KEEPING,
    ),
    Law(
        "pictures do not depend on the batch",
        pictures_do_not_depend_on_the_batch,
        f"take no mean, norm or softmax over the first axis; {NOISE}",
        (*KEEPING, PICTURES),
    ),
    Law(
        "the prediction comes of the slots",
        prediction_comes_of_the_slots,
        "use slots.vectors_BKD, without detach()",
        KEEPING,
    ),
    Law("dropped slots have no mask", dropped_slots_have_no_mask, "look at slots.keep_BK", KEEPING),
)
