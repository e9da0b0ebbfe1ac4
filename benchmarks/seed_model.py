"""The reference model of slot attention on CLEVRTex in plain eager PyTorch, the baseline of slotlab's speed.

Source: H. Goyal, "COL775: Slot Attention" (2024). NCHW, float32, without any optimization.
"""

import torch
from torch import Tensor, nn


def conv5(width_in: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(width_in, width, 5, padding=2)


class SeedResidualBlock(nn.Module):
    """A basic residual block of 5x5 convolutions."""

    def __init__(self, width_in: int, width: int):
        super().__init__()
        self.body = nn.Sequential(
            conv5(width_in, width),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            conv5(width, width),
            nn.BatchNorm2d(width),
        )
        self.skip = nn.Identity()
        if width_in != width:
            self.skip = nn.Sequential(conv5(width_in, width), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same size."""
        return torch.relu(self.body(x) + self.skip(x))


class SoftPosition(nn.Module):
    """Soft position embedding: a linear map of four ramps, added to the features."""

    def __init__(self, width: int, side: int):
        super().__init__()
        self.linear = nn.Linear(4, width)
        ramp = torch.linspace(0, 1, side)
        y, x = torch.meshgrid(ramp, ramp, indexing="ij")
        self.register_buffer("ramps", torch.stack([y, x, 1 - y, 1 - x], dim=2))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features with the embedding added."""
        return x + self.linear(self.ramps).permute(2, 0, 1)


class SeedSlotAttention(nn.Module):
    """Slot attention: iterations of attention, GRU and MLP."""

    def __init__(self, width: int = 128, hidden: int = 256, iterations: int = 3):
        super().__init__()
        self.iterations = iterations
        self.norm_inputs, self.norm_slots, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.gru = nn.GRUCell(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, inputs: Tensor, slots: Tensor) -> Tensor:
        """Return the slots after the last iteration."""
        inputs = self.norm_inputs(inputs)
        k, v = self.k(inputs), self.v(inputs)
        for _ in range(self.iterations):
            q = self.q(self.norm_slots(slots))
            attention = torch.softmax(k @ q.transpose(1, 2) * k.shape[2] ** -0.5, dim=2) + 1e-8
            weights = attention / attention.sum(dim=1, keepdim=True)
            updates = weights.transpose(1, 2) @ v
            slots = self.gru(updates.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
            slots = slots + self.mlp(self.norm_mlp(slots))
        return slots


class SeedModel(nn.Module):
    """Images (B, 3, 128, 128) to the loss, a scalar."""

    def __init__(self, slots: int = 7, side: int = 128, width: int = 128):
        super().__init__()
        layers = [conv5(3, 16), nn.BatchNorm2d(16), nn.ReLU()]
        before = 16
        for channels in (16, 16, 32, 32, 32, 64, 64, 64):
            layers.append(SeedResidualBlock(before, channels))
            before = channels
        self.encoder = nn.Sequential(*layers)
        self.position = SoftPosition(64, side)
        self.mlp = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width))
        self.initial = nn.Parameter(torch.randn(slots, width))
        self.attention = SeedSlotAttention(width)
        self.start = side // 16
        self.decoder_position = SoftPosition(width, self.start)
        layers = []
        for channels in (width, 64, 64, 64):
            layers += [nn.ConvTranspose2d(channels, 64, 5, 2, padding=2, output_padding=1), nn.ReLU()]
        self.decoder = nn.Sequential(*layers, nn.Conv2d(64, 4, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean squared error."""
        batch, slots = len(images), len(self.initial)
        features = self.position(self.encoder(images))
        inputs = self.mlp(features.flatten(2).transpose(1, 2))
        found = self.attention(inputs, self.initial.expand(batch, -1, -1))
        painted = self.decode(found).view(batch, slots, 4, *images.shape[2:])
        masks = painted[:, :, 3:].softmax(dim=1)
        image = (masks * painted[:, :, :3]).sum(dim=1)
        return torch.nn.functional.mse_loss(image, images)

    def decode(self, slots: Tensor) -> Tensor:
        """Return colors and mask logits of slots (B, K, D): (B * K, 4, 128, 128)."""
        grids = slots.flatten(0, 1)[:, :, None, None].repeat(1, 1, self.start, self.start)
        return self.decoder(self.decoder_position(grids))
