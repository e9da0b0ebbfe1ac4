"""Foreground ARI: the adjusted Rand index over pixels whose true label is not background.

The formula of `ari`, over the pixels with true label > 0. The prediction keeps all its labels
there, also those of slots that are mostly background.

* Source: Greff et al. 2019 (IODINE), section 4; `ARI_FG` of the CLEVRTex evaluator (Karazija et
  al. 2021).
* Pixels ignored: those of true label 0.
* Range: [-0.5, 1], higher is better.
* Empty and single segments: NaN for images without foreground (scikit-learn says 1 of no pixels
  at all); 1 for a single object that lies in one predicted segment, 0 if it lies in several.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.contingency import adjusted_rand_index
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, mask_metric
from slotlab.registry import Component, hookimpl


def fg_ari(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,); NaN for images without foreground."""
    return adjusted_rand_index(outcome.counts_BTP[:, 1:])


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `fg_ari`."""
    yield mask_metric(
        "fg_ari", fg_ari, summary="adjusted Rand index over pixels of true objects", bounds=(-0.5, 1.0)
    )
