"""Dynamics: SlotFormer's rollouter against a transcription by torch's own layers, and the baselines without weights."""

import math

import pytest
import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import DynamicsContext
from slotlab.plugins.dynamics.constant_velocity import ConstantVelocity, ConstantVelocityConfig
from slotlab.plugins.dynamics.repeat import Repeat, RepeatConfig
from slotlab.plugins.dynamics.slotformer import SlotFormer, SlotFormerConfig
from slotlab.registry import ComponentError

TOLERANCE = 1e-9
BATCH, HISTORY, SLOTS, DIM, WIDTH, HEADS, LAYERS, STEPS = 2, 6, 5, 12, 16, 4, 3, 10


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=Generator().manual_seed(seed))


def built(history: int = HISTORY, **settings: object) -> SlotFormer:
    """The rollouter in float64, in evaluation mode, with weights that are all random."""
    config = SlotFormerConfig.model_validate({"width": WIDTH, "layers": LAYERS, "heads": HEADS, **settings})
    context = DynamicsContext(slot_dim=DIM, num_slots=SLOTS, history=history)
    module = SlotFormer(config, context).double().eval()
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.add_(0.1 * noise(*parameter.shape, seed=index))
    return module


class Transcription(nn.Module):
    """The released rollouter, written down step by step, with torch's `TransformerEncoder`."""

    def __init__(self, ours: SlotFormer, *, window: int = HISTORY, residual: bool = False):
        super().__init__()
        self.window, self.residual = window, residual
        self.in_proj, self.out_proj = nn.Linear(DIM, WIDTH), nn.Linear(WIDTH, DIM)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, norm_first=True, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.double().eval()
        pairs = list(zip(self.parameters(), self.weights_of(ours), strict=True))
        with torch.no_grad():
            for mine, yours in pairs:
                mine.copy_(yours)

    @staticmethod
    def weights_of(ours: SlotFormer) -> list[Tensor]:
        """The weights of ours, or their gradients, in the order of torch's layers."""
        found = [*ours.embed.parameters(), *ours.readout.parameters()]
        for block in ours.blocks:
            attend = block.attend
            parts = (attend.to_q, attend.to_k, attend.to_v)
            found += [torch.cat([one.weight for one in parts]), torch.cat([one.bias for one in parts])]
            found += [*attend.to_out.parameters(), *block.mlp[0].parameters(), *block.mlp[3].parameters()]
            found += [*block.norm_attention.parameters(), *block.norm_mlp.parameters()]
        return found

    def code(self) -> Tensor:
        """Sine, then cosine, of positions counted backwards; the authors' table is one of float32."""
        rows = []
        for position in range(self.window - 1, -1, -1):
            angles = [position / 10000 ** (2 * i / WIDTH) for i in range(WIDTH // 2)]
            rows.append([*map(math.sin, angles), *map(math.cos, angles)])
        return torch.tensor(rows, dtype=torch.float64)

    def forward(self, slots: Tensor, steps: int) -> Tensor:
        frames, made = list(slots.unbind(1)), []
        for _ in range(steps):
            seen = frames[-self.window :]
            code = self.code()[-len(seen) :]
            tokens = torch.cat(
                [self.in_proj(frame) + row for frame, row in zip(seen, code, strict=True)], dim=1
            )
            after = self.out_proj(self.encoder(tokens)[:, -SLOTS:])
            after = frames[-1] + after if self.residual else after
            frames.append(after)
            made.append(after)
        return torch.stack(made, dim=1)


@pytest.mark.parametrize(
    ("history", "settings"),
    [(HISTORY, {}), (HISTORY, {"residual": True}), (1, {"window": 6}), (HISTORY, {"window": 2})],
    ids=["code", "paper", "growing", "short"],
)
def test_ten_steps_and_their_gradients_are_those_of_the_transcription(history, settings):
    ours = built(history, **settings)
    ours.time_WC = Transcription(ours, window=ours.window).code()
    theirs = Transcription(ours, window=ours.window, residual=ours.residual)
    one, two = (noise(BATCH, history, SLOTS, DIM, seed=20).requires_grad_() for _ in range(2))
    found, wanted = ours(one, STEPS), theirs(two, STEPS)
    assert found.shape == (BATCH, STEPS, SLOTS, DIM)
    torch.testing.assert_close(found, wanted, atol=TOLERANCE, rtol=0)
    mix = noise(BATCH, STEPS, SLOTS, DIM, seed=21)
    first = torch.autograd.grad((mix * found).sum(), [one, *ours.parameters()])
    second = torch.autograd.grad((mix * wanted).sum(), [two, *theirs.parameters()])
    torch.testing.assert_close(first[0], second[0], atol=TOLERANCE, rtol=TOLERANCE)
    for parameter, gradient in zip(ours.parameters(), first[1:], strict=True):
        parameter.data = gradient  # the same order of weights, with gradients in their place
    for got, want in zip(Transcription.weights_of(ours), second[1:], strict=True):
        torch.testing.assert_close(got, want, atol=TOLERANCE, rtol=TOLERANCE)


def test_the_code_of_time_is_that_of_the_transcription():
    ours = built()
    torch.testing.assert_close(ours.time_WC, Transcription(ours).code(), atol=1e-6, rtol=0)


def test_a_long_future_goes_on_from_a_short_one():
    """The window slides: what was foretold is all that later frames see of the past."""
    ours, seen = built(), noise(BATCH, HISTORY, SLOTS, DIM, seed=3)
    first = ours(seen, HISTORY)
    torch.testing.assert_close(ours(seen, HISTORY + 4)[:, HISTORY:], ours(first, 4))


def test_slots_have_no_order_and_clips_do_not_mix():
    ours, seen = built(), noise(3, HISTORY, SLOTS, DIM, seed=4)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(ours(seen[:, :, order], 4), ours(seen, 4)[:, :, order])
    torch.testing.assert_close(ours(seen[1:2], 4), ours(seen, 4)[1:2])
    clips = torch.tensor([2, 0, 1])
    torch.testing.assert_close(ours(seen[clips], 4), ours(seen, 4)[clips])


def test_the_order_of_frames_matters_and_numbers_of_slots_do_not():
    ours, seen = built(), noise(1, HISTORY, SLOTS + 2, DIM, seed=5)
    assert ours(seen, 2).shape == (1, 2, SLOTS + 2, DIM)
    assert not torch.allclose(ours(seen.flip(1), 1), ours(seen, 1), atol=1e-3)


def test_settings_that_do_not_fit_are_told():
    with pytest.raises(ComponentError, match="takes an even width, not 9"):
        built(width=9)
    with pytest.raises(ComponentError, match="5 heads do not divide"):
        built(heads=5)


def test_baselines_stand_still_and_go_on():
    context = DynamicsContext(slot_dim=DIM, num_slots=SLOTS, history=2)
    still = Repeat(RepeatConfig(), context)
    moving = ConstantVelocity(ConstantVelocityConfig(), context)
    start, change = noise(BATCH, SLOTS, DIM, seed=1), noise(BATCH, SLOTS, DIM, seed=2)
    line = torch.stack([start + step * change for step in range(6)], dim=1)
    torch.testing.assert_close(moving(line[:, :2], 4), line[:, 2:])
    assert torch.equal(still(line[:, :2], 4), line[:, 1:2].expand(-1, 4, -1, -1))
    alone = DynamicsContext(slot_dim=DIM, num_slots=SLOTS, history=1)
    with pytest.raises(ComponentError, match="a history of two frames"):
        ConstantVelocity(ConstantVelocityConfig(), alone)
