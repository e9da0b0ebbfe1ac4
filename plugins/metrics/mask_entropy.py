"""How undecided the masks are: a diagnosis of whether slots bind to objects.

    entropy = mean over pixels of -sum_k m_k log m_k / log K

with the soft masks m of K slots, which sum to one at each pixel. 0 means that each pixel belongs
to one slot, 1 that all slots share every pixel equally: the slots did not bind. Dropped slots are not
counted in K.

* Source: Shannon 1948, in units of its greatest value. No true masks are needed.
* Pixels ignored: void ones of the true mask, if there is one.
* Range: [0, 1], lower is better.
* Empty masks: add nothing. 0 for a single slot.
"""

from collections.abc import Iterable
from math import log

import torch
from torch import Tensor

from slotlab.framework.arithmetic.sums import in_chunks, mean_of_each, sum_of_each
from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.metrics.builders import NoSettings
from slotlab.registry import Component, hookimpl


class MaskEntropy:
    """Mean entropy of the masks at a pixel, in units of its greatest value."""

    higher_is_better = False
    bounds = (0.0, 1.0)
    needs = frozenset({"masks_BKHW"})

    def __init__(self, config: NoSettings, context: MetricContext):
        pass

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,); NaN for images that are entirely void."""
        assert outcome.masks_BKHW is not None
        given = [tensor for tensor in (outcome.masks_BKHW, outcome.scored_BHW) if tensor is not None]
        # float32 masks sum to one except for rounding, which could exceed a bound.
        return (in_chunks(nats, *given) / most(outcome.masks_BKHW, outcome.keep_BK)).clamp(0, 1)


def nats(masks_BKHW: Tensor, scored_BHW: Tensor | None = None) -> Tensor:
    """Return the mean entropy of each image's masks over the scored pixels, float64 of shape (B,)."""
    slots, masks_BKHW = masks_BKHW.shape[1], masks_BKHW.double()
    parts_BKHW = torch.xlogy(masks_BKHW, masks_BKHW)
    if scored_BHW is None:
        return -slots * mean_of_each(parts_BKHW)
    scored_BKHW = scored_BHW.unsqueeze(1).expand_as(parts_BKHW)
    means_B = sum_of_each(parts_BKHW.masked_fill(~scored_BKHW, 0)) / scored_BKHW.sum(dim=(1, 2, 3))
    return -slots * means_B


def most(masks_BKHW: Tensor, keep_BK: Tensor | None) -> Tensor:
    """Return the greatest entropy that each image's kept slots can have, float64 of shape (B,)."""
    batch, slots = masks_BKHW.shape[:2]
    logs = torch.tensor([log(max(2, kept)) for kept in range(slots + 1)], dtype=torch.float64)
    kept_B = torch.full((batch,), slots) if keep_BK is None else (keep_BK > 0).sum(dim=1).cpu()
    return logs[kept_B].to(masks_BKHW.device)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `mask_entropy`."""
    yield Component(
        name="mask_entropy",
        config=NoSettings,
        build=MaskEntropy,
        summary="how undecided the masks are: 0 one slot a pixel, 1 all slots alike",
    )
