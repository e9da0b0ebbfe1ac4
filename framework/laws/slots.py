"""Laws of what makes slots: position codes, initializers and groupings."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import Grouped, Slots
from slotlab.framework.contracts.promises import check_sums, expect_slots
from slotlab.framework.laws.compare import close, expect_close
from slotlab.framework.laws.inputs import noise, some_slots, stream, told_to
from slotlab.framework.laws.modules import KEEPING
from slotlab.framework.laws.subject import Subject
from slotlab.framework.laws.verdict import Broken, Law, Skip
from slotlab.registry import ComponentError

ORDER = torch.tensor([2, 0, 3, 1])


def position_is_added(subject: Subject) -> None:
    """A position code is added to the features, the same for each image."""
    part = subject.build().eval()
    (features,) = subject.inputs()
    code = part(torch.zeros_like(features))
    expect_close([part(features)], [features + code], "the code depends on the features", subject.place())
    expect_close([code[0]], [code[1]], "the code depends on the image", subject.place())
    places = code[0].flatten(1).T
    distinct = len(places.detach().unique(dim=0))
    if distinct < len(places):
        text = f"of {len(places)} positions only {distinct} have codes of their own"
        raise Broken(text, place=subject.place())


def makes_as_many_slots_as_asked(subject: Subject) -> None:
    """`num_slots` is obeyed, or refused by an initializer that says that its number is fixed."""
    part, context = subject.build().eval(), subject.context
    (tokens,) = subject.inputs()
    wanted = context.num_slots + 2

    def draw(number: int | None) -> Any:
        told = told_to(part, tokens, number or context.num_slots)
        return part(tokens, number, generator=stream(), **told)

    expect_slots(draw(context.num_slots), (2, context.num_slots, context.slot_dim))
    try:
        made = draw(wanted)
    except ComponentError:
        if part.fixed_num_slots:
            return
        text = f"it refuses {wanted} slots, and 'fixed_num_slots' is False"
        raise Broken(text, "write fixed_num_slots = True", place=subject.place("fixed_num_slots")) from None
    except Exception:
        if not part.fixed_num_slots:
            raise
        text = "it refuses another number of slots by an error that is no ComponentError"
        raise Broken(
            text, "raise ComponentError with a sentence for the user", place=subject.place()
        ) from None
    number = made.vectors_BKD.shape[1]
    if part.fixed_num_slots:
        repair = f"raise ComponentError when num_slots is neither None nor {context.num_slots}"
        text = f"'fixed_num_slots' is True, and asked for {wanted} slots it gives {number} without a word"
        raise Broken(text, repair, place=subject.place())
    if number != wanted:
        text = f"it was asked for {wanted} slots and gives {number}: it ignores num_slots"
        raise Broken(text, place=subject.place())


def grouped(subject: Subject, part: Any, tokens: Tensor, slots: Slots) -> Grouped:
    """Return what a grouping makes of tokens and slots."""
    found: Grouped = part(tokens, slots, generator=stream())
    return found


def sample_of(subject: Subject) -> tuple[Any, Tensor, Slots]:
    """Return a grouping, tokens, and slots that something belongs to."""
    context = subject.context
    rows, columns = context.grid
    return subject.used(), noise(2, rows * columns, context.token_dim), some_slots(dim=context.slot_dim)


def attention_sums_to_one(subject: Subject) -> None:
    """The attention of each token is shared out among the slots."""
    part, tokens, slots = sample_of(subject)
    for training in (True, False):
        try:
            check_sums(grouped(subject, part.train(training), tokens, slots).attention_BKN, "attention")
        except ComponentError as error:
            raise Broken(str(error), place=subject.place()) from None


def slots_have_no_order(subject: Subject) -> None:
    """With its slots in another order, a grouping gives its results in that order."""
    part, tokens, slots = sample_of(subject)
    if draws(part, tokens, slots):
        raise Skip("it draws for each slot")
    plain, moved = grouped(subject, part, tokens, slots), grouped(subject, part, tokens, slots.select(ORDER))
    reason, place = "the order of slots changes the result", subject.place()
    expect_close([moved.slots.vectors_BKD], [plain.slots.vectors_BKD[:, ORDER]], reason, place)
    expect_close([moved.attention_BKN], [plain.attention_BKN[:, ORDER]], reason, place)


def draws(part: Any, tokens: Tensor, slots: Slots) -> bool:
    """Return whether a grouping's slots or what belongs to them depends on the generator."""
    first, other = (part(tokens, slots, generator=stream(seed)).slots for seed in (1, 2))
    return not close(first.vectors_BKD, other.vectors_BKD)


