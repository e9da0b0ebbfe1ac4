"""Region similarity J of objects through a clip, as DAVIS measures unsupervised segmentation.

    J = mean over objects and frames of |A and B| / |A or B|

A is an object's mask in a frame, B that of the segment that it is matched with.
Objects and segments of a clip are matched one to one so that the sum of (J + F) / 2 is the largest; every
slot is a candidate, that of the ground too. An object that is not seen in a frame has 1 there if its
segment has no pixel, else 0. The total is a mean over the objects of all clips: `davis_j_weight` is their
number.

* Source: Perazzi et al. 2016; Caelles et al. 2019, and the challenge's code (davis2017-evaluation, task
  `unsupervised`). It scores up to 20 proposals, and counts objects up to the largest label; here they are
  those with pixels.
* Pixels ignored: void, which is cut out of both masks.
* Range: [0, 1], higher is better; NaN for clips without objects. A picture is a clip of one frame.
"""

from collections.abc import Iterable

from slotlab.framework.metrics.builders import NoSettings
from slotlab.framework.metrics.tubes import regions, tube_metric
from slotlab.registry import Component, hookimpl


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `davis_j`."""
    yield tube_metric("davis_j", regions, summary="region similarity J of objects in clips (DAVIS)")
