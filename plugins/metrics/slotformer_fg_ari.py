"""Adjusted Rand index within objects, with masks by SlotFormer's rule for the ground.

As `fg_ari`, but pixels whose largest mask is below 0.5 belong to the slot whose mask is nowhere high: see
`framework.metrics.background_rule`. Of rollouts it is the FG-ARI of SlotFormer's tables: each frame by
itself, then the mean.

* Source: Wu et al. 2023, "SlotFormer", and its code.
* Pixels ignored: those of true label 0, and void.
* Range: [-0.5, 1], higher is better; NaN for images without objects, where the code has 1.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.contingency import adjusted_rand_index
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.background_rule import SOFT_MASKS, ruled_counts
from slotlab.framework.metrics.builders import NoSettings, mask_metric
from slotlab.registry import Component, hookimpl


def slotformer_fg_ari(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,); NaN for images without objects."""
    return adjusted_rand_index(ruled_counts(outcome)[:, 1:])


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `slotformer_fg_ari`."""
    yield mask_metric(
        "slotformer_fg_ari",
        slotformer_fg_ari,
        summary="FG-ARI with masks by SlotFormer's rule for the ground",
        bounds=(-0.5, 1.0),
        needs=SOFT_MASKS,
    )
