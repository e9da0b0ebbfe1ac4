"""Mean best overlap of classes (mBO_c): true objects of one category are one segment.

    mBO_c = mean over the image's categories c of max over predicted segments j of IoU(all objects of c, j)

* Source: Seitzer et al. 2023 (DINOSAUR); SPOT and SlotDiffusion report it beside mBO of instances (`mbo`).
  Their masks of classes are made here of the masks of instances and the objects' `category` (see `Sample`),
  which COCO's annotations have. A pixel of several objects has the class of the one that the mask shows
  there; with `overlaps: void` it is not scored.
* Pixels ignored: none; the background is no class, but its pixels enlarge the segments that hold them.
* Range: [0, 1], higher is better.
* Empty masks: have no effect. NaN for images without objects, and for those with a visible object whose
  category is not known.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.arithmetic.overlap import mean_best_iou, true_sizes
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, mask_metric
from slotlab.registry import Component, hookimpl


def mbo_class(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,); NaN for images without objects, or without their categories."""
    counts_BTP = outcome.counts_BTP
    values_B = torch.full((len(counts_BTP),), torch.nan, dtype=torch.float64, device=counts_BTP.device)
    for image, (counts_TP, facts) in enumerate(zip(counts_BTP, outcome.attributes, strict=False)):
        merged_CP = by_category(counts_TP, categories_of(facts))
        if merged_CP is not None:
            values_B[image] = mean_best_iou(merged_CP[None], first=1)[0]
    return values_B


def categories_of(facts: Mapping[str, Any]) -> dict[int, Any]:
    """Return the category of each object of an image, by its label in the mask."""
    return {one["index"]: one["category"] for one in facts.get("objects", ()) if "category" in one}


def by_category(counts_TP: Tensor, categories: Mapping[int, Any]) -> Tensor | None:
    """Return counts of pixels whose rows are the background and the categories; None if one is not known."""
    sizes = true_sizes(counts_TP[None])[0].tolist()
    rows: dict[Any, list[Tensor]] = {}
    for label, size in enumerate(sizes[1:], start=1):
        if size > 0:
            if label not in categories:
                return None
            rows.setdefault(categories[label], []).append(counts_TP[label])
    return torch.stack([counts_TP[0], *(torch.stack(alike).sum(dim=0) for alike in rows.values())])


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `mbo_class`."""
    yield mask_metric("mbo_class", mbo_class, summary="mean best overlap of classes, by image")
