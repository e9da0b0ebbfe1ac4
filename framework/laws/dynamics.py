"""Laws of dynamics: slots have no order, and how far one looks ahead does not change what is near."""

from typing import Any

import torch
from torch import Tensor

from slotlab.framework.laws.compare import close, expect_close
from slotlab.framework.laws.inputs import noise
from slotlab.framework.laws.modules import KEEPING
from slotlab.framework.laws.slots import ORDER
from slotlab.framework.laws.subject import Subject
from slotlab.framework.laws.verdict import Broken, Law

FEW, MANY = 2, 5
"""How many frames are foretold."""


def sample_of(subject: Subject) -> tuple[Any, Tensor]:
    """Return dynamics, and the slots of a history."""
    context = subject.context
    return subject.used(), noise(2, context.history, len(ORDER), context.slot_dim)


def slots_have_no_order(subject: Subject) -> None:
    """With the slots of all frames in another order, the foretold ones come in that order."""
    part, slots_BTKD = sample_of(subject)
    expect_close(
        [part(slots_BTKD[:, :, ORDER], MANY)],
        [part(slots_BTKD, MANY)[:, :, ORDER]],
        "the order of slots changes the result",
        subject.place(),
    )


def near_does_not_depend_on_far(subject: Subject) -> None:
    """The next frames are the same, however many frames are asked for."""
    part, slots_BTKD = sample_of(subject)
    expect_close(
        [part(slots_BTKD, MANY)[:, :FEW]],
        [part(slots_BTKD, FEW)],
        f"the first {FEW} frames are others if {MANY} are asked for",
        subject.place(),
    )


def future_comes_of_the_past(subject: Subject) -> None:
    """Foretold slots depend on those of the history, and tell them how to change."""
    part, slots_BTKD = sample_of(subject)
    slots_BTKD.requires_grad_()
    foretold_BTKD = part(slots_BTKD, FEW)
    if close(foretold_BTKD, part(noise(*slots_BTKD.shape, seed=11), FEW), 1e-6):
        raise Broken("other slots have the same future", place=subject.place())
    total = foretold_BTKD.square().sum()
    if not total.requires_grad or torch.autograd.grad(total, slots_BTKD, allow_unused=True)[0] is None:
        raise Broken("no gradient goes from the foretold slots to those seen", place=subject.place())


DYNAMICS = (
    Law("slots have no order", slots_have_no_order, "treat all slots alike: no code of their place", KEEPING),
    Law(
        "what is near does not depend on what is far",
        near_does_not_depend_on_far,
        "foretell one frame after the other, each from those before",
        KEEPING,
    ),
    Law(
        "the future comes of the past",
        future_comes_of_the_past,
        "use slots_BTKD, without detach()",
        KEEPING,
    ),
)
