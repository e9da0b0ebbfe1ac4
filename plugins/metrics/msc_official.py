"""mSC as the CLEVRTex evaluator computes it, with its mistake.

    mSC = sum over i < I of |i| max over j < J of IoU(i, j) / sum over i < I of |i|

I is the largest true label. Predicted segments are first renamed after their partners (the pairs
of `miou_official`), and J is the largest such name. Both loops are `range(max)` in the evaluator
and so leave out the last true and the last predicted segment. It is weighted by size, that is, a
covering (SC), not a mean. For comparison with published numbers only; `sc` is the same without
the mistake.

* Source: `CLEVRTEX_Evaluator.msc` of `clevrtex_eval.py` (Karazija et al. 2021).
* Pixels ignored: none in the IoU; the last true segment is no target.
* Range: [0, 1], higher is better.
* Empty masks: have no effect. NaN where the truth is background alone, and where only the last true
  segment has pixels.
* Order of slots: which spare slot is named last is decided by their order, as in the evaluator.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from slotlab.framework.arithmetic.matching import official_pairs
from slotlab.framework.arithmetic.overlap import iou, mean_over, predicted_sizes, true_sizes
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, mask_metric
from slotlab.registry import Component, hookimpl


def msc_official(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,); NaN where no true segment but the last has pixels."""
    pairs = official_pairs(outcome.counts_BTP)
    # Columns in the order of their partners; those of a batch's padding are empty and stay last.
    order_BK = torch.where(pairs.partner_BK < 0, pairs.partner_BK.shape[1] - 1, pairs.partner_BK)
    counts_BKK = pairs.counts_BKK.gather(2, order_BK.unsqueeze(1).expand_as(pairs.counts_BKK))
    last_BK = is_last(predicted_sizes(counts_BKK))
    # The sizes of the union are those of the whole masks, also of the column left out.
    best_BK = iou(counts_BKK).masked_fill(last_BK.unsqueeze(1), 0).amax(dim=2)
    sizes_BK = true_sizes(counts_BKK)
    return mean_over(best_BK, sizes_BK.masked_fill(is_last(sizes_BK), 0))


def is_last(sizes_BK: Tensor) -> Tensor:
    """Mark the last segment with pixels, bool of shape (B, K)."""
    after_BK = sizes_BK.flip(1).cumsum(dim=1).flip(1)
    return (sizes_BK > 0) & (after_BK == sizes_BK)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `msc_official`."""
    yield mask_metric(
        "msc_official", msc_official, summary="official CLEVRTex mSC, with its off-by-one mistake"
    )
