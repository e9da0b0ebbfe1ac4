"""Tokens as the inputs of a transformer: an embedding and a learned position code."""

import torch
from torch import Tensor, nn


class TokenReader(nn.Module):
    """Indices of tokens (B, T) to (B, T, W).

    Source: Singh et al. 2022 (SLATE), section 3: embeddings are normal, positions normal within two standard
    deviations, both with a standard deviation of 1. One embedding more than there are tokens is the first
    input, which stands before them, and has the first of `places`.

    Args:
        codes: how many tokens there are; the index of the first input.
        places: how many positions there are.
        width: of what is returned.
        dropout: in training.
    """

    def __init__(self, codes: int, places: int, width: int, dropout: float = 0.0):
        super().__init__()
        self.first = codes
        self.embedding = nn.Embedding(codes + 1, width)
        self.place_TW = nn.Parameter(nn.init.trunc_normal_(torch.empty(places, width)))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens_BT: Tensor, place: int = 0) -> Tensor:
        """Return the inputs for tokens of which the first stands at `place`."""
        read_BTW = self.embedding(tokens_BT) + self.place_TW[place : place + tokens_BT.shape[1]]
        dropped_BTW: Tensor = self.dropout(read_BTW)
        return dropped_BTW
