"""The rows of pictures of `slotlab compose`, by mode, from given or random images and slots.

Each row has its own random stream, so that it does not depend on the number of rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from slotlab.framework.composition.album import AlbumPicture, AlbumRow
from slotlab.framework.composition.composer import Composed, Composer, missing_parts
from slotlab.framework.composition.drawn_modes import denoise_row, draws_row
from slotlab.framework.composition.edits import at, check_slots, duplicate, interpolate, mix, remove
from slotlab.framework.contracts import Slots
from slotlab.framework.data.pixels import to_uint8
from slotlab.framework.randomness.seeds import mix as mix_seed
from slotlab.framework.randomness.seeds import permutation, streams
from slotlab.registry import SlotlabError

Mode = Literal["slots", "mix", "interpolate", "remove", "duplicate", "draws", "denoise"]
OF_ONE_IMAGE: tuple[Mode, ...] = ("slots", "remove", "draws", "denoise")
"""Modes of which each row is of one image; the others take two."""
STEPPED: tuple[Mode, ...] = ("interpolate", "draws", "denoise")
"""Modes whose number of pictures is `SlotChoice.steps`."""
CHOICE = 2
"""Number of the random stream that chooses images and slots; noise and drawn slots have others."""


@dataclass(frozen=True, kw_only=True)
class SlotChoice:
    """The images and slots to use; those that are not given are drawn from the seed."""

    split: str
    count: int
    """The number of rows, if no images are given."""
    seed: int
    images: tuple[int, ...] = ()
    """Positions in the split: A and B if the mode takes two; any number if it takes one."""
    slots: tuple[int, ...] = ()
    """Slots of image A."""
    slots_b: tuple[int, ...] = ()
    """Slots of image B."""
    steps: int = 7
    """Pictures of an interpolation, from start to goal; of draws; of steps in which noise is taken away."""


@dataclass(frozen=True)
class ImageSlots:
    """One image of a split, and its slots."""

    position: int
    slots: Slots
    """With a leading axis of one image."""
    image_CHW: Tensor
    """uint8."""
    attention_KHW: Tensor
    """float32 at the image's size."""

    @property
    def count(self) -> int:
        """The number of slots."""
        return self.slots.vectors_BKD.shape[1]


@dataclass(frozen=True)
class RowPainter:
    """Makes the pictures of a row from a composer and a choice of images and slots."""

    composer: Composer
    choice: SlotChoice
    notes: dict[str, None] = field(default_factory=dict)
    """Messages about what cannot be shown, in the order in which it was found."""

    def views(self, images: Sequence[int]) -> list[ImageSlots]:
        """Return images of the split with their slots."""
        seen = self.composer.look(self.choice.split, images)
        pictures_BCHW = to_uint8(seen.batch.images_BCHW, self.composer.spec.data.bounds)
        return [
            ImageSlots(position, at(seen.slots, [i]), pictures_BCHW[i], seen.attention_BKHW[i])
            for i, position in enumerate(images)
        ]

    def paint(self, slots: Slots, of: ImageSlots) -> Composed:
        """Decode the slots of one picture, and note missing masks or parts.

        A stochastic decoder draws the same noise as for the reconstruction of the image `of`.
        """
        composed = self.composer.decode(slots, seed=self.choice.seed, positions=[of.position])
        reason = missing_parts(self.composer, composed)
        if reason is not None:
            self.notes[reason] = None
        return composed

    def tile(
        self, name: str, slots: Slots, of: ImageSlots, caption: str, made_of: Mapping[str, Any]
    ) -> AlbumPicture:
        """Return the picture of slots (see `paint`)."""
        picture_CHW = self.paint(slots, of).images_BCHW[0]
        return AlbumPicture(name, picture_CHW, caption, {"split": self.choice.split, **made_of})

    def image(self, name: str, view: ImageSlots) -> AlbumPicture:
        """Return an image of the split as it is."""
        made_of = {"split": self.choice.split, "image": view.position}
        return AlbumPicture(name, view.image_CHW, f"{self.choice.split} {view.position}", made_of)


