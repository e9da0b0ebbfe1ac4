"""Mean IoU over true objects, with masks by SlotFormer's rule for the ground.

As `fg_miou_gt`, matched among objects and all slots, but pixels whose largest mask is below 0.5 belong to the
slot whose mask is nowhere high: see `framework.metrics.background_rule`.

* Source: Wu et al. 2023, "SlotFormer", and its code as its authors corrected it: the paper's numbers divide
  by the sum of two areas, not their union, and are at most 0.5. The code counts labels up to the largest,
  so that objects that are not seen count as 0; here they do not count.
* Pixels ignored: void alone; those of the background enlarge the slots that hold them.
* Range: [0, 1], higher is better; NaN for images without objects.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.matching import mean_matched_iou
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.background_rule import SOFT_MASKS, ruled_counts
from slotlab.framework.metrics.builders import NoSettings, mask_metric
from slotlab.registry import Component, hookimpl


def slotformer_fg_miou(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,); NaN for images without objects."""
    return mean_matched_iou(ruled_counts(outcome), first=1)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `slotformer_fg_miou`."""
    yield mask_metric(
        "slotformer_fg_miou",
        slotformer_fg_miou,
        summary="mean IoU of objects with masks by SlotFormer's rule for the ground",
        needs=SOFT_MASKS,
    )
