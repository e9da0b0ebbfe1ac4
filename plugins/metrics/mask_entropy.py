"""How undecided the masks are: a diagnosis of binding.

    entropy = mean over pixels of -sum_k m_k log m_k / log K

with the soft masks m of K slots, which sum to one at each pixel. 0 says that each pixel belongs
to one slot, 1 that all slots share every pixel: nothing is bound.

* Source: Shannon 1948, in units of its greatest value. No truth is needed.
* Pixels ignored: none.
* Range: [0, 1], lower is better.
* Empty masks: add nothing. 0 for a single slot.
"""

from collections.abc import Iterable
from math import log

import torch
from torch import Tensor

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.metric import NoSettings
from slotlab.framework.scoring.sums import in_chunks, mean_of_each
from slotlab.registry import Component, hookimpl


class MaskEntropy:
    """Mean entropy of the masks at a pixel, in units of its greatest value."""

    higher_is_better = False
    bounds = (0.0, 1.0)
    needs = frozenset({"masks_BKHW"})

    def __init__(self, config: NoSettings, context: MetricContext):
        pass

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,)."""
        assert outcome.masks_BKHW is not None
        return in_chunks(entropy, outcome.masks_BKHW)


def entropy(masks_BKHW: Tensor) -> Tensor:
    """Return the mean entropy of each image's masks, float64 of shape (B,)."""
    slots, masks_BKHW = masks_BKHW.shape[1], masks_BKHW.double()
    nats_B = -slots * mean_of_each(torch.xlogy(masks_BKHW, masks_BKHW))
    # float32 masks sum to one but for rounding, so a bound could be passed by as much.
    return (nats_B / log(max(2, slots))).clamp(0, 1)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `mask_entropy`."""
    yield Component(
        name="mask_entropy",
        config=NoSettings,
        build=MaskEntropy,
        summary="how undecided the masks are: 0 one slot a pixel, 1 all slots alike",
    )
