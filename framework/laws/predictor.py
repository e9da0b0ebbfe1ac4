"""Laws of predictors: slots have no order, and what is theirs goes along."""

from typing import Any

import torch

from slotlab.framework.contracts import Slots, SlotState
from slotlab.framework.laws.compare import close, expect_close
from slotlab.framework.laws.inputs import noise, some_slots
from slotlab.framework.laws.modules import KEEPING
from slotlab.framework.laws.slots import ORDER
from slotlab.framework.laws.subject import Subject
from slotlab.framework.laws.verdict import Broken, Law


def sample_of(subject: Subject) -> tuple[Any, Slots]:
    """Return a predictor, and slots that something belongs to."""
    return subject.used(), some_slots(dim=subject.context.slot_dim)


def over_two_frames(part: Any, first: Slots, second: Slots) -> tuple[list[Slots], SlotState]:
    """Return what is predicted after each of two frames, and what is remembered."""
    state, found = part.start(first), []
    for slots in (first, second):
        predicted, state = part(slots, state)
        found.append(predicted)
    return found, state


def slots_have_no_order(subject: Subject) -> None:
    """With its slots in another order, a predictor gives its results in that order, over frames too."""
    part, first = sample_of(subject)
    second = Slots(noise(*first.vectors_BKD.shape, seed=8), first.extras)
    plain, remembered = over_two_frames(part, first, second)
    moved, others = over_two_frames(part, first.select(ORDER), second.select(ORDER))
    expect_close(
        [one.vectors_BKD for one in moved],
        [one.select(ORDER).vectors_BKD for one in plain],
        "the order of slots changes the result",
        subject.place(),
    )
    expect_close(
        list((others or {}).values()),
        [one[:, ORDER] for one in (remembered or {}).values()],
        "the order of slots changes what is remembered of them",
        subject.place(),
    )


def belongings_go_along(subject: Subject) -> None:
    """What belongs to the slots of a frame belongs to the predicted ones."""
    part, slots = sample_of(subject)
    found, _ = part(slots, part.start(slots))
    lost = [name for name in slots.extras if name not in found.extras]
    if lost:
        repair = "return Slots(vectors, slots.extras), state"
        raise Broken("what belongs to the slots (Slots.extras) is lost", repair, place=subject.place())


def prediction_comes_of_slots(subject: Subject) -> None:
    """Predicted slots depend on those of the frame, and tell them how to change."""
    part, slots = sample_of(subject)
    vectors = slots.vectors_BKD.requires_grad_()
    found, _ = part(Slots(vectors), part.start(Slots(vectors)))
    other = Slots(noise(*vectors.shape, seed=11))
    if close(found.vectors_BKD, part(other, part.start(other))[0].vectors_BKD, 1e-6):
        raise Broken("other slots give the same prediction", place=subject.place())
    total = found.vectors_BKD.square().sum()
    if not total.requires_grad or torch.autograd.grad(total, vectors, allow_unused=True)[0] is None:
        raise Broken("no gradient goes from the prediction to the slots", place=subject.place())


PREDICTOR = (
    Law(
        "slots have no order",
        slots_have_no_order,
        "treat all slots alike; what tells them apart is the initializer's",
        KEEPING,
    ),
    Law("belongings go along", belongings_go_along, "pass slots.extras on", KEEPING),
    Law(
        "the prediction comes of the slots",
        prediction_comes_of_slots,
        "use slots.vectors_BKD, without detach()",
        KEEPING,
    ),
)
