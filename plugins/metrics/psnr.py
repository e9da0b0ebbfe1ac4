"""Peak signal-to-noise ratio of the reconstruction, in decibels.

    PSNR = 10 log10(span^2 / MSE)

where the span is the width of the value range and the MSE the mean over channels and pixels of
one image.

* Source: the usual definition; equal to scikit-image's `peak_signal_noise_ratio`, image by image.
* Pixels ignored: none.
* Range: any number, higher is better; infinite for a perfect reconstruction, which a summary
  counts as undefined.
* Empty masks: masks have no effect.
"""

from collections.abc import Iterable
from math import inf

from torch import Tensor

from slotlab.framework.arithmetic.images import mean_of_squares, peak_signal_to_noise
from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.metrics.builders import NoSettings
from slotlab.registry import Component, hookimpl


class PSNR:
    """Peak signal-to-noise ratio."""

    higher_is_better = True
    bounds = (-inf, inf)
    needs = frozenset({"reconstructions_BCHW"})

    def __init__(self, config: NoSettings, context: MetricContext):
        low, high = context.value_range
        self.span = high - low

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,)."""
        assert outcome.reconstructions_BCHW is not None
        mse_B = mean_of_squares(outcome.reconstructions_BCHW, outcome.images_BCHW)
        return peak_signal_to_noise(mse_B, self.span)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `psnr`."""
    yield Component(name="psnr", config=NoSettings, build=PSNR, summary="peak signal-to-noise ratio in dB")
