"""What SAVi++ adds to SAVi: a mixture of features, and attention of another width than what it looks at."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from torch.nn.functional import layer_norm

from slotlab.framework.contracts import DecoderContext, PredictorContext, Slots, TargetShape
from slotlab.framework.model.slot_parts import TokensTransformerSpec, token_blocks
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.plugins.decoders.spatial_broadcast import SpatialBroadcastConfig, SpatialBroadcastDecoder
from slotlab.plugins.predictors.transformer import TransformerConfig, TransformerPredictor
from slotlab.registry import ComponentError

REGISTRY = load_registry()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    stream = Generator().manual_seed(seed)
    return torch.randn(shape, generator=stream, dtype=torch.float64).requires_grad_()


def decoder(mix: str, **settings: Any) -> SpatialBroadcastDecoder:
    data = {"broadcast_size": 4, "channels": [6], "mix": mix, **settings}
    config = SpatialBroadcastConfig.model_validate(data, context={"registry": REGISTRY})
    return SpatialBroadcastDecoder(config, DecoderContext(slot_dim=8, target=TargetShape(4, (8, 8)))).double()


def test_features_are_mixed_to_the_same_prediction() -> None:
    parts, features = decoder("parts"), decoder("features")
    weights: Any = parts.layers[-1]
    features.layers.load_state_dict(
        {k: v for k, v in parts.layers.state_dict().items() if not k.startswith("2")}
    )
    features.position.load_state_dict(parts.position.state_dict())
    with torch.no_grad():
        for one, rows in ((features.readout, slice(4)), (features.to_logits, slice(4, 5))):
            one.weight.copy_(weights.weight[rows])
            one.bias.copy_(weights.bias[rows])
    slots = drawn(2, 3, 8)
    made, wanted = features(Slots(slots)), parts(Slots(slots))
    assert made.parts_BKCHW is None
    assert made.masks_BKHW is not None
    torch.testing.assert_close(made.prediction_BCHW, wanted.prediction_BCHW, rtol=0, atol=1e-9)
    torch.testing.assert_close(made.masks_BKHW, wanted.masks_BKHW, rtol=0, atol=1e-9)
    ours, theirs = (torch.autograd.grad(one.prediction_BCHW.sin().sum(), slots)[0] for one in (made, wanted))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_a_dropped_slot_is_not_mixed() -> None:
    built, slots = decoder("features"), drawn(1, 3, 8)
    keep = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
    moved = slots.detach().clone()
    moved[:, 2] += 1
    one, other = (built(Slots(vectors, {"keep": keep})) for vectors in (slots, moved))
    assert not one.masks_BKHW[:, 2].any()
    torch.testing.assert_close(one.prediction_BCHW, other.prediction_BCHW, rtol=1e-4, atol=1e-4)


def attended(block: Any, x: Tensor, heads: int) -> Tensor:
    """Attention head by head, each of its share of the inner width."""
    q, k, v = (
        x @ one.weight.T + one.bias for one in (block.attend.to_q, block.attend.to_k, block.attend.to_v)
    )
    width = q.shape[2] // heads
    found = []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        weights = torch.softmax(q[..., own] @ k[..., own].mT / width**0.5, dim=2)
        found.append(weights @ v[..., own])
    out = block.attend.to_out
    return torch.cat(found, dim=2) @ out.weight.T + out.bias


def mlp(block: Any, x: Tensor) -> Tensor:
    first, last = block.mlp[0], block.mlp[3]
    hidden = (x @ first.weight.T + first.bias).clamp(min=0)
    found: Tensor = hidden @ last.weight.T + last.bias
    return found


def test_a_transformer_over_tokens_is_that_of_another_transcription() -> None:
    spec = TokensTransformerSpec(layers=2, heads=2, attention_dim=6, mlp_dim=5, layer_norm_eps=1e-3)
    blocks = torch.nn.Sequential(*token_blocks(spec, 8)).double()
    tokens = drawn(2, 7, 8)
    x = tokens
    for block in blocks:
        x = x + attended(block, layer_norm(x, (8,), eps=1e-3), 2)
        x = x + mlp(block, layer_norm(x, (8,), eps=1e-3))
    torch.testing.assert_close(blocks(tokens), x, rtol=0, atol=1e-9)
    ours, theirs = (torch.autograd.grad(one.sin().sum(), tokens)[0] for one in (blocks(tokens), x))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
    assert token_blocks(None, 8) == []


def test_a_predictor_may_attend_in_another_width() -> None:
    config = TransformerConfig(heads=4, attention_dim=12, mlp_dim=5, layer_norm_eps=1e-6)
    told = PredictorContext(slot_dim=8, num_slots=3, token_dim=8)
    predictor = TransformerPredictor(config, told).double()
    [block] = predictor.blocks
    slots = drawn(2, 3, 8)
    x = layer_norm(slots + attended(block, slots, 4), (8,), eps=1e-6)
    x = layer_norm(x + mlp(block, x), (8,), eps=1e-6)
    torch.testing.assert_close(predictor(Slots(slots), None)[0].vectors_BKD, x, rtol=0, atol=1e-9)


def test_heads_that_do_not_divide_the_width_of_attention_are_refused() -> None:
    with pytest.raises(ComponentError, match="3 heads do not divide attention_dim, 8"):
        token_blocks(TokensTransformerSpec(heads=3, attention_dim=8), 6)
