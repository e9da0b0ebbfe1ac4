"""Mean IoU over the objects of all images together.

    mIoU = sum of iou_i over all objects of all images / number of objects

Objects and predicted segments are matched one to one so that the sum of the cosines of their
masks, |A and B| / sqrt(|A| |B|), is the largest. An image's value is the mean over its objects,
its weight their number.

* Source: the evaluation of Latent Slot Diffusion (Jiang et al. 2023), "average over objects".
  Images with few objects, which are easier, weigh less than in a mean over images. With fewer
  slots than objects it leaves the objects without partner out; here they count as 0.
* Pixels ignored: none; the background is no target.
* Range: [0, 1], higher is better.
* Empty masks: have no effect. NaN, of weight 0, for images without objects.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.matching import match, of_partner
from slotlab.framework.arithmetic.overlap import cosine, iou, mean_over, predicted_sizes, true_sizes
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, mask_metric, objects_of
from slotlab.registry import Component, hookimpl


def miou_per_object(outcome: Outcome) -> Tensor:
    """Return the mean over each image's objects, float64 of shape (B,); NaN where it has none."""
    counts_BTP = outcome.counts_BTP
    there_BT = true_sizes(counts_BTP)[:, 1:] > 0
    partner_BT = match(cosine(counts_BTP)[:, 1:], there_BT, predicted_sizes(counts_BTP) > 0)
    return mean_over(of_partner(iou(counts_BTP)[:, 1:], partner_BT), there_BT.double())


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `miou_per_object`."""
    yield mask_metric(
        "miou_per_object",
        miou_per_object,
        summary="mean IoU over the objects of all images",
        objects=objects_of,
    )
