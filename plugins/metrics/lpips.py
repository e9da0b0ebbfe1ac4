"""Learned perceptual distance between image and reconstruction (LPIPS 0.1).

    LPIPS = sum over layers l of mean over positions of sum over channels c of w_lc (f_lc - g_lc)^2

with the features f, g of an ImageNet network after its ReLUs, each divided by its length over
channels, and weights w >= 0 fitted to human judgments. Images are brought to [-1, 1] first.

Nothing is downloaded. `backbone` is torchvision's file of ImageNet weights:
`alexnet-owt-7be5be79.pth` or `vgg16-397923af.pth`, from https://download.pytorch.org/models/. The
weights w come with the package `lpips` (`pip install slotlab[lpips]`), of which only those files
are read, or from `linear`.

* Source: Zhang et al. 2018, equation 1; equal to their package `lpips`, version 0.1, to float32's
  precision.
* Pixels ignored: none.
* Range: from 0, lower is better. NaN for images that are too small for the network (AlexNet: below 31
  pixels per side, VGG: below 16).
* Empty masks: masks have no effect.
"""

from collections.abc import Iterable
from math import inf

import torch
from torch import Tensor

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.metrics.perceptual import LEAST_SIDE, Network, PerceptualDistance
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, hookimpl


class LPIPSConfig(ComponentConfig):
    """Settings of the perceptual distance."""

    network: Network = "alex"
    """The ImageNet network: `alex` (the authors' choice for measuring) or `vgg`."""
    backbone: SpecPath | None = None
    """File of torchvision's ImageNet weights of the network. There is no default; nothing is downloaded."""
    linear: SpecPath | None = None
    """File of the weights fitted to human judgments; null for those of the installed package `lpips`."""


class LPIPS:
    """Perceptual distance."""

    higher_is_better = False
    bounds = (0.0, inf)
    needs = frozenset({"reconstructions_BCHW"})

    def __init__(self, config: LPIPSConfig, context: MetricContext):
        self.least_side = LEAST_SIDE[config.network]
        self.distance = PerceptualDistance(
            config.network,
            backbone=config.backbone,
            linear=config.linear,
            value_range=context.value_range,
        )

    @torch.no_grad()
    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,)."""
        images, reconstructions = outcome.images_BCHW, outcome.reconstructions_BCHW
        assert reconstructions is not None
        if min(images.shape[2:]) < self.least_side:
            return torch.full((len(images),), torch.nan, dtype=torch.float64, device=images.device)
        self.distance.to(images.device)
        # One by one, since the last bits of a convolution depend on the batch.
        pairs = zip(images, reconstructions, strict=True)
        return torch.cat([self.distance(image[None], other[None], torch.float64) for image, other in pairs])


@hookimpl
def slotlab_metrics() -> Iterable[Component[LPIPSConfig]]:
    """Provide `lpips`."""
    yield Component(
        name="lpips",
        config=LPIPSConfig,
        build=LPIPS,
        summary="learned perceptual distance",
        install="slotlab[lpips]",
    )
