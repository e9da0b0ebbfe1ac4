"""Colors of materials, drawn at random. Colors are sRGB in [0, 1] along the first axis."""

import torch
from torch import Tensor

CLEAR = 0.38
"""The `difference` from which on two surfaces are clearly distinct, even in light and shade."""

WHITE = 1.5
"""The light that is shown as white; a white surface that faces the lamp has 1."""
_EXPOSURE = 2.4


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Return sRGB colors of shape (3, ...) in [0, 1]. Hues are in full turns: whole numbers are red."""
    channels = []
    for start in (5, 3, 1):
        place = start + 6 * hue
        place = place - (place * (1 / 6)).floor() * 6
        part = torch.minimum(place, 4 - place).clamp(0, 1)
        channels.append(value - value * saturation * part)
    return torch.stack(channels)


def linear(colors: Tensor) -> Tensor:
    """Return the light behind sRGB colors: a cubic within 0.003 of the standard's curve."""
    return colors * (colors * (colors * 0.305306 + 0.682171) + 0.012523)


def encoding(device: torch.device) -> Tensor:
    """Return a table of 8-bit sRGB values, uint8 of shape (2048,), for light in [0, WHITE].

    Entry 2047 * sqrt(light / WHITE) is the value of `light`.
    Middle tones are lifted and highlights held back as by film (Reinhard et al. 2002,
    "Photographic tone reproduction", equation 4). A table, as powers may be rounded
    differently from one batch to the next.
    """
    light = (torch.arange(2048, dtype=torch.float64) / 2047) ** 2 * (WHITE * _EXPOSURE)
    light = light * (1 + light / (WHITE * _EXPOSURE) ** 2) / (1 + light)
    srgb = torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (255 * srgb + 0.5).to(torch.uint8).to(device)


def difference(a_3M: Tensor, b_3M: Tensor) -> Tensor:
    """Return how different colors look, of shape (M,); lightness counts most."""
    red, green, blue = a_3M - b_3M
    light = 0.3 * red + 0.59 * green + 0.11 * blue
    warm = (red + green) * 0.5 - blue
    squares: Tensor = 1.6 * light * light + 0.5 * (red - green) * (red - green) + 0.5 * warm * warm
    return squares.sqrt()


def choose_clear(tries_3BKT: Tensor, ground_3B: Tensor) -> Tensor:
    """Return which of T tried colors each of K objects takes, int64 of shape (B, K): the first clear one.

    A color is clear if it differs by `CLEAR` from the ground's color, and by half of that from the objects
    before it. If none is clear, the one that differs most is taken.
    """
    _, _, objects, tries = tries_3BKT.shape
    first_T = torch.arange(tries, 0, -1, device=tries_3BKT.device)
    chosen: list[Tensor] = []
    used = [ground_3B]
    for number in range(objects):
        tries_3BT = tries_3BKT[:, :, number]
        score_BT = difference(tries_3BT, ground_3B[..., None])
        for color_3B in used[1:]:
            score_BT = torch.minimum(score_BT, 2 * difference(tries_3BT, color_3B[..., None]))
        rank_BT = torch.where(score_BT >= CLEAR, 10 * first_T.float(), score_BT)
        chosen.append(rank_BT.max(1).indices)
        used.append(tries_3BT.gather(2, chosen[-1].expand(3, -1)[..., None])[..., 0])
    return torch.stack(chosen, 1)