def rows_of(mode: Mode, painter: RowPainter) -> Iterator[AlbumRow]:
    """Yield the rows of a mode.

    Raises:
        SlotlabError: for images or slots that do not exist, or of another number than the mode takes.
    """
    choice = painter.choice
    check_choice(mode, choice)
    make = MODES[mode]
    groups = choose_images(mode, choice, len(painter.composer.loader(choice.split).dataset))
    chance = streams(mix_seed(choice.seed, CHOICE), range(len(groups)), torch.device("cpu"))
    for number, (images, stream) in enumerate(zip(groups, chance, strict=True)):
        yield make(painter, painter.views(images), stream, f"{number:03d}")


def choose_images(mode: Mode, choice: SlotChoice, total: int) -> list[Sequence[int]]:
    """Return the images of each row: the given ones, or the first of a random order of the split."""
    each = 1 if mode in OF_ONE_IMAGE else 2
    if choice.images:
        if each == 1:
            return [[image] for image in choice.images]
        return [[choice.images[0], choice.images[-1]]]
    order = permutation(total, seed=mix_seed(choice.seed, CHOICE), epoch=0)
    if total == 1:
        order = order * each
    groups = len(order) // each
    return [order[each * row : each * (row + 1)] for row in range(min(choice.count, groups))]


def check_choice(mode: Mode, choice: SlotChoice) -> None:
    """Refuse other numbers of images or slots than a mode takes.

    Raises:
        SlotlabError: with what the mode takes.
    """
    most = None if mode in OF_ONE_IMAGE else 2
    least = 2 if mode in ("mix", "interpolate") else 1
    given = len(choice.images)
    if given and (given < least or (most is not None and given > most)):
        wanted = "two images" if least == 2 else "one or two images"
        raise SlotlabError(f"--mode {mode} takes {wanted}, not {given}")
    if (choice.slots or choice.slots_b) and (not given or (mode == "remove" and given > 1)):
        raise SlotlabError("--slot numbers the slots of one image; say which with --image")
    if choice.slots and mode in ("slots", "draws", "denoise"):
        raise SlotlabError(f"--mode {mode} shows every slot; leave --slot out")
    if choice.slots_b and mode not in ("mix", "interpolate"):
        raise SlotlabError(f"--mode {mode} takes no slots of a second image; leave --slot-b out")
    if mode in ("interpolate", "duplicate") and max(len(choice.slots), len(choice.slots_b)) > 1:
        raise SlotlabError(f"--mode {mode} takes one slot of an image; --slot is given more than once")


def slots_row(painter: RowPainter, views: Sequence[ImageSlots], stream: Generator, name: str) -> AlbumRow:
    """Return an image, its reconstruction, and each slot cut out by its mask; masks and parts as files."""
    (view,) = views
    composed = painter.paint(view.slots, view)
    masks_BKHW, parts_BKCHW, cut_BKCHW = composed.masks_BKHW, composed.parts_BKCHW, composed.cutouts()
    masks_KHW = view.attention_KHW if masks_BKHW is None else masks_BKHW[0]
    what = "attention" if masks_BKHW is None else "mask"
    row = [painter.image(f"{name}-image", view)]
    facts = {"split": painter.choice.split, "image": view.position}
    row.append(AlbumPicture(f"{name}-reconstruction", composed.images_BCHW[0], "reconstruction", facts))
    for k in range(view.count):
        made_of = {**facts, "slot": k}
        gray_1HW = (masks_KHW[k][None] * 255).round().to(torch.uint8)
        row.append(
            AlbumPicture(f"{name}-{what}{k}", gray_1HW, f"{what} {k}", made_of, on_sheet=cut_BKCHW is None)
        )
        if parts_BKCHW is not None:
            row.append(
                AlbumPicture(f"{name}-part{k}", parts_BKCHW[0, k], f"part {k}", made_of, on_sheet=False)
            )
        if cut_BKCHW is not None:
            row.append(AlbumPicture(f"{name}-slot{k}", cut_BKCHW[0, k], f"slot {k}", made_of))
    return row


