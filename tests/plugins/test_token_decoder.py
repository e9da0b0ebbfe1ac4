"""The autoregressive decoder of tokens, and SLATE, against plain transcriptions of the published definitions."""

import json
from math import prod
from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import Batch, Decoded, DecoderContext, Sampler, Slots, TargetShape
from slotlab.framework.model import class_loss
from slotlab.framework.model.build import build_model
from slotlab.framework.model.class_loss import class_cross_entropy
from slotlab.framework.model.gumbel import gumbel_noise
from slotlab.framework.spec.load import load_spec
from slotlab.plugins.decoders.autoregressive import AutoregressiveConfig, AutoregressiveTokens, build

SIZE, CODES, WIDTH, DIM, SLOTS, HEADS, LAYERS = (2, 3), 7, 8, 5, 3, 2, 2
TOKENS = prod(SIZE)
CONTEXT = DecoderContext(slot_dim=DIM, target=TargetShape(1, SIZE, classes=CODES))
EXACT: dict[str, float] = {"rtol": 1e-9, "atol": 1e-9}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def decoder_of(**settings: Any) -> AutoregressiveTokens:
    """Return a decoder none of whose weights is at a special value."""
    config = AutoregressiveConfig(blocks="slate", layers=LAYERS, heads=HEADS, width=WIDTH, **settings)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        decoder = build(config, CONTEXT).double()
        with torch.no_grad():
            for parameter in decoder.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    assert isinstance(decoder, AutoregressiveTokens)
    return decoder


TARGET = torch.randint(CODES, (2, 1, *SIZE), generator=Generator().manual_seed(1))


# --- SLATE's transformer, written out ----------------------------------------------------


