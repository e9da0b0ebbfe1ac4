"""From a feature map to tokens."""

from collections.abc import Sequence

from einops import rearrange
from torch import Tensor, nn


class Projection(nn.Module):
    """Features to tokens: position code, LayerNorm over channels, linear, ReLU, linear; perhaps blocks.

    Source: Locatello et al. 2020, section E.3. (B, C, H, W) to (B, H*W, dim), row by row. In the blocks of a
    transformer tokens look at one another: Elsayed et al. 2022 (SAVi++), section 3.
    """

    def __init__(
        self,
        position: nn.Module,
        *,
        channels: int,
        hidden_dim: int,
        dim: int,
        layer_norm_eps: float,
        blocks: Sequence[nn.Module] = (),
    ):
        super().__init__()
        self.position = position
        self.dim: int = dim
        self.norm = nn.LayerNorm(channels, eps=layer_norm_eps)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden_dim), nn.ReLU(inplace=True), nn.Linear(hidden_dim, dim)
        )
        self.blocks = nn.ModuleList(blocks)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return tokens of shape (B, H*W, dim)."""
        placed_BNC = rearrange(self.position(features_BCHW), "b c h w -> b (h w) c")
        tokens_BND: Tensor = self.mlp(self.norm(placed_BNC))
        for block in self.blocks:
            tokens_BND = block(tokens_BND)
        return tokens_BND
