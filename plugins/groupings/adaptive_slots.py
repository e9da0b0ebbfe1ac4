"""Adaptive slots: another grouping finds slots, and a small network drops those that the image does not need.

Source: Fan et al. 2024, "Adaptive Slot Attention: Object Discovery with Dynamic Slot Number" (AdaSlot),
sections 3.2 and 3.3: for each slot two logits, of dropping and of keeping it; a Gumbel softmax draws the
decision, with the gradient of the soft one. Decoders leave dropped slots out. The auxiliary loss `sparsity`
makes keeping a slot cost something.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import PositiveFloat
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import KEEP, Grouped, GroupingContext, IteratesByCall, Slots
from slotlab.framework.model.gumbel import gumbel_noise
from slotlab.registry import Component, ComponentConfig, ComponentError, Ref, RefTo, hookimpl

WIDENING = 4
"""The hidden width of the network that decides, in widths of a slot."""


class AdaptiveSlotsConfig(ComponentConfig):
    """Settings of adaptive slots."""

    grouping: Annotated[Ref, RefTo("grouping")]
    """What finds the slots of which some are dropped."""
    temperature: PositiveFloat = 1.0
    """Of the Gumbel softmax: smaller is closer to the hard decision; 1 in the paper's configurations. May
    change during training (`training.anneal`, `grouping.temperature`)."""
    evaluate: Literal["drawn", "most_likely"] = "drawn"
    """Decisions outside of training: drawn too, as in the authors' code, from each image's own stream; or
    the more likely of the two, without noise."""


class AdaptiveSlots(nn.Module):
    """Tokens (B, N, D') and initial slots (B, K, D) to slots with `keep` (B, K): 1, or 0 if dropped."""

    schedulable = ("temperature",)

    def __init__(self, config: AdaptiveSlotsConfig, context: GroupingContext):
        super().__init__()
        dim, hidden = context.slot_dim, WIDENING * context.slot_dim
        self.temperature = config.temperature
        self.evaluate = config.evaluate
        self.grouping = inner(config.grouping, context)
        first, second = nn.Linear(dim, hidden), nn.Linear(hidden, 2)
        nn.init.zeros_(first.bias)
        nn.init.zeros_(second.bias)
        self.score = nn.Sequential(nn.LayerNorm(dim), first, nn.ReLU(), second)

    @property
    def iterates_by_call(self) -> bool:
        """Whether the inner grouping does."""
        return isinstance(self.grouping, IteratesByCall) and self.grouping.iterates_by_call

    def forward(
        self,
        tokens_BND: Tensor,
        slots: Slots,
        *,
        generator: Generator | None = None,
        iterations: int | None = None,
    ) -> Grouped:
        """Group, and decide for each slot. Attention and trace are the inner grouping's, over all slots."""
        rounds = {} if iterations is None else {"iterations": iterations}
        grouped: Grouped = self.grouping(tokens_BND, slots, generator=generator, **rounds)
        found = grouped.slots
        keep_BK = self.decide(self.score(found.vectors_BKD), generator)
        if found.keep_BK is not None:  # what was dropped before stays so
            keep_BK = keep_BK * found.keep_BK
        return replace(grouped, slots=Slots(found.vectors_BKD, {**found.extras, KEEP: keep_BK}))

    def decide(self, logits_BK2: Tensor, generator: Generator | None) -> Tensor:
        """Return 1 or 0 for each slot, (B, K), with the gradient of the probability of keeping it."""
        logits_BK2 = logits_BK2.to(torch.promote_types(logits_BK2.dtype, torch.float32))  # noise is too fine
        if self.training or self.evaluate == "drawn":
            logits_BK2 = logits_BK2 + gumbel_noise(logits_BK2, generator)
        soft_BK = (logits_BK2 / self.temperature).softmax(dim=2)[..., 1]
        hard_BK = (logits_BK2[..., 1] > logits_BK2[..., 0]).to(soft_BK.dtype)
        return hard_BK + (soft_BK - soft_BK.detach())  # exactly 0 or 1


def inner(ref: Ref, context: GroupingContext) -> nn.Module:
    """Build the inner grouping; what is wrong with it is shown at the setting that names it."""
    try:
        grouping: nn.Module = ref.build(context)
    except ComponentError as error:
        raise ComponentError(f"{ref.name}: {error}", field="grouping") from None
    return grouping


@hookimpl
def slotlab_groupings() -> Iterable[Component[AdaptiveSlotsConfig]]:
    """Provide `adaptive_slots`."""
    yield Component(
        name="adaptive_slots",
        config=AdaptiveSlotsConfig,
        build=AdaptiveSlots,
        summary="drops the slots of another grouping that an image does not need (AdaSlot)",
    )
