"""A codebook: which code is nearest, and how encoders learn through the choice.

Source: van den Oord et al. 2017, "Neural Discrete Representation Learning", section 3.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.arithmetic.codes import count_codes, perplexity

CACHED, MOST = 1 << 18, 1 << 26
"""Distances held at a time: on a CPU as many as stay in a core's cache, elsewhere a bound on memory."""


class Codebook(nn.Module):
    """V codes of C numbers each.

    Args:
        codes: V.
        channels: C.
        spread: codes start uniform in [-spread, spread].
    """

    def __init__(self, codes: int, channels: int, spread: float):
        super().__init__()
        self.codes_VC = nn.Parameter(torch.empty(codes, channels).uniform_(-spread, spread))

    def tokens(self, latents_BCHW: Tensor) -> Tensor:
        """Return the index of the nearest code at each position, int64 (B, H, W)."""
        return nearest_code(latents_BCHW, self.codes_VC)

    def look_up(self, tokens_BHW: Tensor) -> Tensor:
        """Return the codes of tokens, (B, C, H, W)."""
        return F.embedding(tokens_BHW, self.codes_VC).movedim(-1, 1)


@torch.no_grad()
def nearest_code(latents_BCHW: Tensor, codes_VC: Tensor) -> Tensor:
    """Return the index of the code of the smallest squared distance, int64 (B, H, W); of several, the lowest.

    Distances are sums of squared differences in the order of channels: no position depends on what else is
    computed with it, and codes that lie close together are told apart, which |z|^2 - 2zc + |c|^2 cannot. Few
    distances are held at a time.

    Args:
        latents_BCHW: of any floating type.
        codes_VC: of any floating type.
    """
    precise = torch.promote_types(torch.promote_types(latents_BCHW.dtype, codes_VC.dtype), torch.float32)
    points_NC, codes_CV = latents_BCHW.movedim(1, -1).flatten(0, -2).to(precise), codes_VC.T.to(precise)
    at_once = max(1, (CACHED if points_NC.device.type == "cpu" else MOST) // len(codes_VC))
    starts = range(0, len(points_NC), at_once)
    found = [_nearest(points_NC[start : start + at_once], codes_CV) for start in starts]
    return torch.cat(found).reshape(len(latents_BCHW), *latents_BCHW.shape[2:])


def _nearest(points_NC: Tensor, codes_CV: Tensor) -> Tensor:
    distance_NV = points_NC.new_zeros(len(points_NC), codes_CV.shape[1])
    for values_N, codes_V in zip(points_NC.unbind(1), codes_CV, strict=True):
        difference_NV = values_N[:, None] - codes_V
        distance_NV.addcmul_(difference_NV, difference_NV)
    return distance_NV.argmin(dim=1)  # the first of several


def straight_through(latents_BCHW: Tensor, codes_BCHW: Tensor) -> Tensor:
    """Return the codes, exactly, with the latents' gradient: as if nothing had been chosen."""
    return codes_BCHW.detach() + (latents_BCHW - latents_BCHW.detach())


def code_usage(tokens_BHW: Tensor, codes: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return, for the log, the perplexity of the codes and how many were used: scalars without gradient.

    They are of a batch's tokens, whose number bounds both.
    """
    counts_V = count_codes(tokens_BHW, codes)
    return {"perplexity": perplexity(counts_V).to(dtype), "codes_used": (counts_V > 0).sum().to(dtype)}
