"""Dice coefficient over visible pairs, background included.

    DICE = sum of dice_i over all true labels / visible pairs,   dice = 2 |A and B| / (|A| + |B|)

with the pairs of `miou_official`, which are found by IoU.

* Source: `DICE` of `clevrtex_eval.py` (Karazija et al. 2021).
* Pixels ignored: none.
* Range: [0, 1], higher is better.
* Empty masks: Dice 0; pairs of two empty masks do not count.
* Order of slots: where a true segment is left without any overlapping partner, SciPy's solver
  decides by the order of the slots whether it is paired with a spare or with an empty one, and
  the number of visible pairs depends on it. That is so in the evaluator too, and copied.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.matching import per_visible_pair
from slotlab.framework.arithmetic.overlap import dice
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, mask_metric
from slotlab.registry import Component, hookimpl


def dice_official(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,)."""
    return per_visible_pair(outcome.counts_BTP, dice, first=0)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `dice_official`."""
    yield mask_metric("dice_official", dice_official, summary="official CLEVRTex Dice, background included")
