"""Contour accuracy F of objects through a clip, as DAVIS measures unsupervised segmentation.

    F = mean over objects and frames of 2 P R / (P + R)

P is the part of a segment's contour within 0.008 diagonals (rounded up to pixels) of the object's, R the
other way around.
Objects and segments of a clip are matched one to one so that the sum of (J + F) / 2 is the largest; every
slot is a candidate, that of the ground too. An object that is not seen in a frame has 1 there if its
segment has no pixel, else 0. The total is a mean over the objects of all clips: `davis_f_weight` is their
number.

* Source: Perazzi et al. 2016; Caelles et al. 2019, and the challenge's code (davis2017-evaluation, task
  `unsupervised`). It scores up to 20 proposals, and counts objects up to the largest label; here they are
  those with pixels.
* Pixels ignored: void, which is cut out of both masks.
* Range: [0, 1], higher is better; NaN for clips without objects. A picture is a clip of one frame.
"""

from collections.abc import Iterable

from slotlab.framework.metrics.builders import NoSettings
from slotlab.framework.metrics.tubes import contours_of, tube_metric
from slotlab.registry import Component, hookimpl


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `davis_f`."""
    yield tube_metric("davis_f", contours_of, summary="contour accuracy F of objects in clips (DAVIS)")
