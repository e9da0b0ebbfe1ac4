"""Statistics by the number of objects in an image, and by the attributes of objects.

Objects are grouped by material, shape, size and occlusion. An object's value is the IoU of its mask with
that of the matched segment, as the CLEVRTex evaluator's `obj_iou` (Karazija et al. 2021): segments,
background included, are matched one to one with the largest sum of IoU, and objects without a visible
pixel do not count.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from slotlab.framework.arithmetic.matching import matched_iou
from slotlab.framework.arithmetic.overlap import true_sizes
from slotlab.framework.arithmetic.t_interval import ANY, Bounds, defined, t_bounds, weighted_mean
from slotlab.framework.contracts import Outcome

ResultRow = dict[str, Any]
TRAITS = ("material", "shape", "size")
"""Attributes by which objects are grouped if the data has them: keys of `Sample.attributes["objects"]`."""
IOU = "object_iou"
"""The column of an object's IoU, in [0, 1]."""
FRACTION, PIXELS = "visible_fraction", "pixels"
"""Columns about occlusion: the visible part of an object in [0, 1], and its visible pixels."""
_QUARTERS = 4


def object_rows(outcome: Outcome, ids: Sequence[str]) -> list[list[ResultRow]]:
    """Return, for each image, one row per visible true object, with its attributes and its IoU.

    The lists are empty if true or predicted masks are missing.
    """
    if outcome.true_BHW is None or outcome.predicted_BHW is None:
        return [[] for _ in ids]
    ious = matched_iou(outcome.counts_BTP, first=0).tolist()
    sizes = true_sizes(outcome.counts_BTP).tolist()
    attributes = outcome.attributes or ({},) * len(ids)
    return [
        [
            {"id": name, "index": index, PIXELS: int(size[index]), IOU: iou[index]} | traits(facts, index)
            for index in range(1, len(size))
            if size[index]
        ]
        for name, iou, size, facts in zip(ids, ious, sizes, attributes, strict=True)
    ]


def traits(attributes: Mapping[str, Any], index: int) -> ResultRow:
    """Return the attributes of the object with mask value `index`, as far as the data has them."""
    for facts in attributes.get("objects", ()):
        if facts.get("index") == index:
            known = {key: facts.get(key) for key in (*TRAITS, FRACTION)}
            return {key: value for key, value in known.items() if isinstance(value, str | int | float)}
    return {}


def breakdowns(
    rows: Sequence[ResultRow], objects: Sequence[ResultRow], metrics: Mapping[str, Bounds]
) -> dict[str, list[dict[str, Any]]]:
    """Return statistics by group, for every way of grouping that the data allows.

    Args:
        rows: one per image, with `objects` and the metrics' columns.
        objects: one per object, from `object_rows`.
        metrics: the columns to report for groups of images, with the bounds of their values.

    Returns:
        By name (`objects`, `material`, `shape`, `size`, `occlusion`) a list of groups, each with its name
        under `group` and a mean, interval and count (see `interval`) for each metric.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    names = [name for name in metrics if rows and name in rows[0]]
    if rows and "objects" in rows[0] and names:
        found["objects"] = [
            {"group": label(number), **{name: of_column(members, name, metrics[name]) for name in names}}
            for number, members in grouped(rows, "objects").items()
        ]
    for trait in TRAITS:
        known = [row for row in objects if trait in row]
        if known:
            found[trait] = [of_objects(label(one), members) for one, members in grouped(known, trait).items()]
    if objects:
        found["occlusion"] = by_occlusion(objects)
    return found


def by_occlusion(objects: Sequence[ResultRow]) -> list[dict[str, Any]]:
    """Group by quarters of the visible fraction if the data has it, else into four by visible pixels.

    Pixels are counted at the size of the scored masks. Each group's name says which of the two it is.
    """
    if all(FRACTION in row for row in objects):
        places = [min(int(row[FRACTION] * _QUARTERS), _QUARTERS - 1) for row in objects]
        names = [f"visible {i * 25}-{(i + 1) * 25} %" for i in range(_QUARTERS)]
    else:
        pixels = sorted(row[PIXELS] for row in objects)
        ends = sorted({pixels[math.ceil(len(pixels) * i / _QUARTERS) - 1] for i in range(1, _QUARTERS + 1)})
        starts = [pixels[0], *(end + 1 for end in ends[:-1])]
        names = [f"{low} to {high} pixels" for low, high in zip(starts, ends, strict=True)]
        places = [next(i for i, end in enumerate(ends) if row[PIXELS] <= end) for row in objects]
    groups = {
        name: [row for row, at in zip(objects, places, strict=True) if at == i]
        for i, name in enumerate(names)
    }
    return [of_objects(name, members) for name, members in groups.items() if members]


def of_objects(group: str, members: Sequence[ResultRow]) -> dict[str, Any]:
    """Return the statistics of a group of objects."""
    return {"group": group, IOU: of_column(members, IOU, (0.0, 1.0))}


def of_column(rows: Sequence[ResultRow], name: str, bounds: Bounds) -> dict[str, Any]:
    """Return the statistics of a column, weighted where it has weights."""
    weight = f"{name}_weight"
    weights = [row[weight] for row in rows] if rows and weight in rows[0] else None
    return interval([row[name] for row in rows], weights, bounds)


def grouped(rows: Sequence[ResultRow], key: str) -> dict[Any, list[ResultRow]]:
    """Return the rows by the value of a column, numbers by size before words by letter."""
    groups: dict[Any, list[ResultRow]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    order = sorted(groups, key=lambda one: (0, one, "") if isinstance(one, int | float) else (1, 0, str(one)))
    return {one: groups[one] for one in order}


def label(value: Any) -> str:
    """Write a value as the name of a group."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def interval(
    values: Sequence[float], weights: Sequence[float] | None = None, bounds: Bounds = ANY
) -> dict[str, Any]:
    """Return mean, 95 % t interval of the mean, and count; values that are not finite do not count.

    The interval treats images (or objects) as independent draws: it says how well this model's mean
    is known, not how much another training would differ. With weights the mean is a ratio, and its
    standard error that of the linearized ratio (Cochran 1977, section 2.11), which with equal weights is
    the ordinary one. It ends at the bounds of the values (see `t_bounds`). `low` and `high` are None for a
    single value.
    """
    pairs = defined(values, weights)
    count = len(pairs)
    if not count:
        return {"mean": None, "low": None, "high": None, "count": 0}
    mean = weighted_mean(pairs)
    if count == 1:
        return {"mean": mean, "low": None, "high": None, "count": 1}
    squares = math.fsum((w * (v - mean)) ** 2 for v, w in pairs)
    error = math.sqrt(squares * count / (count - 1)) / math.fsum(w for _, w in pairs)
    low, high = t_bounds(mean, error, count - 1, bounds)
    return {"mean": mean, "low": low, "high": high, "count": count}
