"""Learned perceptual distance (LPIPS 0.1) of images, with a gradient: for a metric, and for losses.

    LPIPS = sum over layers l of mean over positions of sum over channels c of w_lc (f_lc - g_lc)^2

with the features f, g of an ImageNet network after its ReLUs, each divided by its length over channels, and
weights w >= 0 fitted to human judgments. Source: Zhang et al. 2018, equation 1, and their package `lpips`.
Weights are read from files; nothing is downloaded.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from slotlab.framework.model.weights_file import read_weights
from slotlab.registry import ComponentError

Network = Literal["alex", "vgg"]
LAYERS: Mapping[Network, tuple[int, ...]] = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
"""Positions of the compared ReLUs, in torchvision's `features`."""
LEAST_SIDE: Mapping[Network, int] = {"alex": 31, "vgg": 16}
"""Images with a shorter side shrink to nothing."""
FILES: Mapping[Network, str] = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
"""Torchvision's files of ImageNet weights."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Convert images in [-1, 1] to the networks' inputs (the package's `ScalingLayer`)."""


class PerceptualDistance(nn.Module):
    """Images and others, (B, 3, H, W), to their distances (B,). Frozen.

    Args:
        network: whose features are compared.
        backbone: file of torchvision's ImageNet weights.
        linear: file of the weights w; None for those of the installed package `lpips`.
        value_range: of the images.

    Raises:
        ComponentError: at `backbone` or `linear`, for a file that is missing or not the network's.
    """

    def __init__(
        self,
        network: Network,
        *,
        backbone: Path | None,
        linear: Path | None,
        value_range: tuple[float, float],
    ):
        super().__init__()
        low, high = value_range
        self.to_signed = (2 / (high - low), (low + high) / (low - high))
        self.layers = LAYERS[network]
        with torch.device("cpu"):  # files cannot be loaded onto the meta device
            features, weights_LC = load_features(network, backbone), load_linear(network, linear)
        self.features = features.to(torch.get_default_device())
        for layer, weights_C in enumerate(weights_LC):
            self.register_buffer(f"weights_{layer}", weights_C.to(torch.get_default_device()))

    @property
    def weights_LC(self) -> list[Tensor]:
        """The weights w of each layer, float64."""
        return [self.get_buffer(f"weights_{layer}") for layer in range(len(self.layers))]

    def forward(self, images_BCHW: Tensor, others_BCHW: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the distances, summed in `dtype`."""
        total_B = torch.zeros(len(images_BCHW), dtype=dtype, device=images_BCHW.device)
        pairs = zip(self.activations(images_BCHW), self.activations(others_BCHW), strict=True)
        for weights_C, (first_BCHW, second_BCHW) in zip(self.weights_LC, pairs, strict=True):
            difference_BCHW = (unit(first_BCHW) - unit(second_BCHW)).square().to(dtype)
            total_B = total_B + (weights_C.to(difference_BCHW) @ difference_BCHW.flatten(2)).mean(dim=1)
        return total_B

    def activations(self, images_BCHW: Tensor) -> list[Tensor]:
        """Return the features of each layer, (B, C, H, W)."""
        factor, offset = self.to_signed
        dtype = next(self.features.parameters()).dtype
        hidden = images_BCHW.to(dtype) * factor + offset
        shift, scale = (hidden.new_tensor(values)[:, None, None] for values in (SHIFT, SCALE))
        hidden, found = (hidden - shift) / scale, []
        for index, layer in enumerate(self.features):
            hidden = layer(hidden)
            if index in self.layers:
                found.append(hidden.to(dtype))
        return found


def unit(features_BCHW: Tensor) -> Tensor:
    """Divide by the length over channels."""
    square_B1HW = features_BCHW.square().sum(dim=1, keepdim=True)
    some_B1HW = square_B1HW > 0  # the root has no finite slope at 0, and its gradient would not be a number
    length_B1HW = square_B1HW.where(some_B1HW, 1.0).sqrt() * some_B1HW
    return features_BCHW / (length_B1HW + 1e-10)


def load_features(network: Network, path: Path | None) -> nn.Sequential:
    """Build the network's convolutions with the weights of the file.

    Raises:
        ComponentError: without a file, or for one that is not the network's.
    """
    from torchvision.models import alexnet, vgg16

    if path is None:
        url = f"https://download.pytorch.org/models/{FILES[network]}"
        raise ComponentError(f"needs 'backbone: FILE' with ImageNet weights; take {url}", field="backbone")
    state = read_weights(path, field="backbone")
    with torch.device("meta"):
        whole = alexnet() if network == "alex" else vgg16()
    features: nn.Sequential = whole.features[: LAYERS[network][-1] + 1]
    prefix = "features."
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    try:
        features.load_state_dict({name: found[name].float() for name in features.state_dict()}, assign=True)
    except (KeyError, RuntimeError) as error:
        message = f"weights file {path} does not hold torchvision's '{network}': {error}"
        raise ComponentError(message, field="backbone") from error
    return features.eval().requires_grad_(False)


def load_linear(network: Network, path: Path | None) -> list[Tensor]:
    """Return each layer's weights of channels, float64.

    Raises:
        ComponentError: without a file and the package, or for a file that is not the network's.
    """
    if path is None:
        package = find_spec("lpips")
        if package is None or package.origin is None:
            text = "needs 'linear: FILE', or the package lpips: pip install 'slotlab[lpips]'"
            raise ComponentError(text, field="linear")
        path = Path(package.origin).parent / "weights" / "v0.1" / f"{network}.pth"
    state = read_weights(path, field="linear")
    try:
        return [state[f"lin{i}.model.1.weight"].flatten().double() for i in range(len(LAYERS[network]))]
    except KeyError as error:
        message = f"weights file {path} does not hold LPIPS weights of '{network}': {error}"
        raise ComponentError(message, field="linear") from error
