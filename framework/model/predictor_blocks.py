"""Transformer blocks in which the slots of one frame look at one another, as predictors use them.

`post` is SAVi's (Kipf et al. 2022): LN(x + attention(x)), then LN(y + MLP(y)). `pre` is torch's
`TransformerEncoderLayer` with `norm_first`: x + attention(LN(x)), then y + MLP(LN(y)). In `pre_split_late`,
STEVE's (Singh et al. 2022), the first block normalizes its input before the residual branch splits off:
x = LN(x), then x + attention(x).
"""

from typing import Literal

from torch import Tensor, nn

from slotlab.framework.model.decoder_blocks import TokensAttention
from slotlab.registry import ComponentError

NormPlace = Literal["pre", "post", "pre_split_late"]


class SlotsBlock(nn.Module):
    """Slots (B, K, D) to slots (B, K, D): attention among all slots, and an MLP with a ReLU."""

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        norm: NormPlace,
        bias: bool = True,
        dropout: float = 0.0,
        layer_norm_eps: float = 1e-5,
        attention_dim: int | None = None,
    ):
        super().__init__()
        self.norm = norm
        self.attend = TokensAttention(
            dim, heads, bias=bias, causal=False, dropout=dropout, inner=attention_dim
        )
        self.norm_attention, self.norm_mlp = (nn.LayerNorm(dim, eps=layer_norm_eps) for _ in range(2))
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
            nn.Dropout(dropout),
        )

    def forward(self, x_BKD: Tensor) -> Tensor:
        """Return slots of the same shape."""
        if self.norm == "post":
            y_BKD = self.norm_attention(x_BKD + self.attend(x_BKD))
            return self.norm_mlp(y_BKD + self.mlp(y_BKD))  # type: ignore[no-any-return]
        normal_BKD = self.norm_attention(x_BKD)
        if self.norm == "pre_split_late":
            x_BKD = normal_BKD
        y_BKD = x_BKD + self.attend(normal_BKD)
        return y_BKD + self.mlp(self.norm_mlp(y_BKD))  # type: ignore[no-any-return]


def slots_blocks(
    dim: int,
    layers: int,
    heads: int,
    hidden: int,
    *,
    norm: NormPlace,
    bias: bool = True,
    dropout: float = 0.0,
    layer_norm_eps: float = 1e-5,
    attention_dim: int | None = None,
) -> list[nn.Module]:
    """Return the blocks of a transformer over slots, or tokens; only the first one splits late.

    Queries, keys and values are `attention_dim` wide, None for `dim`.

    Raises:
        ComponentError: if the heads do not divide that width.
    """
    if (attention_dim or dim) % heads:
        whose = "the slots' width" if attention_dim is None else "attention_dim,"
        text = f"{heads} heads do not divide {whose} {attention_dim or dim}"
        raise ComponentError(text, field="heads")
    places: list[NormPlace] = ["pre" if norm == "pre_split_late" else norm] * layers
    places[:1] = [norm]
    return [
        SlotsBlock(
            dim,
            heads,
            hidden,
            norm=place,
            bias=bias,
            dropout=dropout,
            layer_norm_eps=layer_norm_eps,
            attention_dim=attention_dim,
        )
        for place in places
    ]