def tokens_have_no_order(subject: Subject) -> None:
    """With its tokens in another order, a grouping gives the same slots."""
    part, tokens, slots = sample_of(subject)
    order = torch.randperm(tokens.shape[1], generator=stream(0))
    plain, moved = grouped(subject, part, tokens, slots), grouped(subject, part, tokens[:, order], slots)
    reason, place = "the order of tokens changes the slots", subject.place()
    expect_close([moved.slots.vectors_BKD], [plain.slots.vectors_BKD], reason, place)
    expect_close([moved.attention_BKN], [plain.attention_BKN[:, :, order]], reason, place)


def slots_come_of_tokens(subject: Subject) -> None:
    """Slots depend on the tokens, and tell them how to change."""
    part, tokens, slots = sample_of(subject)
    tokens.requires_grad_()
    found = grouped(subject, part, tokens, slots).slots.vectors_BKD
    other = grouped(subject, part, noise(*tokens.shape, seed=11), slots).slots.vectors_BKD
    if close(found, other, 1e-6):
        raise Broken("other tokens give the same slots", place=subject.place())
    if not found.requires_grad or torch.autograd.grad(found.sum(), tokens, allow_unused=True)[0] is None:
        raise Broken("no gradient goes from the slots to the tokens", place=subject.place())


def belongings_go_along(subject: Subject) -> None:
    """What belongs to the initial slots belongs to the final ones."""
    part, tokens, slots = sample_of(subject)
    found = grouped(subject, part, tokens, slots).slots
    lost = [name for name in slots.extras if name not in found.extras]
    if lost:
        repair = "return Grouped(Slots(vectors, slots.extras), attention)"
        raise Broken(
            "what belongs to the initial slots (Slots.extras) is lost", repair, place=subject.place()
        )


def trace_is_given(subject: Subject) -> None:
    """A grouping that is asked for a trace gives one that agrees with its result."""
    part, tokens, slots = sample_of(subject)
    if grouped(subject, part, tokens, slots).trace is not None:
        raise Broken(
            "it makes a trace that nobody asked for", "look at context.traced", place=subject.place()
        )
    traced = subject.build(replace(subject.context, traced=True)).eval()
    found = grouped(subject, traced, tokens, slots)
    if found.trace is None:
        raise Skip("it makes no trace: auxiliary losses that read one are refused with it")
    last = found.trace.attention_BTKN[:, -1]
    expect_close(
        [last], [found.attention_BKN], "the trace ends with another attention", subject.place(), 1e-6
    )
    share = found.trace.logits_BKN.softmax(dim=1)
    expect_close([share], [found.attention_BKN], "the trace's logits give another attention", subject.place())


POSITION = (
    Law(
        "a code is added",
        position_is_added,
        "return features + code, the code made of the grid alone",
        KEEPING,
    ),
)
INITIALIZER = (
    Law(
        "makes as many slots as asked for",
        makes_as_many_slots_as_asked,
        "make num_slots slots, context.num_slots if it is None; or write fixed_num_slots = True, and refuse",
        KEEPING,
    ),
)
GROUPING = (
    Law(
        "attention sums to one over slots",
        attention_sums_to_one,
        "take the softmax over slots (dim=1)",
        KEEPING,
    ),
    Law(
        "slots have no order",
        slots_have_no_order,
        "treat all slots alike; what tells them apart is the initializer's",
        KEEPING,
    ),
    Law("tokens have no order", tokens_have_no_order, "sum or average over tokens", KEEPING),
    Law("slots come of the tokens", slots_come_of_tokens, "use tokens_BND, without detach()", KEEPING),
    Law("belongings go along", belongings_go_along, "pass slots.extras on", KEEPING),
    Law("a trace is given if asked for", trace_is_given, "see GroupingTrace in slotlab.contracts", KEEPING),
)
