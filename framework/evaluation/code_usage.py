"""How the codes of a codec are used over all images of an evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.arithmetic.codes import count_codes, perplexity
from slotlab.framework.contracts import Tokens


@dataclass(frozen=True)
class CodeUsage:
    """How often each code occurs."""

    counts: Sequence[int]

    @property
    def facts(self) -> dict[str, Any]:
        """Return how many codes there are, how many occur, and their perplexity, as JSON-ready data.

        The perplexity is exp(entropy): as many codes, used equally often, would have the same entropy.
        """
        dead = sum(count == 0 for count in self.counts)
        return {
            "codes": len(self.counts),
            "used": len(self.counts) - dead,
            "dead": dead,
            "perplexity": float(perplexity(torch.tensor(self.counts))),
            "tokens": sum(self.counts),
        }

    def to_csv(self) -> str:
        """Return CSV text, one line per code."""
        return "code,count\n" + "".join(f"{code},{count}\n" for code, count in enumerate(self.counts))


@dataclass
class CodeCounter:
    """Counts the codes of batches, by several processes."""

    counts_V: Tensor | None = None
    """int64 on the CPU; None before the first tokens."""

    def add(self, tokens: Tokens | None) -> None:
        """Count a batch's codes, if there are any."""
        if tokens is not None:
            counts_V = count_codes(tokens.indices_BHW, tokens.codes).cpu()
            self.counts_V = counts_V if self.counts_V is None else self.counts_V + counts_V

    def close(self, gather: Callable[[list[Any]], list[Any]]) -> CodeUsage | None:
        """Return the counts of all processes; None for a model without codes."""
        mine = [] if self.counts_V is None else [self.counts_V.tolist()]
        every = gather(mine)
        return CodeUsage([sum(counts) for counts in zip(*every, strict=True)]) if every else None
