"""Predictors against plain transcriptions of what was published: SAVi, SlotFormer, STEVE, VideoSAUR.

The transcriptions are written from the papers and from descriptions of their code; only the weights are shared.
Where torch has the very layer, torch's is the reference.
"""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import PredictorContext, Slots
from slotlab.plugins.predictors.identity import IdentityConfig, IdentityPredictor
from slotlab.plugins.predictors.residual_mlp import ResidualMLP, ResidualMLPConfig
from slotlab.plugins.predictors.transformer import TransformerConfig, TransformerPredictor
from slotlab.plugins.predictors.transformer_lstm import TransformerLSTM, TransformerLSTMConfig
from slotlab.registry import ComponentError

TOLERANCE = 1e-9
BATCH, SLOTS, WIDTH, FRAMES = 2, 5, 16, 4
CONTEXT = PredictorContext(slot_dim=WIDTH, num_slots=SLOTS, token_dim=6)


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=Generator().manual_seed(seed))


def shaken(module: Any) -> Any:
    """The module in float64, in evaluation mode, with weights that are all random."""
    module = module.double().eval()
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.add_(0.2 * noise(*parameter.shape, seed=index))
    return module


def transformer(**settings: Any) -> TransformerPredictor:
    return shaken(TransformerPredictor(TransformerConfig(**settings), CONTEXT))


def videos() -> list[Tensor]:
    return [noise(BATCH, SLOTS, WIDTH, seed=10 + frame).requires_grad_() for frame in range(FRAMES)]


def over_frames(module: Any, frames: list[Tensor]) -> list[Tensor]:
    state, found = module.start(Slots(frames[0])), []
    for vectors in frames:
        slots, state = module(Slots(vectors), state)
        found.append(slots.vectors_BKD)
    return found


def compare(module: Any, other: Any, weights: list[tuple[Tensor, Tensor]]) -> None:
    """Compare outputs, and gradients by the frames and by pairs of weights, of two functions of frames."""
    ours, theirs = videos(), videos()
    found, wanted = over_frames(module, ours), other(theirs)
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two, atol=TOLERANCE, rtol=0)
    mix = [noise(BATCH, SLOTS, WIDTH, seed=50 + frame) for frame in range(FRAMES)]
    mine = [*ours, *(one for one, _ in weights)]
    yours = [*theirs, *(two for _, two in weights)]
    gradients = [
        torch.autograd.grad(sum((m * o).sum() for m, o in zip(mix, outputs, strict=True)), of)
        for outputs, of in ((found, mine), (wanted, yours))
    ]
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, atol=TOLERANCE, rtol=0)


def shared(module: nn.Module) -> list[tuple[Tensor, Tensor]]:
    return [(one, one) for one in module.parameters()]


# --- transcriptions ----------------------------------------------------------------------


def normalized(x: Tensor, norm: nn.LayerNorm, eps: float) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.square().mean(-1, keepdim=True) + eps).sqrt() * norm.weight + norm.bias


def mapped(x: Tensor, layer: nn.Linear) -> Tensor:
    y = torch.einsum("...i,oi->...o", x, layer.weight)
    return y if layer.bias is None else y + layer.bias


def attended(x: Tensor, attend: Any, heads: int) -> Tensor:
    """Dot-product attention among slots, head by head."""
    q, k, v = (mapped(x, layer) for layer in (attend.to_q, attend.to_k, attend.to_v))
    each = x.shape[-1] // heads
    mixed = []
    for head in range(heads):
        own = slice(head * each, (head + 1) * each)
        logits = torch.einsum("bid,bjd->bij", q[..., own] / each**0.5, k[..., own])
        weights = logits.exp() / logits.exp().sum(-1, keepdim=True)
        mixed.append(torch.einsum("bij,bjd->bid", weights, v[..., own]))
    return mapped(torch.cat(mixed, -1), attend.to_out)


def passed(x: Tensor, mlp: nn.Sequential) -> Tensor:
    first, last = (layer for layer in mlp if isinstance(layer, nn.Linear))
    return mapped(mapped(x, first).clamp(min=0), last)


def savi_block(x: Tensor, block: Any, eps: float = 1e-6) -> Tensor:
    """Kipf et al. 2022: attention, residual, norm; MLP, residual, norm."""
    x = normalized(attended(x, block.attend, 4) + x, block.norm_attention, eps)
    return normalized(passed(x, block.mlp) + x, block.norm_mlp, eps)


def steve(x: Tensor, blocks: nn.Sequential) -> Tensor:
    """Singh et al. 2022: pre-norm blocks, the first of which goes on with what it normalized; a last norm."""
    *inner, last = blocks
    for number, block in enumerate(inner):
        normal = normalized(x, block.norm_attention, 1e-5)
        x = (normal if number == 0 else x) + attended(normal, block.attend, 4)
        x = x + passed(normalized(x, block.norm_mlp, 1e-5), block.mlp)
    return normalized(x, last, 1e-5)


