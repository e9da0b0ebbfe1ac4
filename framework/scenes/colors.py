"""Random colors of which some can be told from others. Colors are sRGB triples in [0, 1]."""

import colorsys
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

Color = tuple[float, float, float]
Pair = tuple[Color, Color]
GroundColors = Literal["any", "gray"]

_CLEAR = 0.38
"""Difference at which two surfaces are told apart at a glance, light and shade included."""
_TRIES = 16
_LOW, _HIGH = (0.0, 0.05, 0.3, 0.25, 0.05), (1.0, 0.9, 1.0, 0.55, 0.85)
"""Of an object's hue, saturation, value, step in value to its second color, and that one's saturation."""


def linear(color: Color) -> Color:
    """Return the light behind an sRGB color, by the power 2.2."""
    red, green, blue = (value**2.2 for value in color)
    return red, green, blue


def difference(a: Color, b: Color) -> float:
    """Return how far apart two colors look: lightness counts most, then red-green and yellow-blue."""
    red, green, blue = a[0] - b[0], a[1] - b[1], a[2] - b[2]
    light = 0.3 * red + 0.59 * green + 0.11 * blue
    return math.sqrt(1.6 * light**2 + 0.5 * (red - green) ** 2 + 0.5 * ((red + green) / 2 - blue) ** 2)


def mean(colors: Pair) -> Color:
    """Return the color halfway."""
    red, green, blue = ((first + second) / 2 for first, second in zip(*colors, strict=True))
    return red, green, blue


def draw_ground(rng: np.random.Generator, colors: GroundColors = "any") -> Pair:
    """Draw two shades of one color, for a pattern that does not drown the objects."""
    hue, saturation, value = rng.uniform(), rng.uniform(0.05, 0.65), rng.uniform(0.35, 0.95)
    if colors == "gray":
        saturation, value = 0.0, 0.55 + 0.2 * (value - 0.65)
    factor = rng.uniform(0.55, 0.82)
    shift = rng.uniform(-0.06, 0.06)
    other = (hue + shift) % 1, saturation * rng.uniform(0.6, 1.2), value * factor
    return _color(hue, saturation, value), _color(*other)


def draw_object(rng: np.random.Generator, avoid: Sequence[Color]) -> Pair:
    """Draw two colors that, alone and mixed, differ clearly from the first of `avoid`.

    The others in `avoid`, the objects already there, are kept away from half as strictly.
    If no try is clear of all, the clearest is taken.
    """
    best, best_score = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), -1.0
    for _ in range(_TRIES):
        hue, saturation, value, step, other_saturation = rng.uniform(_LOW, _HIGH).tolist()
        first = _color(hue, saturation, value)
        other = 0.2 + (value - 0.2 + step) % 0.8  # lighter, or darker if that is past white
        second = _color((hue + rng.normal(0, 0.2)) % 1, other_saturation, other)
        near = min(difference(color, avoid[0]) for color in (first, mean((first, second))))
        score = min([near, *(2 * difference(first, other) for other in avoid[1:])])
        if score > best_score:
            best, best_score = (first, second), score
        if score >= _CLEAR:
            break
    return best


def _color(hue: float, saturation: float, value: float) -> Color:
    return colorsys.hsv_to_rgb(hue, min(saturation, 1.0), value)
