"""Whether the number of predicted segments equals that of true ones.

    acc = 1 if the numbers of segments with pixels are equal, else 0

The background counts as a segment on both sides.

* Source: `acc` of `clevrtex_eval.py` (Karazija et al. 2021).
* Pixels ignored: none; a single pixel suffices for a segment.
* Range: 0 or 1, higher is better.
* Empty masks: do not count.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from slotlab.framework.arithmetic.overlap import predicted_sizes, true_sizes
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, mask_metric
from slotlab.registry import Component, hookimpl


def object_count_accuracy(outcome: Outcome) -> Tensor:
    """Return 0 or 1 as float64 of shape (B,); NaN for images that are entirely void."""
    true_B = (true_sizes(outcome.counts_BTP) > 0).sum(dim=1)
    predicted_B = (predicted_sizes(outcome.counts_BTP) > 0).sum(dim=1)
    return (true_B == predicted_B).double().masked_fill(true_B == 0, torch.nan)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `object_count_accuracy`."""
    yield mask_metric(
        "object_count_accuracy", object_count_accuracy, summary="whether the number of segments is right"
    )
