"""Masks of a video's frames, stored as pictures: an object keeps its label through the video."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slotlab.framework.arithmetic.void import VOID
from slotlab.framework.contracts import DataError
from slotlab.framework.data.formats.mask_pictures import (
    NONE,
    PLAIN,
    MaskCode,
    Written,
    color_of,
    labels,
    open_mask,
    values_of,
)


class VideoMasks:
    """The masks of one video.

    Palette and gray masks hold the labels themselves, which then are the same in all frames. Where objects
    are told apart by colors, or no label is the background, what all frames hold is numbered together, from 1
    in ascending order (of red, then green, then blue), for which all masks of the video are read once.
    """

    def __init__(self, paths: Sequence[Path], code: MaskCode = PLAIN):
        """Read masks.

        Args:
            paths: the files of all frames.
            code: which labels or colors are no objects.
        """
        self._paths, self._code = paths, code
        self._known: NDArray[np.integer] | None = None

    def read(self, path: Path) -> NDArray[np.integer]:
        """Return the labels (H, W) of one of the masks, 0 the background and -1 void: uint8 or int32.

        Raises:
            DataError: for a file that is broken or no mask.
        """
        image, name = open_mask(path), str(path)
        if self._code.background != NONE and not self._colored(image):
            return labels(image, name, self._code)
        codes_HW = self._codes(image, name)
        if self._known is None:
            self._known = self._all_codes()
        ground, void = (self._special(one, image, name) for one in (self._code.background, self._code.void))
        kept = self._known[(self._known != ground) & (self._known != void)]
        labels_HW = np.searchsorted(kept, codes_HW) + 1
        labels_HW[codes_HW == ground] = 0
        labels_HW[codes_HW == void] = VOID
        return labels_HW.astype(np.uint8 if void is None and len(kept) < 256 else np.int32)

    def _colored(self, image: Image.Image) -> bool:
        """Return whether a mask tells objects apart by colors, or a setting names a color of its palette."""
        settings = (self._code.background, self._code.void)
        named = any(isinstance(setting, str) and setting != NONE for setting in settings)
        return image.mode in ("RGB", "RGBA") or (named and image.mode in ("P", "L", "1"))

    def _codes(self, image: Image.Image, name: str) -> NDArray[np.integer]:
        return values_of(image.convert("RGB") if self._colored(image) else image, name)

    def _special(self, setting: Written, image: Image.Image, name: str) -> int | None:
        """Return the number that a setting names among those of `_codes`; None for `none`."""
        if self._colored(image):
            return color_of(setting, name)
        return setting if isinstance(setting, int) else None

    def _all_codes(self) -> NDArray[np.integer]:
        """Return what all masks hold, in ascending order; those that cannot be read are told of later."""
        found: set[int] = set()
        for path in self._paths:
            try:
                found.update(np.unique(self._codes(open_mask(path), str(path))).tolist())
            except DataError:
                continue
        return np.array(sorted(found), np.int64)
