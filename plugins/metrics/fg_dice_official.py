"""Dice coefficient of the foreground, over visible pairs less one.

    DICE_FG = sum of dice_i over true labels i >= 1 / (visible pairs - 1),   dice = 2 |A and B| / (|A| + |B|)

with the pairs of `miou_official`, which are found by IoU.

* Source: `DICE_FG` of `clevrtex_eval.py` (Karazija et al. 2021).
* Pixels ignored: none; the true background takes part in the pairing and is left out of the sum.
* Range: [0, 1], higher is better.
* Empty masks: Dice 0. NaN where the background is the only visible pair, and for truths without
  background.
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


def fg_dice_official(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,); NaN where there is nothing but background."""
    return per_visible_pair(outcome.counts_BTP, dice, first=1)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `fg_dice_official`."""
    yield mask_metric(
        "fg_dice_official", fg_dice_official, summary="official CLEVRTex Dice of the foreground"
    )
