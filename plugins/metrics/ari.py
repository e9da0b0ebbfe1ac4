"""Adjusted Rand index over all pixels, background included.

    ARI = 2 (both neither - only_true only_predicted) /
          ((both + only_true)(only_true + neither) + (both + only_predicted)(only_predicted + neither))

over ordered pairs of pixels that lie together in both segmentations, in neither, or in one only.

* Source: Hubert and Arabie 1985; equal to scikit-learn's `adjusted_rand_score` image by image,
  and to `ARI` of the CLEVRTex evaluator (Karazija et al. 2021).
* Pixels ignored: none.
* Range: [-0.5, 1], higher is better; about 0 for a random segmentation. Names of segments do not
  matter.
* Empty and single segments: empty ones change nothing; 1 where each side is one and the same
  single segment; 0 where just one side is a single segment.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.contingency import adjusted_rand_index
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, mask_metric
from slotlab.registry import Component, hookimpl


def ari(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,)."""
    return adjusted_rand_index(outcome.counts_BTP)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `ari`."""
    yield mask_metric("ari", ari, summary="adjusted Rand index over all pixels", bounds=(-0.5, 1.0))
