"""Invariant slot attention: each slot sees tokens in a frame of its own, which follows its attention.

The frame has a position, and perhaps a scale and a rotation; the last round of attention updates the frames
alone. The decoder has to read them too: give it `position: {name: centered_grid, relative: true}`. The
initializer `posed` draws the first ones; slots without a frame start in the middle of the image, with
`first_scale`, and not turned. Source: Biza et al. 2023, "Invariant Slot Attention", section 3.
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Le
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Grouped, GroupingContext, GroupingTrace, Slots
from slotlab.framework.model.pose import Pose, coordinates, main_angle, rotation, turned
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class InvariantSlotAttentionConfig(ComponentConfig):
    """Settings of invariant slot attention; the defaults are the paper's for CLEVRTex."""

    EXCEPTIONS: ClassVar = {"tokens have no order": "tokens are where they are: poses are fitted to places"}

    iterations: Annotated[PositiveInt, Le(100)] = 3
    """Rounds of attention and update; one more round updates only the frames."""
    scales: bool = True
    """Whether frames have a scale: the spread of the attention along each axis."""
    rotations: Literal["none", "45", "90"] = "none"
    """Whether frames turn with the longest axis of the attention: never, by up to 45 degrees (with that axis,
    or with the one across it if that is nearer to horizontal), or by up to 90."""
    mlp_dim: PositiveInt | None = None
    """Hidden width of the residual MLP; None for twice the slots' width."""
    grid_mlp_dim: PositiveInt | None = None
    """Hidden width of the MLP that joins tokens and coordinates; None for twice the slots' width."""
    values: bool = True
    """Whether values know the coordinates too, and not only keys."""
    scales_factor: PositiveFloat = 5.0
    """Divides scaled coordinates, since scales are small. The decoder's position code has one too."""
    first_scale: PositiveFloat = 0.1
    """The scale of slots that start without one; 2 is the whole side of an image."""
    min_scale: PositiveFloat = 0.001
    """The least scale."""
    max_scale: PositiveFloat = 2.0
    """The greatest scale."""
    epsilon: PositiveFloat = 1e-8
    """Added to the sum of the attention over tokens, and to its weights where a scale is measured."""
    layer_norm_eps: PositiveFloat = 1e-6
    """Epsilon of the layer norms: Flax's default."""


