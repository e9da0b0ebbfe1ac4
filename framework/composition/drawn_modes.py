"""Modes for decoders that draw pictures: several draws of the same slots, and how noise becomes a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Generator

from slotlab.framework.composition.album import AlbumPicture, AlbumRow
from slotlab.framework.randomness.seeds import mix as mix_seed
from slotlab.registry import SlotlabError

if TYPE_CHECKING:
    from slotlab.framework.composition.modes import ImageSlots, RowPainter


def draws_row(painter: "RowPainter", views: Sequence["ImageSlots"], stream: Generator, name: str) -> AlbumRow:
    """Return an image, and several pictures of its slots, each with noise of its own.

    The first is the reconstruction that evaluation measures. A decoder that draws nothing makes one picture
    several times.
    """
    (view,) = views
    composer, choice = painter.composer, painter.choice
    row = [painter.image(f"{name}-image", view)]
    for number in range(choice.steps):
        seed = choice.seed if number == 0 else mix_seed(choice.seed, number)
        composed = composer.decode(view.slots, seed=seed, positions=[view.position])
        facts = {"split": choice.split, "image": view.position, "draw": number}
        row.append(AlbumPicture(f"{name}-draw{number}", composed.images_BCHW[0], f"draw {number}", facts))
    return row


def denoise_row(
    painter: "RowPainter", views: Sequence["ImageSlots"], stream: Generator, name: str
) -> AlbumRow:
    """Return an image, what the decoder takes for the picture at evenly spaced steps, and the picture.

    The picture is the reconstruction that evaluation measures.

    Raises:
        SlotlabError: for a decoder that does not make pictures step by step.
    """
    (view,) = views
    choice = painter.choice
    pictures = painter.composer.strip(view.slots, seed=choice.seed, positions=[view.position])
    if pictures is None:
        who = painter.composer.part("decoder")
        raise SlotlabError(f"the {who} does not make pictures step by step: there is no noise to take away")
    every = list(pictures)
    row = [painter.image(f"{name}-image", view)]
    for place in spaced(len(every), choice.steps):
        facts = {"split": choice.split, "image": view.position, "evaluation": place + 1, "of": len(every)}
        caption = f"{place + 1} of {len(every)}"
        row.append(AlbumPicture(f"{name}-step{place + 1:03d}", every[place][0], caption, facts))
    made_of = {"image": view.position}
    return [*row, painter.tile(f"{name}-picture", view.slots, view, "picture", made_of)]


def spaced(number: int, most: int) -> list[int]:
    """Return at most `most` places of `number`, evenly spaced, the first and the last among them."""
    if most >= number:
        return list(range(number))
    if most == 1:
        return [number - 1]
    return [round(place * (number - 1) / (most - 1)) for place in range(most)]
