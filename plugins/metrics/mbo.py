"""Mean best overlap: the largest IoU of each true object, averaged over the image's objects.

    mBO = mean over true objects i of max over predicted segments j of IoU(i, j)

One predicted segment may be the best for several objects.

* Source: Pont-Tuset et al. 2017; Seitzer et al. 2023 (DINOSAUR); per image and without background
  as SlotDiffusion and AKOrN report it. Equal to `fg_msc`.
* Pixels ignored: none; the background is no target, but its pixels enlarge the segments that hold
  them.
* Range: [0, 1], higher is better.
* Empty masks: have no effect. NaN for images without objects.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.overlap import mean_best_iou
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, mask_metric
from slotlab.registry import Component, hookimpl


def mbo(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,); NaN for images without objects."""
    return mean_best_iou(outcome.counts_BTP, first=1)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `mbo`."""
    yield mask_metric("mbo", mbo, summary="mean best overlap of true objects, by image")
