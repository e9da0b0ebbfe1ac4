"""J&F of objects through a clip: how DAVIS measures unsupervised segmentation.

    J&F = (J + F) / 2

See `davis_j` and `davis_f`.
Objects and segments of a clip are matched one to one so that the sum of (J + F) / 2 is the largest; every
slot is a candidate, that of the ground too. An object that is not seen in a frame has 1 there if its
segment has no pixel, else 0. The total is a mean over the objects of all clips: `davis_jf_weight` is their
number.

* Source: Caelles et al. 2019, and the challenge's code (davis2017-evaluation, task `unsupervised`).
  It scores up to 20 proposals, and counts objects up to the largest label; here they are those with pixels.
* Pixels ignored: void, which is cut out of both masks.
* Range: [0, 1], higher is better; NaN for clips without objects. A picture is a clip of one frame.
"""

from collections.abc import Iterable

from slotlab.framework.metrics.builders import NoSettings
from slotlab.framework.metrics.tubes import both, tube_metric
from slotlab.registry import Component, hookimpl


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `davis_jf`."""
    yield tube_metric("davis_jf", both, summary="mean of region similarity and contour accuracy, J&F (DAVIS)")
