"""Structural similarity of the reconstruction.

    SSIM = mean over channels and windows of
           (2 m1 m2 + C1)(2 s12 + C2) / ((m1^2 + m2^2 + C1)(s1^2 + s2^2 + C2))

with means, variances and covariance under a Gaussian window of 11 x 11 pixels (sigma 1.5), C1 =
0.01^2 and C2 = 0.03^2, on images brought to [0, 1]. Only windows that lie inside the image count.

* Source: Wang et al. 2004, equation 13; equal to scikit-image's `structural_similarity` with
  `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`.
* Pixels ignored: none, but those within 5 of the border are no centers of windows.
* Range: [-1, 1], higher is better. NaN for images of less than 11 pixels a side.
* Empty masks: masks have no effect.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.images import structural_similarity
from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.metrics.builders import NoSettings
from slotlab.registry import Component, hookimpl


class SSIM:
    """Mean structural similarity."""

    higher_is_better = True
    bounds = (-1.0, 1.0)
    needs = frozenset({"reconstructions_BCHW"})

    def __init__(self, config: NoSettings, context: MetricContext):
        self.low, self.high = context.value_range

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,)."""
        assert outcome.reconstructions_BCHW is not None
        pair = (outcome.images_BCHW, outcome.reconstructions_BCHW)
        first, second = ((images.double() - self.low) / (self.high - self.low) for images in pair)
        return structural_similarity(first, second)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `ssim`."""
    yield Component(name="ssim", config=NoSettings, build=SSIM, summary="structural similarity")
