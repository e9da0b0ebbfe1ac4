"""Edit slots before they are decoded. The extras of a slot go with it.

Axes: B images, K slots, D slot width. Slots are numbered from 0.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from slotlab.framework.contracts import Slots
from slotlab.registry import SlotlabError


def at(slots: Slots, images: Sequence[int]) -> Slots:
    """Return the slots of some of the images."""
    index_B = torch.as_tensor(list(images), dtype=torch.int64, device=slots.vectors_BKD.device)
    return each(lambda tensor: tensor.index_select(0, index_B), slots)


def stack(several: Sequence[Slots]) -> Slots:
    """Return the images of all arguments, one after the other; all have the same number of slots.

    Raises:
        SlotlabError: if their extras differ.
    """
    return together(several, 0)


def join(first: Slots, second: Slots) -> Slots:
    """Return, for each image, the slots of `first` and then those of `second`.

    Raises:
        SlotlabError: if their extras differ.
    """
    return together([first, second], 1)


def mix(a: Slots, kept_a: Sequence[int], b: Slots, kept_b: Sequence[int]) -> Slots:
    """Return some slots of A together with some slots of B, image by image.

    Raises:
        SlotlabError: for a slot that does not exist, or if none is kept.
    """
    if not kept_a and not kept_b:
        raise SlotlabError("no slot is kept of either image; keep at least one")
    return join(chosen(a, kept_a), chosen(b, kept_b))


def remove(slots: Slots, gone: Sequence[int]) -> Slots:
    """Return the slots without some of them: the decoder assigns their pixels to the others.

    Raises:
        SlotlabError: for a slot that does not exist, or if none is left.
    """
    check_slots(slots, gone)
    left = [index for index in range(slots.vectors_BKD.shape[1]) if index not in set(gone)]
    if not left:
        raise SlotlabError("no slot is left; remove fewer")
    return chosen(slots, left)


def duplicate(slots: Slots, index: int, into: Slots | None = None) -> Slots:
    """Return `into` (None: the slots themselves) with a copy of slot `index` as its last slot.

    Raises:
        SlotlabError: for a slot that does not exist.
    """
    return join(slots if into is None else into, chosen(slots, [index]))


def interpolate(slots: Slots, index: int, goal: Slots, goal_index: int, weight: float) -> Slots:
    """Return the slots with slot `index` moved toward slot `goal_index` of `goal`.

    `weight` 0 changes nothing, 1 replaces the slot by the goal's. Extras move in the same way; extras that
    are integers are those of the nearer slot.

    Raises:
        SlotlabError: for a slot that does not exist.
    """
    check_slots(slots, [index])
    check_slots(goal, [goal_index])

    def move(start: Tensor, end: Tensor) -> Tensor:
        moved = start.clone()
        here, there = start[:, index], end[:, goal_index]
        if start.is_floating_point():
            moved[:, index] = torch.lerp(here, there, weight)
        else:
            moved[:, index] = here if weight < 0.5 else there
        return moved

    extras = {name: move(extra, goal.extras[name]) for name, extra in slots.extras.items()}
    return Slots(move(slots.vectors_BKD, goal.vectors_BKD), extras)


def chosen(slots: Slots, kept: Sequence[int]) -> Slots:
    """Return the slots at `kept`, in that order.

    Raises:
        SlotlabError: for a slot that does not exist.
    """
    check_slots(slots, kept)
    return slots.select(torch.as_tensor(list(kept), dtype=torch.int64, device=slots.vectors_BKD.device))


def check_slots(slots: Slots, indices: Sequence[int]) -> None:
    """Refuse slots that do not exist.

    Raises:
        SlotlabError: for the first of them.
    """
    number = slots.vectors_BKD.shape[1]
    for index in indices:
        if not 0 <= index < number:
            raise SlotlabError(f"there is no slot {index}: the slots are 0 to {number - 1}")


def each(change: Callable[[Tensor], Tensor], slots: Slots) -> Slots:
    """Return slots with the same change applied to the vectors and the extras."""
    return Slots(change(slots.vectors_BKD), {name: change(extra) for name, extra in slots.extras.items()})


def together(several: Sequence[Slots], axis: int) -> Slots:
    """Return slots concatenated along one axis.

    Raises:
        SlotlabError: if their extras differ.
    """
    names = [sorted(slots.extras) for slots in several]
    if any(other != names[0] for other in names):
        lists = " and ".join(", ".join(some) or "nothing" for some in names)
        raise SlotlabError(f"slots of different models: to each slot belongs {lists}")
    extras = {name: torch.cat([slots.extras[name] for slots in several], axis) for name in names[0]}
    return Slots(torch.cat([slots.vectors_BKD for slots in several], axis), extras)
