"""Which pixels of an image influence a network: patches that do not fill the image omit a border.

A network whose patches or strides do not divide the image's side silently ignores part of the image, while
its features are assumed to lie on a grid over the whole image.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from slotlab.framework.contracts import Size


def may_lose_border(size: Size, grid: Size, reduction: int) -> bool:
    """Return whether features that lie `reduction` pixels apart may omit part of an image."""
    return any(cells * reduction < side for side, cells in zip(size, grid, strict=True))


def seen_size(network: nn.Module, size: Size, channels: int = 3) -> Size:
    """Return how many rows and columns of an image influence its features.

    Takes the gradient of a random sum of the features (of the first feature map if there are several),
    which works for any network. Weights that are zero, perhaps only until they are trained, count as
    nonzero. The network must be on the CPU, with values; it and torch's generators stay as they are.
    """
    with torch.device("cpu"), torch.random.fork_rng(devices=[]), torch.enable_grad():
        weights = {name: weight.detach() for name, weight in network.named_parameters()}
        weights = {name: weight.where(weight != 0, 0.1) for name, weight in weights.items()}
        images_BCHW = torch.rand(1, channels, *size).requires_grad_()
        found = torch.func.functional_call(network, weights, images_BCHW)
        features = found if isinstance(found, Tensor) else found[0]
        (gradient_BCHW,) = torch.autograd.grad((features * torch.randn_like(features)).sum(), images_BCHW)
    seen_HW = (gradient_BCHW != 0).any(dim=1)[0]  # NaN counts as an influence
    return int(seen_HW.any(dim=1).sum()), int(seen_HW.any(dim=0).sum())


def nearest_sizes(size: Size, base: Size, reduction: int, fits: Callable[[Size], bool]) -> list[int]:
    """Return the next smaller and larger side without a lost border, for each side that has one.

    Args:
        size: of the images.
        base: the used part of them, or the largest multiple of the reduction in them.
        reduction: pixels from one feature to the next; sides without a lost border differ by a divisor.
        fits: whether images of a size are used entirely.
    """
    steps = [step for step in range(1, reduction + 1) if reduction % step == 0]
    found: set[int] = set()
    for axis, (side, least) in enumerate(zip(size, base, strict=True)):
        if side == least:
            continue

        def fitting(one: int, axis: int = axis) -> bool:
            if size[0] == size[1]:
                return fits((one, one))
            return fits((one, base[1]) if axis == 0 else (base[0], one))

        larger = (least + step for step in steps if least + step > side)
        for candidates in ((least,) if least else (), larger):
            found |= {one for one in [next(filter(fitting, candidates), None)] if one is not None}
    return sorted(found)


def name_sizes(sides: list[int]) -> str:
    """Return the nearest sizes as the end of a message; empty if there are none."""
    words = [", ".join(map(str, sides[:-1])), str(sides[-1])] if len(sides) > 1 else list(map(str, sides))
    return f"; nearest sizes: {' and '.join(words)}" if sides else ""