class InvariantSlotAttention(nn.Module):
    """Tokens (B, N, D') and initial slots (B, K, D) to slots (B, K, D) with a pose, attention (B, K, N)."""

    coordinates_N2: Tensor
    iterates_by_call = True

    def __init__(self, config: InvariantSlotAttentionConfig, context: GroupingContext):
        super().__init__()
        if config.min_scale > config.max_scale:
            text = f"must be at most max_scale, {config.max_scale:g}, and is {config.min_scale:g}"
            raise ComponentError(text, field="min_scale")
        dim, token_dim, eps = context.slot_dim, context.token_dim, config.layer_norm_eps
        self.config = config
        self.traced = context.traced
        self.scale = dim**-0.5
        self.register_buffer("coordinates_N2", coordinates(context.grid), persistent=False)
        self.norm_tokens = nn.LayerNorm(token_dim, eps=eps)
        self.norm_slots = nn.LayerNorm(dim, eps=eps)
        self.to_k = nn.Linear(token_dim, dim, bias=False)
        self.to_v = nn.Linear(token_dim, dim, bias=False)
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_code = nn.Linear(2, dim)
        self.grid_mlp = _mlp(dim, config.grid_mlp_dim or 2 * dim, eps)
        self.gru = nn.GRUCell(dim, dim)
        self.mlp = _mlp(dim, config.mlp_dim or 2 * dim, eps)

    def forward(
        self,
        tokens_BND: Tensor,
        slots: Slots,
        *,
        generator: Generator | None = None,
        iterations: int | None = None,
    ) -> Grouped:
        """Run all iterations, or as many as asked for.

        The last pose is put in the place of the first; other extras are passed on.
        """
        tokens_BNT = self.norm_tokens(tokens_BND)
        keys_B1ND, values_B1ND = self.to_k(tokens_BNT)[:, None], self.to_v(tokens_BNT)[:, None]
        slots_BKD, pose, attentions = slots.vectors_BKD, self._first_pose(slots), []
        for left in reversed(range((iterations or self.config.iterations) + 1)):
            code_BKND = self.to_code(pose.relative(self.coordinates_N2, self.config.scales_factor))
            q_BKD = self.to_q(self.norm_slots(slots_BKD)) * self.scale
            logits_BKN = torch.einsum("bkd,bknd->bkn", q_BKD, self.grid_mlp(keys_B1ND + code_BKND))
            attention_BKN = torch.softmax(logits_BKN, dim=1)  # over slots: they compete
            attentions.append(attention_BKN)
            weights_BKN = attention_BKN / (attention_BKN.sum(dim=2, keepdim=True) + self.config.epsilon)
            pose = self._pose(weights_BKN)
            if left:
                updates_BKD = self._updates(weights_BKN, values_B1ND, code_BKND)
                new_BKD = self.gru(updates_BKD.flatten(0, 1), slots_BKD.flatten(0, 1)).view_as(slots_BKD)
                slots_BKD = new_BKD + self.mlp(new_BKD)
        trace = GroupingTrace(logits_BKN, torch.stack(attentions, dim=1)) if self.traced else None
        return Grouped(Slots(slots_BKD, pose.put_in(slots.extras)), attention_BKN, trace)

    def _updates(self, weights_BKN: Tensor, values_B1ND: Tensor, code_BKND: Tensor) -> Tensor:
        if self.config.values:
            return torch.einsum("bkn,bknd->bkd", weights_BKN, self.grid_mlp(values_B1ND + code_BKND))
        return weights_BKN @ values_B1ND[:, 0]

    def _first_pose(self, slots: Slots) -> Pose:
        config, given = self.config, Pose.of(slots)
        if given is None:
            given = Pose(slots.vectors_BKD.new_zeros(*slots.vectors_BKD.shape[:2], 2))
        position_BK2 = given.position_BK2.clamp(-1, 1)
        scale_BK2 = rotation_BK22 = None
        if config.scales:
            scale_BK2 = given.scale_BK2
            if scale_BK2 is None:
                scale_BK2 = torch.full_like(position_BK2, config.first_scale)
            scale_BK2 = scale_BK2.clamp(config.min_scale, config.max_scale)
        if config.rotations != "none":
            rotation_BK22 = given.rotation_BK22
            if rotation_BK22 is None:
                rotation_BK22 = rotation(torch.zeros_like(position_BK2[..., 0]))
        return Pose(position_BK2, scale_BK2, rotation_BK22)

    def _pose(self, weights_BKN: Tensor) -> Pose:
        """Return the mean, the spread and the longest axis of the attention."""
        config = self.config
        # No matrix product, which half precision would round.
        position_BK2 = (weights_BKN[..., None] * self.coordinates_N2).sum(dim=2)
        offsets_BKN2 = self.coordinates_N2 - position_BK2[:, :, None]
        scale_BK2 = rotation_BK22 = None
        if config.rotations != "none":
            quarter = config.rotations == "45"
            rotation_BK22 = rotation(main_angle(offsets_BKN2, weights_BKN, quarter=quarter))
            offsets_BKN2 = turned(offsets_BKN2, rotation_BK22)
        if config.scales:
            spread_BK2 = ((weights_BKN + config.epsilon)[..., None] * offsets_BKN2.square()).sum(dim=2)
            scale_BK2 = spread_BK2.sqrt().clamp(config.min_scale, config.max_scale)
        return Pose(position_BK2, scale_BK2, rotation_BK22)


def _mlp(dim: int, hidden: int, eps: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(dim, eps=eps), nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim)
    )


@hookimpl
def slotlab_groupings() -> Iterable[Component[InvariantSlotAttentionConfig]]:
    """Provide `invariant_slot_attention`."""
    yield Component(
        name="invariant_slot_attention",
        config=InvariantSlotAttentionConfig,
        build=InvariantSlotAttention,
        summary="slot attention in a frame of each slot's own: its position, scale and rotation",
    )
