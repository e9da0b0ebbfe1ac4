"""A codec that is trained together with what predicts its tokens.

Source: Singh et al. 2022, "Illiterate DALL-E Learns to Compose" (SLATE), section 3; STEVE (2022) does so too.
Two samples of the tokens are drawn of the same logits: a relaxed one, from which the codec makes the picture,
and a hard one, which is predicted, without gradient to the codec.
"""

import torch
from torch import Generator, Tensor

from slotlab.framework.contracts import Losses, RandomSource, RelaxedCodec
from slotlab.framework.model.gumbel import gumbel_noise
from slotlab.framework.randomness.noise import with_noise


def drawn_with_losses(
    codec: RelaxedCodec, images_BCHW: Tensor, generator: RandomSource
) -> tuple[Tensor, Losses]:
    """Return tokens of images, int64 (B, *token_grid), and the codec's losses.

    The losses' terms for the log are `codec`, the total, and each of the codec's own as `codec/NAME`.
    """
    logits_BVHW = codec.logits(images_BCHW)
    own: Losses = with_noise(codec.losses_of, generator, images_BCHW, logits_BVHW)
    tokens_BHW = with_noise(drawn_tokens, generator, logits_BVHW)
    terms = {f"codec/{name}": term for name, term in own.terms.items()}
    return tokens_BHW, Losses(own.total, {"codec": own.total, **terms})


@torch.no_grad()
def drawn_tokens(logits_BVHW: Tensor, *, generator: Generator | None) -> Tensor:
    """Draw tokens, int64 (B, H, W), by the codes' probabilities."""
    return (logits_BVHW + gumbel_noise(logits_BVHW, generator)).argmax(dim=1)