def mix_row(painter: RowPainter, views: Sequence[ImageSlots], stream: Generator, name: str) -> AlbumRow:
    """Return images A and B, and the picture of some slots of each.

    Randomly: half of A's slots, and the slots of B with the other numbers, so that each learned slot,
    which has a role (such as the background), occurs once.
    """
    a, b = views
    choice = painter.choice
    kept_a, kept_b = list(choice.slots), list(choice.slots_b)
    if not kept_a and not kept_b:
        order = torch.randperm(a.count, generator=stream).tolist()
        half = (a.count + 1) // 2
        kept_a, kept_b = sorted(order[:half]), sorted(order[half:])
    caption = f"A {numbers(kept_a)}\nB {numbers(kept_b)}"
    made_of = {"images": [a.position, b.position], "slots": [kept_a, kept_b]}
    mixed = mix(a.slots, kept_a, b.slots, kept_b)
    return [
        painter.image(f"{name}-a", a),
        painter.image(f"{name}-b", b),
        painter.tile(f"{name}-mix", mixed, a, caption, made_of),
    ]


def interpolate_row(
    painter: RowPainter, views: Sequence[ImageSlots], stream: Generator, name: str
) -> AlbumRow:
    """Return image A while one of its slots becomes, step by step, a slot of image B.

    Without another choice, both slots have the same number.
    """
    a, b = views
    choice = painter.choice
    slot = one(choice.slots, a, stream)
    goal = one(choice.slots_b or (slot,), b, stream)
    row = [painter.image(f"{name}-a", a), painter.image(f"{name}-b", b)]
    for step in range(choice.steps):
        weight = step / max(choice.steps - 1, 1)
        made_of = {"images": [a.position, b.position], "slots": [[slot], [goal]], "weight": weight}
        moved = interpolate(a.slots, slot, b.slots, goal, weight)
        row.append(painter.tile(f"{name}-step{step}", moved, a, f"{slot} to B {goal}\n{weight:.2f}", made_of))
    return row


def remove_row(painter: RowPainter, views: Sequence[ImageSlots], stream: Generator, name: str) -> AlbumRow:
    """Return an image, its reconstruction, and pictures without the given slots, or without each in turn."""
    (view,) = views
    groups = [list(painter.choice.slots)] if painter.choice.slots else [[k] for k in range(view.count)]
    row = [
        painter.image(f"{name}-image", view),
        painter.tile(f"{name}-reconstruction", view.slots, view, "reconstruction", {"image": view.position}),
    ]
    for gone in groups:
        label = "_".join(map(str, gone))
        left = remove(view.slots, gone)
        made_of = {"image": view.position, "removed": gone}
        row.append(painter.tile(f"{name}-without{label}", left, view, f"without {numbers(gone)}", made_of))
    return row


def duplicate_row(painter: RowPainter, views: Sequence[ImageSlots], stream: Generator, name: str) -> AlbumRow:
    """Return images A and B, and the picture of B's slots with one slot of A added."""
    a, b = views
    slot = one(painter.choice.slots, a, stream)
    made_of = {"images": [a.position, b.position], "slot": slot}
    row = [painter.image(f"{name}-a", a), painter.image(f"{name}-b", b)]
    row.append(
        painter.tile(f"{name}-reconstruction", b.slots, b, "reconstruction of B", {"image": b.position})
    )
    added = duplicate(a.slots, slot, b.slots)
    row.append(painter.tile(f"{name}-added", added, b, f"with slot {slot} of A", made_of))
    return row


def one(given: Sequence[int], view: ImageSlots, stream: Generator) -> int:
    """Return the given slot, or a random one of the image's."""
    drawn = int(torch.randint(view.count, (), generator=stream))  # always, so that the next draw is the same
    check_slots(view.slots, given)
    return given[0] if given else drawn


def numbers(slots: Sequence[int]) -> str:
    """Return numbers of slots as text."""
    return ", ".join(map(str, slots)) or "none"


MODES: dict[Mode, Callable[[RowPainter, Sequence[ImageSlots], Generator, str], AlbumRow]] = {
    "slots": slots_row,
    "mix": mix_row,
    "interpolate": interpolate_row,
    "remove": remove_row,
    "duplicate": duplicate_row,
    "draws": draws_row,
    "denoise": denoise_row,
}
