"""A slot model: encoder, projection, initial slots, grouping, decoder. Composition only."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import Decoded, Grouped, MaskSource, ModelOutput, Objective, Slots


class Projection(nn.Module):
    """Features to tokens: position code, LayerNorm over channels, linear, ReLU, linear.

    Source: Locatello et al. 2020, section E.3. (B, C, H, W) to (B, H*W, dim), row by row.
    """

    def __init__(
        self, position: nn.Module, *, channels: int, hidden_dim: int, dim: int, layer_norm_eps: float
    ):
        super().__init__()
        self.position = position
        self.norm = nn.LayerNorm(channels, eps=layer_norm_eps)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden_dim), nn.ReLU(inplace=True), nn.Linear(hidden_dim, dim)
        )

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return tokens of shape (B, H*W, dim)."""
        placed_BNC = rearrange(self.position(features_BCHW), "b c h w -> b (h w) c")
        tokens_BND: Tensor = self.mlp(self.norm(placed_BNC))
        return tokens_BND


Noise = Generator | Sequence[Generator] | None
"""Where random draws come from: one stream, one an image, or torch's own."""


@dataclass(frozen=True)
class Encoded:
    """What is known of images before anything is decoded."""

    features_BCHW: Tensor
    tokens_BND: Tensor
    initial: Slots
    grouped: Grouped


class SlotModel(nn.Module):
    """The parts of a spec's `model` section and its objective, put together.

    Every random draw comes from the `generator` passed in. With one generator an image
    the initial slots of an image do not depend on the batch it is in.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        projection: nn.Module,
        initializer: nn.Module,
        grouping: nn.Module,
        decoder: nn.Module,
        objective: Objective,
    ):
        super().__init__()
        self.encoder = encoder
        self.projection = projection
        self.initializer = initializer
        self.grouping = grouping
        self.decoder = decoder
        self.objective = objective

    def encode(
        self, images_BCHW: Tensor, *, num_slots: int | None = None, generator: Noise = None
    ) -> Encoded:
        """Find the slots of images (B, 3, H, W), float, in the spec's value range."""
        features_BCHW = self.encoder(images_BCHW)
        tokens_BND = self.projection(features_BCHW)
        initial = self.initial_slots(tokens_BND, num_slots, generator)
        grouped = self.grouping(tokens_BND, initial, generator=first(generator))
        return Encoded(features_BCHW, tokens_BND, initial, grouped)

    def initial_slots(self, tokens_BND: Tensor, num_slots: int | None, generator: Noise) -> Slots:
        """Return the slots before the first iteration."""
        if not isinstance(generator, Sequence):
            slots: Slots = self.initializer(tokens_BND, num_slots, generator=generator)
            return slots
        each = [
            self.initializer(token_1ND, num_slots, generator=one)
            for token_1ND, one in zip(tokens_BND.unsqueeze(1), generator, strict=True)
        ]
        extras = {name: torch.cat([slots.extras[name] for slots in each]) for name in each[0].extras}
        return Slots(torch.cat([slots.vectors_BKD for slots in each]), extras)

    def decode(
        self, slots: Slots, *, target_BCHW: Tensor | None = None, generator: Generator | None = None
    ) -> Decoded:
        """Decode slots, also such as were mixed or drawn and belong to no image."""
        decoded: Decoded = self.decoder(slots, target_BCHW=target_BCHW, generator=generator)
        return decoded

    def forward(
        self, images_BCHW: Tensor, *, num_slots: int | None = None, generator: Noise = None
    ) -> ModelOutput:
        """Encode, find the target and decode."""
        encoded = self.encode(images_BCHW, num_slots=num_slots, generator=generator)
        target_BCHW = self.objective.target(images_BCHW, encoded.features_BCHW)
        decoded = self.decode(encoded.grouped.slots, target_BCHW=target_BCHW, generator=first(generator))
        rows, columns = encoded.features_BCHW.shape[2:]
        return ModelOutput(
            features_BCHW=encoded.features_BCHW,
            tokens_BND=encoded.tokens_BND,
            grouped=encoded.grouped,
            decoded=decoded,
            target_BCHW=target_BCHW,
            grid=(rows, columns),
        )


class LossStep(nn.Module):
    """Images to losses: what devices, precision and several processes are wrapped around."""

    def __init__(self, model: SlotModel):
        super().__init__()
        self.model = model

    def forward(self, images_BCHW: Tensor, *, generator: Noise = None) -> dict[str, Tensor]:
        """Return the scalar losses: `total`, and its parts under their own names with `loss/` before."""
        output = self.model(images_BCHW, generator=generator)
        losses = self.model.objective.loss(output.decoded, output.target_BCHW)
        return {"total": losses.total, **{f"loss/{name}": term for name, term in losses.terms.items()}}


def first(generator: Noise) -> Generator | None:
    """Return the one stream, or the first image's."""
    return generator[0] if isinstance(generator, Sequence) else generator


def masks_at(output: ModelOutput, source: MaskSource, size: tuple[int, int]) -> Tensor | None:
    """Return float32 masks (B, K, *size) from the chosen source, or None if it has none.

    They are brought to `size` bilinearly where they are coarser, which keeps their sum.
    """
    masks_BKHW = output.decoded.masks_BKHW if source == "decoder" else output.attention_BKHW
    if masks_BKHW is None:
        return None
    masks_BKHW = masks_BKHW.to(torch.float32)
    if tuple(masks_BKHW.shape[2:]) == size:
        return masks_BKHW
    return F.interpolate(masks_BKHW, size=size, mode="bilinear", align_corners=False)
