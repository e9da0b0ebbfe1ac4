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

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from math import inf
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from torch import Tensor, nn

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl

Network = Literal["alex", "vgg"]
LAYERS: Mapping[Network, tuple[int, ...]] = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
"""Positions of the compared ReLUs, in torchvision's `features`."""
LEAST_SIDE: Mapping[Network, int] = {"alex": 31, "vgg": 16}
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Convert images in [-1, 1] to the networks' inputs (the package's `ScalingLayer`)."""


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
        low, high = context.value_range
        self.to_signed = (2 / (high - low), (low + high) / (low - high))
        self.least_side = LEAST_SIDE[config.network]
        self.layers = LAYERS[config.network]
        self.features = load_features(config)
        self.weights_LC = load_linear(config)

    @torch.no_grad()
    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,)."""
        images, reconstructions = outcome.images_BCHW, outcome.reconstructions_BCHW
        assert reconstructions is not None
        if min(images.shape[2:]) < self.least_side:
            return torch.full((len(images),), torch.nan, dtype=torch.float64, device=images.device)
        self.features.to(images.device)
        # One by one, since the last bits of a convolution depend on the batch.
        pairs = zip(images, reconstructions, strict=True)
        return torch.stack([self.distance(image[None], other[None]) for image, other in pairs])

    def distance(self, image_1CHW: Tensor, other_1CHW: Tensor) -> Tensor:
        """Return the distance of two images, a float64 scalar."""
        total = torch.zeros((), dtype=torch.float64, device=image_1CHW.device)
        features = zip(self.activations(image_1CHW), self.activations(other_1CHW), strict=True)
        for weights_C, (first_CHW, second_CHW) in zip(self.weights_LC, features, strict=True):
            difference_CHW = (unit(first_CHW) - unit(second_CHW)).square().double()
            total += (weights_C.to(difference_CHW) @ difference_CHW.flatten(1)).mean()
        return total

    def activations(self, image_1CHW: Tensor) -> list[Tensor]:
        """Return the features of each layer, (C, H, W)."""
        factor, offset = self.to_signed
        hidden = image_1CHW.float() * factor + offset
        shift, scale = (hidden.new_tensor(values)[:, None, None] for values in (SHIFT, SCALE))
        hidden, found = (hidden - shift) / scale, []
        for index, layer in enumerate(self.features):
            hidden = layer(hidden)
            if index in self.layers:
                found.append(hidden[0])
        return found


def unit(features_CHW: Tensor) -> Tensor:
    """Divide by the length over channels."""
    return features_CHW / (features_CHW.square().sum(dim=0).sqrt() + 1e-10)


def load_features(config: LPIPSConfig) -> nn.Sequential:
    """Build the network's convolutions with the weights of the file.

    Raises:
        ComponentError: without a file, or for one that is not the network's.
    """
    from torchvision.models import alexnet, vgg16

    if config.backbone is None:
        file = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}[config.network]
        url = f"https://download.pytorch.org/models/{file}"
        raise ComponentError(f"needs 'backbone: FILE' with ImageNet weights; take {url}", field="backbone")
    state = read(config.backbone, field="backbone")
    with torch.device("meta"):
        network = alexnet() if config.network == "alex" else vgg16()
    features: nn.Sequential = network.features[: LAYERS[config.network][-1] + 1]
    prefix = "features."
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    try:
        features.load_state_dict({name: found[name].float() for name in features.state_dict()}, assign=True)
    except (KeyError, RuntimeError) as error:
        message = f"weights file {config.backbone} does not hold torchvision's '{config.network}': {error}"
        raise ComponentError(message, field="backbone") from error
    return features.eval().requires_grad_(False)


def load_linear(config: LPIPSConfig) -> list[Tensor]:
    """Return each layer's weights of channels, float64.

    Raises:
        ComponentError: without a file and the package, or for a file that is not the network's.
    """
    path = config.linear
    if path is None:
        package = find_spec("lpips")
        if package is None or package.origin is None:
            text = "needs 'linear: FILE', or the package lpips: pip install 'slotlab[lpips]'"
            raise ComponentError(text, field="linear")
        path = Path(package.origin).parent / "weights" / "v0.1" / f"{config.network}.pth"
    state = read(path, field="linear")
    try:
        return [
            state[f"lin{i}.model.1.weight"].flatten().double() for i in range(len(LAYERS[config.network]))
        ]
    except KeyError as error:
        message = f"weights file {path} does not hold LPIPS weights of '{config.network}': {error}"
        raise ComponentError(message, field="linear") from error


def read(path: Path, *, field: str) -> dict[str, Any]:
    """Read tensors by name, executing nothing.

    Raises:
        ComponentError: if the file does not exist, or is of another kind.
    """
    if not path.is_file():
        raise ComponentError(f"weights file {path} does not exist", field=field)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ComponentError(f"weights file {path} cannot be read as torch weights", field=field) from error
    if not isinstance(state, dict):
        raise ComponentError(f"weights file {path} holds no weights by name", field=field)
    return state


@hookimpl
def slotlab_metrics() -> Iterable[Component[LPIPSConfig]]:
    """Provide `lpips`."""
    yield Component(name="lpips", config=LPIPSConfig, build=LPIPS, summary="learned perceptual distance")
