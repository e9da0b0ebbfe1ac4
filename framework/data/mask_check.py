"""Warnings about masks that are probably misread, from a few masks, before anything is scored on them.

Each warning names the setting that would change how masks are read; nothing is changed automatically.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.arithmetic.void import VOID
from slotlab.framework.contracts import DataError, Dataset
from slotlab.framework.data.formats.mask_pictures import NONE
from slotlab.framework.data.read_capabilities import mask_names_of, mask_of
from slotlab.framework.data.source import Source

LOOKED_AT = 12
"""The number of masks of a split that are read, evenly spaced."""
_MANY_LABELS = 100
"""The number of labels that is suspicious where the number of slots is unknown."""
_TINY_SHARE, _TINY_PIXELS = 2e-4, 4
"""A label is tiny if it covers at most this part of the pixels, or at most so many."""
_FEWEST_TINY = 5
"""A mask with fewer tiny labels is not suspicious."""
_VOID_COLORS = ("#e0e0c0",)
"""Colors of void in color masks: that of Pascal VOC."""
_GREATEST = (255, 65535)
"""The greatest labels of 8 and 16 bits: void in many data sets."""


@dataclass(frozen=True)
class MaskFacts:
    """The labels of one mask, without void."""

    sizes: Mapping[int, int]
    """Pixels of each label."""
    names: Mapping[int, str]
    """How the file writes each label."""
    pixels: int
    """All pixels of the mask, void included."""

    @property
    def tiny(self) -> int:
        """The number of labels that cover next to no pixels."""
        most = max(_TINY_PIXELS, self.pixels * _TINY_SHARE)
        return sum(size <= most for size in self.sizes.values())

    @property
    def likely_void(self) -> str | None:
        """A label that is void in other data sets and far from the other labels here, as written."""
        for color in _VOID_COLORS:
            if color in self.names.values():
                return color
        known = [int(name) for name in self.names.values() if name.isdecimal()]
        for great in _GREATEST:
            others = [label for label in known if label not in (0, great)]
            if great in known and others and max(others) <= great // 2:
                return str(great)
        return None


def mask_cautions(source: Source, positions: Sequence[int], config: Any, slots: int | None) -> list[str]:
    """Return warnings about the masks at some positions, as sentences; none for data without masks.

    At most `LOOKED_AT` masks are read. Broken ones are skipped: they are reported where they are loaded.

    Args:
        source: where the masks are read.
        positions: positions in the source.
        config: the dataset's settings; fields `background` and `void` are named in warnings if they exist.
        slots: the number of slots of the model; None where there is no model.
    """
    if source.preparation is None:  # masks of generated pictures are right by construction
        return []
    found = [facts for facts in (_look(source.dataset, at) for at in _spread(positions)) if facts is not None]
    checks: Sequence[Callable[[Sequence[MaskFacts], Any, int | None], str | None]] = (
        _no_ground,
        _tiny_labels,
        _many_labels,
        _void_label,
    )
    texts = [check(found, config, slots) for check in checks] if found else []
    return [f"{source.name}: {text}" for text in texts if text is not None]


def _spread(positions: Sequence[int]) -> list[int]:
    places = np.linspace(0, len(positions) - 1, min(LOOKED_AT, len(positions))).round().astype(int)
    return [positions[place] for place in places.tolist()]


def _look(dataset: Dataset, index: int) -> MaskFacts | None:
    try:
        mask_HW = mask_of(dataset, index)
        if mask_HW is None:
            return None
        names = mask_names_of(dataset, index)
    except DataError:
        return None
    labels_HW: NDArray[np.integer] = mask_HW.numpy()
    labels, sizes = np.unique(labels_HW, return_counts=True)
    known = {
        label: size for label, size in zip(labels.tolist(), sizes.tolist(), strict=True) if label != VOID
    }
    return MaskFacts(known, {label: names.get(label, str(label)) for label in known}, labels_HW.size)


def _setting(config: Any, name: str) -> Any:
    """Return a setting of the dataset; None if it has no such field."""
    return getattr(config, name) if name in getattr(type(config), "model_fields", ()) else None


def _no_ground(found: Sequence[MaskFacts], config: Any, slots: int | None) -> str | None:
    chosen = _setting(config, "background")
    if chosen == NONE or any(0 in facts.sizes or not facts.sizes for facts in found):
        return None
    largest = [max(facts.sizes.items(), key=itemgetter(1)) for facts in found]
    names = Counter(facts.names[label] for facts, (label, _) in zip(found, largest, strict=True))
    [(name, number)] = names.most_common(1)
    share = median(size / facts.pixels for facts, (_, size) in zip(found, largest, strict=True))
    what = "label 0 (black in color masks)" if chosen in (None, 0) else f"label {chosen}"
    text = f"none of the {len(found)} masks that were looked at has the background's {what}: "
    text += f"the ground counts as an object. {name} is the largest in {number} of them, "
    text += f"and the largest labels cover {share:.0%}"
    if chosen is not None:
        value = f"'{name}'" if name.startswith("#") else name
        text += f"; if it is the ground, write background: {value}, and if there is none, background: none"
    return text


def _tiny_labels(found: Sequence[MaskFacts], config: Any, slots: int | None) -> str | None:
    odd = [facts for facts in found if facts.tiny >= max(_FEWEST_TINY, len(facts.sizes) / 2)]
    if 2 * len(odd) < len(found):
        return None
    labels = int(median(len(facts.sizes) for facts in odd))
    tiny = int(median(facts.tiny for facts in odd))
    text = (
        f"{len(odd)} of the {len(found)} masks that were looked at have mostly tiny labels ({labels} labels,"
    )
    text += f" {tiny} on next to no pixels): smoothed edges, or lossy compression, make colors that each "
    return f"{text}count as an object. Masks must be resized by nearest neighbor and saved without loss"


def _many_labels(found: Sequence[MaskFacts], config: Any, slots: int | None) -> str | None:
    labels = int(median(len(facts.sizes) for facts in found))
    if labels <= (_MANY_LABELS if slots is None else 2 * slots):
        return None
    text = f"the {len(found)} masks that were looked at have {labels} labels (median), the ground's included"
    return text if slots is None else f"{text}, far more than {slots} slots"


def _void_label(found: Sequence[MaskFacts], config: Any, slots: int | None) -> str | None:
    if _setting(config, "void") not in (None, NONE):
        return None
    names = Counter(facts.likely_void for facts in found if facts.likely_void is not None)
    if not names:
        return None
    [(name, number)] = names.most_common(1)
    text = f"{number} of the {len(found)} masks that were looked at have the label {name}, which is void in "
    text += "many data sets (pixels that nobody labeled) and counts as an object here"
    if _setting(config, "void") is None:
        return text
    value = f"'{name}'" if name.startswith("#") else name
    return f"{text}; if it is void, write void: {value}, which leaves its pixels out of every metric of masks"
