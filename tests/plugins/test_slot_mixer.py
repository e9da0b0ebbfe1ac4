"""The slot mixer: an independent transcription from torch's own layers."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import DecoderContext, Slots, TargetShape
from slotlab.plugins.decoders.slot_mixer import SlotMixer, SlotMixerConfig
from slotlab.registry import ComponentError

DIM, SLOTS, SIZE, CHANNELS = 8, 3, (2, 3), 5


def build(**settings: Any) -> SlotMixer:
    config = SlotMixerConfig.model_validate({"layers": 2, "heads": 2, "hidden": [7, 9], **settings})
    torch.manual_seed(0)
    return SlotMixer(config, DecoderContext(slot_dim=DIM, target=TargetShape(CHANNELS, SIZE))).double()


def drawn() -> Tensor:
    stream = Generator().manual_seed(1)
    return torch.randn(2, SLOTS, DIM, generator=stream, dtype=torch.float64).requires_grad_()


def attended(block: Any, queries: Tensor, slots: Tensor, factor: float) -> Tensor:
    """Through torch's attention, whose logits are divided by the root of a head's width."""
    other = nn.MultiheadAttention(DIM, 2, batch_first=True).double()
    names = (block.to_q, block.to_k, block.to_v)
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.cat([one.weight for one in names]))
        other.in_proj_bias.copy_(torch.cat([one.bias for one in names]))
        other.in_proj_weight[:DIM] *= factor
        other.in_proj_bias[:DIM] *= factor
        other.out_proj.weight.copy_(block.to_out.weight)
        other.out_proj.bias.copy_(block.to_out.bias)
    found: Tensor = other(queries, slots, slots, need_weights=False)[0]
    return found


@pytest.mark.parametrize(("scale", "factor"), [("divided", 1.0), ("multiplied", 4.0)])
def test_prediction_masks_and_gradient_are_those_of_another_transcription(scale: str, factor: float) -> None:
    decoder, slots = build(scale=scale), drawn()
    position = decoder.position_ND.detach()[None].expand(2, -1, -1)
    x, memory = position, nn.functional.layer_norm(slots, (DIM,))
    for block in decoder.blocks:
        x = x + attended(block, nn.functional.layer_norm(x, (DIM,)), memory, factor)
        x = x + block.mlp(nn.functional.layer_norm(x, (DIM,)))
    queries = nn.functional.layer_norm(x, (DIM,)) @ decoder.to_q.weight.T
    keys = nn.functional.layer_norm(slots, (DIM,)) @ decoder.to_k.weight.T
    attention = torch.softmax(torch.einsum("bnd,bkd->bnk", queries, keys) / DIM**0.5, dim=2)
    hidden = torch.einsum("bnk,bkd->bnd", attention, slots) + position
    for layer in (decoder.mlp[0], decoder.mlp[2]):
        hidden = (hidden @ layer.weight.T + layer.bias).clamp(min=0)
    wanted = (hidden @ decoder.readout.weight.T + decoder.readout.bias).mT.reshape(2, CHANNELS, *SIZE)
    made = decoder(Slots(slots))
    assert made.masks_BKHW is not None
    torch.testing.assert_close(made.prediction_BCHW, wanted, rtol=0, atol=1e-9)
    torch.testing.assert_close(made.masks_BKHW.flatten(2), attention.mT, rtol=0, atol=1e-9)
    ours, theirs = (torch.autograd.grad(one.sin().sum(), slots)[0] for one in (made.prediction_BCHW, wanted))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ComponentError, match="3 heads do not divide the slots' width 8") as caught:
        build(heads=3)
    assert caught.value.field == "heads"