def norm(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    scaled = centered / (centered.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attention(weights: dict[str, Tensor], name: str, x: Tensor, memory: Tensor, causal: bool) -> Tensor:
    """One image, head by head."""
    q, k, v = (
        y @ weights[f"{name}.to_{letter}.weight"].T
        for letter, y in zip("qkv", (x, memory, memory), strict=True)
    )
    heads = []
    for part in torch.arange(WIDTH).chunk(HEADS):
        scores = q[:, part] @ k[:, part].T * len(part) ** -0.5
        if causal:
            scores = scores + torch.full_like(scores, -torch.inf).triu(1)
        heads.append(scores.softmax(1) @ v[:, part])
    return torch.cat(heads, 1) @ weights[f"{name}.to_out.weight"].T


def logits_of(weights: dict[str, Tensor], slots: Tensor, before: Tensor) -> Tensor:
    """The logits that follow the tokens `before`, of one image: (T + 1, codes)."""
    first = torch.tensor([CODES])
    x = weights["read_target.embedding.weight"][torch.cat((first, before))]
    x = x + weights["read_target.place_TW"][: len(x)]
    memory = slots @ weights["read_slots.weight"].T
    for i in range(LAYERS):
        block = f"blocks.blocks.{i}"
        y = norm(x, weights, f"{block}.norm_tokens")
        x = (y if i == 0 else x) + attention(weights, f"{block}.attend_tokens", y, y, True)
        y = norm(x, weights, f"{block}.norm_cross")
        x = x + attention(weights, f"{block}.attend_slots", y, memory, False)
        y = norm(x, weights, f"{block}.norm_mlp") @ weights[f"{block}.mlp.0.weight"].T
        y = (y + weights[f"{block}.mlp.0.bias"]).relu()
        x = x + y @ weights[f"{block}.mlp.2.weight"].T + weights[f"{block}.mlp.2.bias"]
    return norm(x, weights, "blocks.norm") @ weights["write.weight"].T


def test_logits_and_gradients_are_slates() -> None:
    decoder, vectors = decoder_of(), noise(2, SLOTS, DIM, seed=2).requires_grad_()
    weights = dict(decoder.named_parameters())
    found = decoder(Slots(vectors), target_BCHW=TARGET)
    assert found.readout is not None
    logits = found.readout(found.prediction_BCHW.movedim(1, 3)).flatten(1, 2)
    expected = torch.stack([logits_of(weights, vectors[b], TARGET[b].flatten()[:-1]) for b in range(2)])
    torch.testing.assert_close(logits, expected, **EXACT)
    factor = noise(*logits.shape, seed=9)
    learned = [vectors, *weights.values()]
    ours, theirs = (torch.autograd.grad((x * factor).sum(), learned) for x in (logits, expected))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_the_loss_is_the_mean_cross_entropy_of_the_logits() -> None:
    decoder, vectors = decoder_of(), noise(2, SLOTS, DIM, seed=2)
    weights = dict(decoder.named_parameters())
    found = decoder(Slots(vectors), target_BCHW=TARGET)
    total = torch.zeros((), dtype=torch.float64)
    for b in range(2):
        tokens = TARGET[b].flatten()
        chances = logits_of(weights, vectors[b], tokens[:-1]).softmax(1)
        total = total - chances[torch.arange(TOKENS), tokens].log().sum()
    loss = class_cross_entropy(found, TARGET, CODES)
    torch.testing.assert_close(loss, (total / (2 * TOKENS)).to(loss.dtype), rtol=1e-6, atol=1e-6)


def test_greedy_tokens_are_the_likeliest_ones_one_after_the_other() -> None:
    decoder, vectors = decoder_of().eval(), noise(2, SLOTS, DIM, seed=2)
    assert isinstance(decoder, Sampler)
    weights = dict(decoder.named_parameters())
    found = decoder.sample(Slots(vectors))
    for b in range(2):
        tokens = torch.zeros(0, dtype=torch.int64)
        for _ in range(TOKENS):
            tokens = torch.cat((tokens, logits_of(weights, vectors[b], tokens)[-1:].argmax(1)))
        assert torch.equal(found.prediction_BCHW[b].flatten(), tokens)
    assert found.masks_BKHW is not None
    torch.testing.assert_close(found.masks_BKHW.sum(1), torch.ones(2, *SIZE, dtype=torch.float64))


def test_drawn_tokens_have_the_probabilities_of_the_logits() -> None:
    decoder, vectors = decoder_of(choose="drawn").eval(), noise(1, SLOTS, DIM, seed=2)
    weights = dict(decoder.named_parameters())
    many = Slots(vectors.expand(4000, -1, -1))
    found = decoder.sample(many, generator=Generator().manual_seed(0)).prediction_BCHW[:, 0, 0, 0]
    share = torch.bincount(found, minlength=CODES) / len(found)
    chances = logits_of(weights, vectors[0], torch.zeros(0, dtype=torch.int64))[0].softmax(0)
    assert (share - chances).abs().max() < 4 * (0.25 / len(found)) ** 0.5


def test_a_token_sees_those_before_it_alone() -> None:
    decoder, vectors = decoder_of().eval(), noise(2, SLOTS, DIM, seed=2)
    other = TARGET.clone()
    other[:, :, 1, 1] = (other[:, :, 1, 1] + 1) % CODES  # number 4 of 6
    one, two = (
        decoder(Slots(vectors), target_BCHW=target).prediction_BCHW.flatten(2) for target in (TARGET, other)
    )
    assert torch.equal(one[..., :5], two[..., :5])
    assert not torch.equal(one[..., 5], two[..., 5])


def test_dropout_is_slates_and_for_training_alone() -> None:
    decoder, some = decoder_of(dropout=0.5), Slots(noise(2, SLOTS, DIM, seed=2))
    first, second = (decoder(some, target_BCHW=TARGET).prediction_BCHW for _ in range(2))
    assert not torch.equal(first, second)
    decoder.eval()
    first, second = (decoder(some, target_BCHW=TARGET).prediction_BCHW for _ in range(2))
    assert torch.equal(first, second)
    assert {type(part).__name__ for part in decoder.modules()} >= {"Dropout"}


def test_weights_start_as_slates_do() -> None:
    torch.manual_seed(0)
    config = AutoregressiveConfig(blocks="slate", layers=4, heads=4, width=64)
    context = DecoderContext(slot_dim=64, target=TargetShape(1, (16, 16), classes=512))
    reader: Any = build(config, context).read_target
    assert reader.embedding.weight.shape == (513, 64)
    assert reader.place_TW.shape == (257, 64)
    assert 0.97 < float(reader.embedding.weight.detach().std()) < 1.03
    assert reader.place_TW.abs().max() <= 2
    assert 0.84 < float(reader.place_TW.detach().std()) < 0.92  # normal, cut at two deviations


# --- losses in chunks --------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [7, 14, 35, 10**9])
def test_the_chunks_of_a_loss_change_nothing(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_loss, "LOGITS_AT_ONCE", at_once)
    head = torch.nn.Linear(WIDTH, CODES, bias=False)
    states = torch.randn(2, WIDTH, *SIZE, generator=Generator().manual_seed(0)).requires_grad_()
    loss = class_cross_entropy(Decoded(states, readout=head), TARGET, CODES)
    whole = F.cross_entropy(head(states.movedim(1, 3)).movedim(3, 1), TARGET[:, 0])
    torch.testing.assert_close(loss, whole)
    learned = [states, head.weight]
    for a, b in zip(torch.autograd.grad(loss, learned), torch.autograd.grad(whole, learned), strict=True):
        torch.testing.assert_close(a, b)


def test_logits_are_never_all_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_loss, "LOGITS_AT_ONCE", 4 * CODES)
    seen: list[int] = []

    def readout(states: Tensor) -> Tensor:
        seen.append(len(states))
        return states[:, :CODES] * 2

    states = torch.randn(2, WIDTH, *SIZE, generator=Generator().manual_seed(0)).requires_grad_()
    class_cross_entropy(Decoded(states, readout=readout), TARGET, CODES).backward()  # type: ignore[no-untyped-call]
    assert max(seen) == 4
    assert len(seen) == 2 * 3  # made again for the gradient


def test_logits_that_a_decoder_gives_at_once_are_taken_as_they_are() -> None:
    logits = noise(2, CODES, *SIZE)
    torch.testing.assert_close(
        class_cross_entropy(Decoded(logits), TARGET, CODES), F.cross_entropy(logits, TARGET[:, 0])
    )


# --- the whole of SLATE ------------------------------------------------------------------

SPEC = """
format: 1
name: slate
data:
  dataset: {name: scenes, num_train: 2, num_val: 2, textures: [plain], ground_textures: [plain]}
  protocol: {name: whole, image_size: 8, value_range: unit}
model:
  name: slate
  codec: {name: dvae, codes: 7, width: 4}
  slots: 3
  slot_dim: 8
  initializer: {name: gaussian, mean_init: xavier, log_sigma_init: xavier}
  grouping: {name: slot_attention, iterations: 2, mlp_dim: 8}
  decoder: {name: autoregressive, blocks: slate, layers: 2, heads: 2, width: 8}
training: {batch_size: 2, phases: [{steps: 1, lr: 1e-3}]}
evaluation: {metrics: [ari], mask_source: attention}
"""


def test_slates_loss_is_that_of_a_soft_sample_and_of_a_separate_hard_one(tmp_path: Any) -> None:
    (tmp_path / "slate.yaml").write_text(SPEC)
    model: Any = build_model(load_spec(tmp_path / "slate.yaml").spec).double()
    images = noise(2, 3, 8, 8).sigmoid()
    batch = Batch(images_BCHW=images, masks_BHW=None, ids=("0", "1"), attributes=({}, {}))
    found = model.losses(batch, generator=Generator().manual_seed(4))

    stream, codec, decoder = Generator().manual_seed(4), model.codec, model.decoder
    logits = codec.logits(images)
    soft = (logits + gumbel_noise(logits, stream)).softmax(1)  # the temperature is 1
    error = (codec.paint_weights(soft) - images).square().sum() / 2
    tokens = (logits + gumbel_noise(logits, stream)).argmax(1).flatten(1)
    # The slots read the tokens at the places after the first input.
    read = decoder.read_target.embedding(tokens) + decoder.read_target.place_TW[1:5]
    inputs = model.projection.mlp(model.projection.norm(read))
    initial = model.initializer(inputs, None, generator=stream)
    slots = model.grouping(inputs, initial).slots.vectors_BKD
    memory = slots @ decoder.read_slots.weight.T
    states, _ = decoder.blocks(
        decoder.read_target(torch.cat((torch.full((2, 1), 7), tokens[:, :-1]), 1)), memory, None
    )
    chances = decoder.write(states).log_softmax(2)
    entropy = -chances.gather(2, tokens[..., None]).sum() / 2
    torch.testing.assert_close(found.total, error + entropy, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.terms["codec"], error)


def test_no_gradient_of_the_slots_reaches_slates_codec(tmp_path: Any) -> None:
    (tmp_path / "slate.yaml").write_text(SPEC)
    model: Any = build_model(load_spec(tmp_path / "slate.yaml").spec)
    batch = Batch(
        images_BCHW=noise(2, 3, 8, 8).sigmoid().float(), masks_BHW=None, ids=("0", "1"), attributes=({}, {})
    )
    losses = model.losses(batch, generator=Generator().manual_seed(4))
    others = torch.autograd.grad(losses.terms["tokens"], list(model.codec.parameters()), allow_unused=True)
    assert all(gradient is None for gradient in others)


SHAPES = {
    "data.protocol.image_size": 64,
    "model.slot_dim": 192,
    "model.codec": {"name": "dvae", "codes": 1024, "width": 64},
    "model.grouping": {"name": "slot_attention", "iterations": 3, "mlp_dim": 192},
    "model.decoder": {"name": "autoregressive", "blocks": "slate", "layers": 4, "heads": 4, "width": 192},
}
"""SLATE's own settings, for 3D Shapes."""


def test_slate_has_as_many_weights_as_its_authors_model(tmp_path: Any) -> None:
    (tmp_path / "slate.yaml").write_text(SPEC)
    sets = [f"{path}={json.dumps(value)}" for path, value in SHAPES.items()]
    with torch.device("meta"):
        model = build_model(load_spec(tmp_path / "slate.yaml", sets=sets).spec)
    counts = {name: sum(one.numel() for one in part.parameters()) for name, part in model.named_children()}
    assert (counts["decoder"], counts["codec"]) == (2_847_744, 285_635)
    assert sum(counts.values()) == 3_616_451  # 3.62 million
