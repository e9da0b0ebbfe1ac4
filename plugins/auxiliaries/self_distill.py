"""Self-distillation: the attention of the first iteration learns from that of the last one.

    loss = mean over tokens of the cross-entropy of the first attention with the last, no gradient to the last

Source: Zhao et al. 2025, "Slot Attention with Re-Initialization and Self-Distillation" (DIAS). The weight
rises from 0 to 1 by a cosine over the whole training there, which is the spec's to say:

    training: {anneal: {auxiliary.self_distill.weight: {start: 0, end: 1, steps: STEPS, shape: cosine}}}
"""

from collections.abc import Iterable
from typing import Literal

from torch.nn import functional as F

from slotlab.framework.contracts import AuxiliaryConfig, AuxiliaryContext, Losses, ModelOutput
from slotlab.registry import Component, ComponentError, hookimpl

LEAST = 1e-12
"""Attention below it counts as this much in a logarithm."""


class SelfDistillConfig(AuxiliaryConfig):
    """Settings of self-distillation."""

    compare: Literal["softmax", "attention"] = "softmax"
    """What the cross-entropy takes as the first iteration's distribution over slots: the softmax of its
    attention, which is a softmax already, as in the authors' code; or the attention itself."""


class SelfDistill:
    """The cross-entropy between the first and the last attention, mean over tokens and images."""

    traced = True

    def __init__(self, config: SelfDistillConfig, context: AuxiliaryContext):
        self.compare = config.compare

    def __call__(self, output: ModelOutput) -> Losses:
        """Return the loss, not yet weighted.

        Raises:
            ComponentError: if the grouping makes less than two iterations.
        """
        assert output.grouped.trace is not None  # `traced`
        attention_BTKN = output.grouped.trace.attention_BTKN
        if attention_BTKN.shape[1] < 2:
            raise ComponentError("the grouping makes one iteration, which has nothing to learn from itself")
        first_BKN, last_BKN = attention_BTKN[:, 0], attention_BTKN[:, -1].detach()
        if self.compare == "softmax":
            return Losses(F.cross_entropy(first_BKN, last_BKN))
        return Losses(-(last_BKN * first_BKN.clamp(min=LEAST).log()).sum(dim=1).mean())


@hookimpl
def slotlab_auxiliaries() -> Iterable[Component[SelfDistillConfig]]:
    """Provide `self_distill`."""
    yield Component(
        name="self_distill",
        config=SelfDistillConfig,
        build=SelfDistill,
        summary="the first iteration's attention learns from the last one's (DIAS)",
    )
