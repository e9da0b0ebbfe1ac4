"""How the codes of a codec are used: counts, perplexity, dead codes."""

import torch
from torch import Tensor


def count_codes(tokens_BHW: Tensor, codes: int) -> Tensor:
    """Return how often each code occurs: int64 (codes,).

    Args:
        tokens_BHW: int64 of any shape, each in [0, codes).
        codes: how many there are.
    """
    flat_N = tokens_BHW.flatten()
    return flat_N.new_zeros(codes).scatter_add_(0, flat_N, torch.ones_like(flat_N))


def perplexity(counts_V: Tensor) -> Tensor:
    """Return exp(entropy) of the frequencies of codes: a float64 scalar in [1, V]; NaN for no tokens at all.

    It is the number of codes that would have the same entropy if all were used equally often.
    """
    share_V = counts_V.double() / counts_V.sum()
    entropy: Tensor = torch.special.entr(share_V).sum()
    return entropy.exp()


def dead_share(counts_V: Tensor) -> Tensor:
    """Return the share of codes that do not occur: a float64 scalar in [0, 1]."""
    return (counts_V == 0).double().mean()
