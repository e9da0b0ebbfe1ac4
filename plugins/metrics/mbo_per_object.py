"""Mean best overlap over the objects of all images together.

    mBO = sum over objects i of all images of max over segments j of IoU(i, j) / number of objects

An image's value is that of `mbo`, its weight the number of its objects.

* Source: the evaluation of Latent Slot Diffusion (Jiang et al. 2023), "average over objects".
* Pixels ignored: none; the background is no target.
* Range: [0, 1], higher is better.
* Empty masks: have no effect. NaN, of weight 0, for images without objects.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.overlap import mean_best_iou
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, mask_metric, objects_of
from slotlab.registry import Component, hookimpl


def mbo_per_object(outcome: Outcome) -> Tensor:
    """Return the mean over each image's objects, float64 of shape (B,); NaN where it has none."""
    return mean_best_iou(outcome.counts_BTP, first=1)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `mbo_per_object`."""
    yield mask_metric(
        "mbo_per_object",
        mbo_per_object,
        summary="mean best overlap over the objects of all images",
        objects=objects_of,
    )