def lstm_step(cell: nn.LSTMCell, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    gates = x @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh
    take, keep, new, show = gates.chunk(4, -1)
    c = keep.sigmoid() * c + take.sigmoid() * new.tanh()
    return show.sigmoid() * c.tanh(), c


def torch_encoder(blocks: list[Any], norm_first: bool) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """torch's encoder with the weights of blocks, and the pairs of equal weights that are no joined ones."""
    pairs: list[tuple[Tensor, Tensor]] = []
    hidden = blocks[0].mlp[0].out_features
    layer = nn.TransformerEncoderLayer(WIDTH, 4, hidden, norm_first=norm_first, batch_first=True)
    encoder = nn.TransformerEncoder(layer, len(blocks), enable_nested_tensor=False).double().eval()
    for theirs, ours in zip(encoder.layers, blocks, strict=True):
        maps = (ours.attend.to_q, ours.attend.to_k, ours.attend.to_v)
        with torch.no_grad():
            theirs.self_attn.in_proj_weight.copy_(torch.cat([one.weight for one in maps]))
            theirs.self_attn.in_proj_bias.copy_(torch.cat([one.bias for one in maps]))
        for mine, other in (
            (ours.attend.to_out, theirs.self_attn.out_proj),
            (ours.mlp[0], theirs.linear1),
            (ours.mlp[3], theirs.linear2),
            (ours.norm_attention, theirs.norm1),
            (ours.norm_mlp, theirs.norm2),
        ):
            other.load_state_dict(mine.state_dict())
            pairs += [(mine.weight, other.weight), (mine.bias, other.bias)]
    return encoder, pairs


# --- parity ------------------------------------------------------------------------------


def test_the_default_is_savis_block():
    module = transformer(layer_norm_eps=1e-6)
    (block,) = module.blocks
    assert block.mlp[0].out_features == 2 * WIDTH
    compare(module, lambda frames: [savi_block(one, block) for one in frames], shared(module))


@pytest.mark.parametrize("layers", [1, 3])
def test_steves_first_block_splits_after_its_norm(layers):
    module = transformer(norm="pre_split_late", layers=layers, bias=False, final_norm=True, mlp_dim=4 * WIDTH)
    compare(module, lambda frames: [steve(one, module.blocks) for one in frames], shared(module))


@pytest.mark.parametrize(("norm", "layers"), [("pre", 1), ("pre", 2), ("post", 2)])
def test_pre_and_post_norm_are_torchs(norm, layers):
    """SlotFormer, SlotDiffusion and VideoSAUR use torch's encoder, or write it out."""
    module = transformer(norm=norm, layers=layers, mlp_dim=4 * WIDTH)
    encoder, pairs = torch_encoder(list(module.blocks), norm_first=norm == "pre")
    compare(module, lambda frames: [encoder(one) for one in frames], pairs)


def test_slotformers_memory_is_an_lstm_over_frames():
    module = shaken(TransformerLSTM(TransformerLSTMConfig(), CONTEXT))
    encoder, pairs = torch_encoder(list(module.blocks), norm_first=True)
    assert (len(module.blocks), module.blocks[0].mlp[0].out_features) == (2, 4 * WIDTH)

    def plain(frames: list[Tensor]) -> list[Tensor]:
        h = c = torch.zeros(BATCH * SLOTS, 2 * WIDTH, dtype=torch.float64)
        found = []
        for one in frames:
            h, c = lstm_step(module.lstm, encoder(one).reshape(-1, WIDTH), h, c)
            found.append(mapped(h, module.readout).reshape(BATCH, SLOTS, WIDTH))
        return found

    compare(module, plain, [*pairs, *shared(module.lstm), *shared(module.readout)])


def test_slotformers_mlp_adds_to_what_it_normalized():
    module = shaken(ResidualMLP(ResidualMLPConfig(), CONTEXT))

    def plain(x: Tensor) -> Tensor:
        normal = normalized(x, module.norm, 1e-5)
        return normal + passed(normal, module.mlp)

    compare(module, lambda frames: [plain(one) for one in frames], shared(module))


def test_the_identity_gives_the_same_slots():
    slots = Slots(noise(BATCH, SLOTS, WIDTH, seed=0))
    assert IdentityPredictor(IdentityConfig(), CONTEXT)(slots, None) == (slots, None)


# --- settings ----------------------------------------------------------------------------


def test_dropout_is_of_training_alone():
    module = TransformerLSTM(TransformerLSTMConfig(), CONTEXT).double()
    frames = videos()
    assert torch.equal(over_frames(module.eval(), frames)[-1], over_frames(module, frames)[-1])
    module.train()
    assert not torch.equal(over_frames(module, frames)[-1], over_frames(module, frames)[-1])


@pytest.mark.parametrize(
    "build",
    [
        lambda: TransformerPredictor(TransformerConfig(heads=3), CONTEXT),
        lambda: TransformerLSTM(TransformerLSTMConfig(heads=3), CONTEXT),
    ],
)
def test_heads_divide_the_width(build):
    with pytest.raises(ComponentError, match="3 heads do not divide the slots' width 16") as found:
        build()
    assert found.value.field == "heads"


def test_a_memory_that_is_not_given_is_missed():
    with pytest.raises(ComponentError, match="it remembers: give it what `start`"):
        TransformerLSTM(TransformerLSTMConfig(), CONTEXT)(Slots(noise(1, 2, WIDTH, seed=0).float()), None)
