"""What turns pictures into latents or tokens and back: the contract of the kind `codec`.

A codec is an `nn.Module`. It is trained by a spec of its own (model `codec`), and used, frozen, by that of a
model which predicts latents or tokens in place of pixels; or trained together with a model that says so. All
latents, tokens and pictures of an image depend on that image alone.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Generator, Tensor

from slotlab.framework.contracts.data import Size
from slotlab.framework.contracts.model import Losses, TargetShape


@dataclass(frozen=True, kw_only=True)
class CodecContext:
    """For codecs: the images."""

    image_size: Size
    image_channels: int = 3
    value_range: tuple[float, float] = (-1.0, 1.0)
    """Least and largest value of the images, which are given and returned in it: (-1, 1) or (0, 1)."""


@runtime_checkable
class Codec(Protocol):
    """What every codec does."""

    own_weights: bool
    """Whether it was trained before: it comes with weights that are not drawn at random."""

    def reconstruct(self, images_BCHW: Tensor) -> Tensor:
        """Return images (B, 3, H, W) as they come back from their latents or tokens; draws nothing."""

    def losses(self, images_BCHW: Tensor, *, generator: Generator | None = None) -> Losses:
        """Return the losses of its own training, means over images. All randomness is `generator`'s."""


@runtime_checkable
class LatentCodec(Codec, Protocol):
    """A codec with latents of real numbers."""

    @property
    def latent_shape(self) -> TargetShape:
        """Channels and size of an image's latents."""

    def encode(self, images_BCHW: Tensor) -> Tensor:
        """Return latents (B, *latent_shape), before they are brought to codes; draws nothing."""

    def decode(self, latents_BCHW: Tensor) -> Tensor:
        """Return images of any latents (B, *latent_shape); brings them to codes first, if it has any."""


@runtime_checkable
class Quantizes(Protocol):
    """A latent codec whose pictures are made of codes."""

    def nearest(self, latents_BCHW: Tensor) -> Tensor:
        """Return latents (B, *latent_shape), at each position the code that is nearest to the given ones."""


@runtime_checkable
class TokenCodec(Codec, Protocol):
    """A codec with tokens: at each position the index of one of its codes."""

    @property
    def codes(self) -> int:
        """How many codes there are."""

    @property
    def token_grid(self) -> Size:
        """Rows and columns of an image's tokens."""

    def tokens(self, images_BCHW: Tensor) -> Tensor:
        """Return the tokens of images, int64 (B, *token_grid), each in [0, codes); draws nothing."""

    def paint(self, tokens_BHW: Tensor) -> Tensor:
        """Return images (B, 3, H, W) of tokens."""


@runtime_checkable
class RelaxedCodec(TokenCodec, Protocol):
    """A token codec that can be trained together with what predicts its tokens (SLATE).

    Tokens are drawn by adding Gumbel noise to the logits; a picture is also made of weights over codes.
    """

    tau: float
    """Temperature of the relaxation; may be annealed."""

    def logits(self, images_BCHW: Tensor) -> Tensor:
        """Return the logarithm of each code's probability, (B, codes, *token_grid)."""

    def losses_of(
        self, images_BCHW: Tensor, logits_BCHW: Tensor, *, generator: Generator | None = None
    ) -> Losses:
        """Return `losses` of images whose logits were computed before, with their gradient."""

    def paint_weights(self, weights_BCHW: Tensor) -> Tensor:
        """Return images of weights over codes, (B, codes, *token_grid), which sum to one over codes."""
