"""From a feature map to tokens."""

from einops import rearrange
from torch import Tensor, nn


class Projection(nn.Module):
    """Features to tokens: position code, LayerNorm over channels, linear, ReLU, linear.

    Source: Locatello et al. 2020, section E.3. (B, C, H, W) to (B, H*W, dim), row by row.
    """

    def __init__(
        self, position: nn.Module, *, channels: int, hidden_dim: int, dim: int, layer_norm_eps: float
    ):
        super().__init__()
        self.position = position
        self.dim: int = dim
        self.norm = nn.LayerNorm(channels, eps=layer_norm_eps)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden_dim), nn.ReLU(inplace=True), nn.Linear(hidden_dim, dim)
        )

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return tokens of shape (B, H*W, dim)."""
        placed_BNC = rearrange(self.position(features_BCHW), "b c h w -> b (h w) c")
        tokens_BND: Tensor = self.mlp(self.norm(placed_BNC))
        return tokens_BND
