"""Masks stored as pictures: turning their labels or colors into labels, background and void."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BeforeValidator

from slotlab.framework.arithmetic.void import VOID
from slotlab.framework.contracts import DataError, DataProblem
from slotlab.framework.data.formats.pictures import decode
from slotlab.registry.component import custom_error

Written = int | str
"""How a file writes a label: a number, or a color as `#rrggbb`."""
NONE: Literal["none"] = "none"
_COLOR = re.compile("#[0-9a-fA-F]{6}")
_NAMED = {"black": "#000000", "white": "#ffffff"}
_DEPTH_AT, _SIXTEEN = 24, 16
"""The byte of a PNG's header with the bits per channel, and its value for 16 bits."""


def read_setting(value: Any) -> Any:
    """Return the setting of a label: a number from 0, a color `#rrggbb` in lower case, or `none`."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        text = _NAMED.get(value.lower(), value)
        if text == NONE or _COLOR.fullmatch(text):
            return str(text).lower()
    quotes = "; a color needs quotes: without them YAML takes # for a comment" if value is None else ""
    text = "write a label, such as 255, a color, such as '#ffffff', or none"
    raise custom_error("label_or_color", f"{text}{quotes}")


LabelSetting = Annotated[int | str, BeforeValidator(read_setting)]
"""A field of a Config that names a label of masks."""


@dataclass(frozen=True)
class MaskCode:
    """Which values of masks are not segments."""

    background: Written = 0
    """The background; 0 is black in color masks, 255 white. `none`: every value is a segment."""
    void: Written = NONE
    """The value of pixels that are not scored; `none`: all are scored."""


PLAIN = MaskCode()
"""0, or black, is the background; nothing is void."""


def same(one: Written, other: Written) -> bool:
    """Return whether two settings name the same label or color."""
    return one != NONE and other != NONE and _as_color(one) == _as_color(other)


def open_mask(path: Path) -> Image.Image:
    """Return a decoded mask.

    Raises:
        DataError: if it cannot be read, is not the PNG that its name says, or has 16 bits per color channel.
    """
    name = str(path)
    image = decode(path, name)
    if path.suffix.lower() == ".png" and image.format != "PNG":
        text = f"is a {image.format} picture, whatever its name says; a mask must be a PNG: other kinds may"
        raise DataError(DataProblem(name, f"{text} change its labels"))
    if not image.mode.startswith("I"):
        with path.open("rb") as file:
            header = file.read(_DEPTH_AT + 1)
        if header[_DEPTH_AT:] == bytes([_SIXTEEN]):
            text = (
                "is a color mask of 16 bits a channel, of which only 8 can be read: colors might become one"
            )
            raise DataError(DataProblem(name, f"{text}; save it with 8 bits a channel, or as gray of 16"))
    return image


def labels(image: Image.Image, name: str, code: MaskCode = PLAIN) -> NDArray[np.integer]:
    """Return instance labels (H, W) from a mask picture: palette, gray (8 or 16 bits) or RGB.

    Palette and gray masks hold the labels themselves; where another label than 0 is the background, it
    changes places with 0. In color masks the background's color is 0, the others are numbered from 1 in the
    order of their (red, green, blue); alpha is dropped. Void is -1.

    Returns:
        uint8 if that holds all labels, else int32.

    Raises:
        DataError: for pictures of another kind, or for labels that such a picture cannot hold.
    """
    values_HW = values_of(image, name)
    if image.mode in ("RGB", "RGBA"):
        return label_values(values_HW, name, code, colors=True)
    ground = _labels_named(code.background, image, name)
    void = _labels_named(code.void, image, name)
    return _shrunk(_place(values_HW, ground, void)) if (ground, void) != ([0], []) else values_HW


def label_values(
    values_HW: NDArray[np.integer], name: str, code: MaskCode, *, colors: bool
) -> NDArray[np.integer]:
    """Return instance labels (H, W) from numbers: labels, or colors as `color_codes` numbers them.

    Raises:
        DataError: for labels that such numbers cannot be.
    """
    if colors:
        return number_colors(values_HW, color_of(code.background, name), color_of(code.void, name))
    named = [setting for setting in (code.background, code.void) if setting != NONE]
    if not all(isinstance(setting, int) for setting in named):
        raise DataError(DataProblem(name, "holds labels, no colors; write the background and void as labels"))
    ground, void = ([setting] if isinstance(setting, int) else [] for setting in (code.background, code.void))
    return _shrunk(_place(values_HW, ground, void)) if (ground, void) != ([0], []) else values_HW


def values_of(image: Image.Image, name: str) -> NDArray[np.integer]:
    """Return what a mask holds, (H, W): its labels, or its colors as numbers.

    Raises:
        DataError: for pictures of another kind.
    """
    if image.mode in ("P", "L"):
        return np.array(image)
    if image.mode == "1":
        return np.array(image).astype(np.uint8)
    if image.mode == "LA":
        return np.array(image)[..., 0]
    if image.mode.startswith("I"):
        return np.array(image).astype(np.int32)
    if image.mode in ("RGB", "RGBA"):
        return color_codes(np.array(image)[..., :3])
    text = f"a mask is a palette, gray or RGB picture, this one is {image.mode}"
    raise DataError(DataProblem(name, text))


def names_of(image: Image.Image, labels_HW: NDArray[np.integer], name: str) -> Mapping[int, str]:
    """Return how a mask file writes each of its labels: `255` or `#ffffff`."""
    values_HW = values_of(image, name)
    found, places = np.unique(labels_HW, return_index=True)
    written = values_HW.ravel()[places].tolist()
    shape = "#{:06x}" if image.mode in ("RGB", "RGBA") else "{}"
    return {label: shape.format(value) for label, value in zip(found.tolist(), written, strict=True)}


def color_codes(mask_HW3: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Return each pixel's color as one number, red * 65536 + green * 256 + blue."""
    red_HW, green_HW, blue_HW = mask_HW3.astype(np.int32).transpose(2, 0, 1)
    codes_HW: NDArray[np.int32] = (red_HW << 16) + (green_HW << 8) + blue_HW
    return codes_HW


