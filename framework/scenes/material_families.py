"""The families of texture: the size, relief, gloss and colors of each.

The pattern of a family is the function of the same name in `patterns`.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Family = Literal[
    "plain", "checker", "stripes", "dots", "marble", "wood", "speckle", "tiles", "bricks", "clouds",
    "cells", "cracks", "waves", "rust", "granite", "scales", "grass",
    "zigzag", "weave", "lava", "terrazzo", "leopard",
]  # fmt: skip
FAMILIES: tuple[Family, ...] = get_args(Family)

Range = tuple[float, float]
"""Lowest and highest value of a uniform distribution."""
Stop = tuple[float, float, float, float]
"""A stop of a color ramp: the pattern's value from 0 to 1, then the change from the material's own hue
(added), saturation and value (multiplied)."""

_SHADES: tuple[Stop, ...] = (
    (0.0, 0.0, 1.0, 0.45),
    (0.35, 0.02, 1.1, 0.8),
    (0.7, -0.02, 0.9, 1.0),
    (1.0, 0.03, 0.7, 1.25),
)
_JOINTED: tuple[Stop, ...] = (
    (0.0, 0.03, 0.35, 0.75),
    (0.12, 0.0, 0.5, 0.7),
    (0.2, -0.02, 1.0, 0.6),
    (1.0, 0.03, 1.0, 1.15),
)
_TWO_TONE: tuple[Stop, ...] = (
    (0.0, 0.0, 1.0, 0.95),
    (0.42, 0.02, 1.0, 1.0),
    (0.58, 0.08, 0.8, 0.42),
    (1.0, 0.1, 0.8, 0.55),
)
_CONTRAST: tuple[Stop, ...] = (
    (0.0, 0.0, 0.5, 0.9),
    (0.42, 0.01, 0.35, 1.2),
    (0.58, 0.1, 1.0, 0.55),
    (1.0, 0.12, 1.0, 0.7),
)


@dataclass(frozen=True, kw_only=True)
class Style:
    """The properties of a family's materials. Values are drawn uniformly from ranges."""

    repeats: Range = (1.0, 2.0)
    """The number of cells of the pattern per world unit, on objects."""
    ground: Range = (0.7, 1.4)
    """The same for the ground."""
    upright: bool = False
    """Whether the pattern stands nearly upright on objects; otherwise it is rotated at random."""
    hue: Range = (0.0, 1.0)
    saturation: Range = (0.1, 0.75)
    value: Range = (0.35, 0.8)
    stops: tuple[Stop, ...] = _SHADES
    """The color ramp: four stops."""
    bump: Range = (0.01, 0.04)
    """The height of the relief, in cells."""
    gloss: Range = (0.02, 0.3)
    grain: float = 0.3
    """The strength of fine noise on the color."""


