"""Draws from categories by Gumbel noise, and their relaxation to weights.

Sources: Jang et al. 2017, "Categorical Reparameterization with Gumbel-Softmax"; Maddison et al. 2017, "The
Concrete Distribution". Adding Gumbel noise to logits makes their argmax a draw from the softmax; the softmax
of the sum divided by a temperature gives each category a weight that has a gradient.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


def gumbel_noise(like: Tensor, generator: Generator | None) -> Tensor:
    """Return Gumbel noise of the shape of `like`, at least float32: minus the logarithm of an exponential."""
    precise = torch.promote_types(
        like.dtype, torch.float32
    )  # half precision would repeat the same few values
    drawn = torch.empty_like(like, dtype=precise).exponential_(generator=generator)
    return -drawn.clamp(min=torch.finfo(precise).tiny).log()  # a draw of 0 would be infinite noise


def relaxed(
    logits_BVHW: Tensor, noise_BVHW: Tensor, tau: float | Tensor, *, straight_through: bool = False
) -> Tensor:
    """Return weights over the V categories (axis 1) of a draw, which sum to one at each position.

    Args:
        logits_BVHW: logarithms of probabilities, up to a constant.
        noise_BVHW: of `gumbel_noise`.
        tau: the temperature; the smaller, the closer to a hard choice.
        straight_through: whether the weights are 1 for the category drawn and 0 for others, with the gradient
            of the soft ones.
    """
    soft_BVHW = ((logits_BVHW + noise_BVHW) / tau).softmax(dim=1)
    if not straight_through:
        return soft_BVHW
    hard_BVHW = one_hot(soft_BVHW.argmax(dim=1), soft_BVHW.shape[1], soft_BVHW.dtype)
    return hard_BVHW + (soft_BVHW - soft_BVHW.detach())  # the parenthesis is exactly 0


def one_hot(tokens_BHW: Tensor, categories: int, dtype: torch.dtype) -> Tensor:
    """Return weights (B, categories, H, W): 1 for the token at each position, 0 for all others."""
    return F.one_hot(tokens_BHW, categories).movedim(-1, 1).to(dtype)