def number_colors(codes_HW: NDArray[np.integer], ground: int | None, void: int | None) -> NDArray[np.integer]:
    """Return labels (H, W): colors are numbered from 1 in ascending order, the ground is 0, void is -1."""
    codes, places_HW = np.unique(codes_HW, return_inverse=True)
    special = (codes == ground) | (codes == void)
    numbers = np.where(special, 0, np.cumsum(~special))
    numbers[codes == void] = VOID
    return _shrunk(numbers[places_HW.reshape(codes_HW.shape)])


def _place(values_HW: NDArray[np.integer], ground: list[int], void: list[int]) -> NDArray[np.integer]:
    """Return labels in which the ground is 0, void is -1, and other values stay different."""
    is_void_HW = np.isin(values_HW, void)
    is_ground_HW = np.isin(values_HW, ground) & ~is_void_HW
    found_HW = values_HW.astype(np.int64)
    # Label 0 takes the label of the ground; if there is no ground it becomes a new label.
    found_HW[values_HW == 0] = ground[0] if ground and ground[0] else int(values_HW.max()) + 1
    found_HW[is_ground_HW] = 0
    found_HW[is_void_HW] = VOID
    return found_HW


def _shrunk(labels_HW: NDArray[np.integer]) -> NDArray[np.integer]:
    return labels_HW.astype(np.uint8 if labels_HW.min() >= 0 and labels_HW.max() < 256 else np.int32)


def _as_color(setting: Written) -> Written:
    """Return the gray color that a number below 256 stands for; other settings as they are."""
    return (
        f"#{setting:02x}{setting:02x}{setting:02x}" if isinstance(setting, int) and setting < 256 else setting
    )


def color_of(setting: Written, name: str) -> int | None:
    """Return the setting's color as a number; None for `none`.

    Raises:
        DataError: for a number that no gray color has.
    """
    if setting == NONE:
        return None
    color = _as_color(setting)
    if isinstance(color, int):
        text = f"is a color mask, in which nothing has the label {color}; write a color such as '#ffffff'"
        raise DataError(DataProblem(name, text))
    return int(color[1:], 16)


def _labels_named(setting: Written, image: Image.Image, name: str) -> list[int]:
    """Return the labels that a setting names in a mask of labels: several if a palette repeats a color.

    Raises:
        DataError: for a color that a gray mask cannot have.
    """
    if setting == NONE:
        return []
    if isinstance(setting, int):
        return [setting]
    wanted = [int(setting[start : start + 2], 16) for start in (1, 3, 5)]
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB") or []).reshape(-1, 3)
        here: list[int] = np.flatnonzero((palette == wanted).all(axis=1)).tolist()
        used = set(np.unique(np.array(image)).tolist())
        return [label for label in here if label in used]
    if len(set(wanted)) == 1:
        return [min(1, wanted[0])] if image.mode == "1" else [wanted[0]]
    raise DataError(DataProblem(name, f"is gray and holds labels, not the color {setting}; write a label"))