_EARTH: Range = (0.0, 0.16)
STYLES: dict[Family, Style] = {
    "plain": Style(
        saturation=(0.3, 1.0),
        value=(0.3, 0.95),
        bump=(0.0, 0.0),
        grain=0.0,
        stops=((0.0, 0.0, 1.0, 1.0), (0.3, 0.0, 1.0, 1.0), (0.6, 0.0, 1.0, 1.0), (1.0, 0.0, 1.0, 1.0)),
    ),
    "checker": Style(repeats=(1.3, 3.0), ground=(0.7, 1.6), upright=True, stops=_TWO_TONE, bump=(0.0, 0.01)),
    "stripes": Style(repeats=(1.6, 4.0), ground=(0.6, 1.8), stops=_CONTRAST, bump=(0.01, 0.03), grain=0.4),
    "dots": Style(repeats=(1.6, 3.2), ground=(0.8, 1.8), stops=_CONTRAST, bump=(0.02, 0.08), grain=0.4),
    "marble": Style(
        repeats=(0.8, 1.6),
        ground=(0.35, 0.8),
        saturation=(0.03, 0.4),
        value=(0.5, 0.85),
        gloss=(0.2, 0.6),
        bump=(0.0, 0.005),
        grain=0.15,
    ),
    "wood": Style(
        repeats=(1.8, 3.5),
        ground=(0.8, 1.6),
        hue=(0.04, 0.11),
        saturation=(0.35, 0.7),
        value=(0.3, 0.7),
        bump=(0.005, 0.02),
    ),
    "speckle": Style(repeats=(2.0, 4.0), ground=(1.2, 2.5), saturation=(0.05, 0.6), bump=(0.01, 0.03)),
    "tiles": Style(
        repeats=(1.3, 2.5),
        ground=(0.7, 1.5),
        upright=True,
        stops=_JOINTED,
        bump=(0.02, 0.05),
        gloss=(0.1, 0.6),
        saturation=(0.1, 0.7),
        value=(0.4, 0.85),
        grain=0.25,
    ),
    "bricks": Style(
        repeats=(1.2, 2.2),
        ground=(0.8, 1.6),
        upright=True,
        stops=_JOINTED,
        hue=_EARTH,
        saturation=(0.2, 0.75),
        bump=(0.03, 0.07),
        grain=0.45,
    ),
    "clouds": Style(repeats=(0.8, 2.0), ground=(0.35, 1.0), bump=(0.02, 0.1), grain=0.4),
    "cells": Style(repeats=(1.3, 3.0), ground=(0.7, 1.8), bump=(0.04, 0.12)),
    "cracks": Style(
        repeats=(1.0, 2.2),
        ground=(0.6, 1.4),
        hue=_EARTH,
        saturation=(0.1, 0.6),
        bump=(0.05, 0.12),
        grain=0.45,
    ),
    "waves": Style(repeats=(1.0, 2.2), ground=(0.6, 1.4), bump=(0.05, 0.12), saturation=(0.15, 0.7)),
    "rust": Style(
        repeats=(0.8, 1.8),
        ground=(0.4, 1.0),
        hue=(0.02, 0.09),
        saturation=(0.5, 0.9),
        value=(0.35, 0.65),
        stops=((0.0, 0.5, 0.2, 0.6), (0.4, 0.5, 0.15, 1.0), (0.55, -0.01, 1.0, 0.5), (1.0, 0.04, 0.9, 1.3)),
        bump=(0.02, 0.06),
        gloss=(0.05, 0.35),
        grain=0.45,
    ),
    "granite": Style(
        repeats=(2.5, 4.5),
        ground=(1.5, 3.0),
        saturation=(0.02, 0.35),
        value=(0.4, 0.75),
        bump=(0.01, 0.04),
        gloss=(0.05, 0.5),
    ),
    "scales": Style(
        repeats=(1.2, 2.4),
        ground=(0.7, 1.4),
        upright=True,
        bump=(0.1, 0.2),
        saturation=(0.3, 0.9),
        gloss=(0.05, 0.5),
    ),
    "grass": Style(
        repeats=(1.6, 3.0),
        ground=(1.0, 1.8),
        hue=(0.17, 0.32),
        saturation=(0.4, 0.8),
        value=(0.3, 0.55),
        stops=((0.0, -0.1, 0.8, 0.3), (0.35, -0.03, 1.0, 0.65), (0.7, 0.0, 1.0, 1.1), (1.0, -0.06, 0.8, 1.6)),
        bump=(0.1, 0.2),
        gloss=(0.0, 0.05),
        grain=0.6,
    ),
    "zigzag": Style(repeats=(1.3, 2.6), ground=(0.8, 1.6), upright=True, stops=_CONTRAST),
    "weave": Style(repeats=(2.0, 4.0), ground=(1.0, 2.2), upright=True, bump=(0.06, 0.12)),
    "lava": Style(
        repeats=(1.0, 2.0),
        ground=(0.5, 1.2),
        hue=(0.0, 0.1),
        saturation=(0.7, 1.0),
        value=(0.5, 0.9),
        stops=((0.0, 0.1, 1.0, 1.4), (0.12, 0.05, 1.0, 1.2), (0.25, 0.0, 0.6, 0.25), (1.0, 0.02, 0.3, 0.5)),
        bump=(0.08, 0.16),
        grain=0.5,
    ),
    "terrazzo": Style(
        repeats=(1.6, 3.2),
        ground=(0.9, 2.0),
        saturation=(0.1, 0.5),
        value=(0.45, 0.8),
        gloss=(0.2, 0.6),
        stops=((0.0, 0.0, 0.3, 1.3), (0.3, 0.3, 1.0, 0.9), (0.6, 0.6, 1.0, 0.6), (1.0, 0.1, 0.8, 1.2)),
        bump=(0.0, 0.01),
    ),
    "leopard": Style(
        repeats=(1.6, 3.2),
        ground=(0.8, 1.8),
        hue=(0.05, 0.15),
        saturation=(0.4, 0.8),
        value=(0.5, 0.85),
        stops=((0.0, 0.0, 1.0, 1.1), (0.4, -0.01, 1.1, 0.9), (0.6, -0.03, 1.0, 0.18), (1.0, 0.0, 1.1, 0.65)),
    ),
}
