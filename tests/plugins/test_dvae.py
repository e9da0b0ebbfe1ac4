"""The discrete autoencoder against a plain transcription of SLATE's."""

import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import Annealable, Codec, CodecContext, LatentCodec, RelaxedCodec, TokenCodec
from slotlab.framework.model.gumbel import gumbel_noise
from slotlab.plugins.codecs.dvae import DVAE, DVAEConfig
from slotlab.registry import ComponentError

SIZE, CODES = (12, 20), 11


def make(value_range: tuple[float, float] = (0.0, 1.0), **settings: Any) -> DVAE:
    """Return a small codec in float64."""
    config = DVAEConfig(**{"codes": CODES, "width": 6, **settings})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = DVAE(config, CodecContext(image_size=SIZE, value_range=value_range)).double()
        with torch.no_grad():
            for name, weight in codec.named_parameters():
                if weight.ndim == 1:  # norms and biases start at ones and zeros
                    weight.add_(0.3 * torch.randn(weight.shape, dtype=torch.float64))
                elif name.startswith("encoder.7"):
                    weight.mul_(3.0)  # so that more than a few codes are likely
    return codec


def pictures(batch: int = 3) -> Tensor:
    """Return patches of different colors, so that they get different tokens."""
    stream = Generator().manual_seed(4)
    patches = torch.rand(batch, 3, *(side // 4 for side in SIZE), generator=stream, dtype=torch.float64)
    grain = torch.rand(batch, 3, *SIZE, generator=stream, dtype=torch.float64)
    return 0.8 * patches.repeat_interleave(4, 2).repeat_interleave(4, 3) + 0.2 * grain


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


# --- a transcription ---------------------------------------------------------------------


class Plain:
    """SLATE's codec in plain operations, with the weights of a codec by their names. Images are in [0, 1]."""

    def __init__(self, codec: DVAE):
        self.w = {name: value.detach().clone().requires_grad_() for name, value in codec.named_parameters()}

    def block(self, name: str, x: Tensor, **options: int) -> Tensor:
        x = F.conv2d(x, self.w[f"{name}.0.weight"], **options)
        if f"{name}.0.bias" in self.w:  # STEVE's, without a norm
            return (x + self.w[f"{name}.0.bias"][:, None, None]).clamp(min=0)
        flat = x.flatten(1)
        mean, variance = flat.mean(1), flat.var(1, unbiased=False)
        x = (x - mean[:, None, None, None]) / (variance + 1e-5).sqrt()[:, None, None, None]
        x = x * self.w[f"{name}.1.weight"][:, None, None] + self.w[f"{name}.1.bias"][:, None, None]
        return x.clamp(min=0)

    def readout(self, name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def logits(self, x: Tensor) -> Tensor:
        x = self.block("encoder.0", x, stride=4)
        for i in range(1, 7):
            x = self.block(f"encoder.{i}", x)
        scores = self.readout("encoder.7", x)
        return scores - scores.exp().sum(1, keepdim=True).log()

    def shuffle(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        return x.reshape(b, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c // 4, 2 * h, 2 * w)

    def decode(self, z: Tensor) -> Tensor:
        x = self.block("decoder.0", z)
        for first in (1, 6):
            x = self.block(f"decoder.{first}", x, padding=1)
            for i in (1, 2, 3):
                x = self.block(f"decoder.{first + i}", x)
            x = self.shuffle(x)
        return self.readout("decoder.11", x)

    def sample(self, logits: Tensor, noise: Tensor, tau: float, hard: bool) -> Tensor:
        scaled = ((logits + noise) / tau).exp()
        soft = scaled / scaled.sum(1, keepdim=True)
        if not hard:
            return soft
        chosen = torch.zeros_like(soft).scatter(1, soft.argmax(1, keepdim=True), 1.0)
        return chosen - soft.detach() + soft

    def loss(self, x: Tensor, noise: Tensor, tau: float, hard: bool) -> Tensor:
        made = self.decode(self.sample(self.logits(x), noise, tau, hard))
        return ((made - x) ** 2).sum() / len(x)


NORMS = pytest.mark.parametrize("norm", ["group", "none"])


@NORMS
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("tau", [1.0, 0.3])
def test_losses_and_gradients_equal_a_transcription(tau: float, hard: bool, norm: str) -> None:
    codec, x = make(tau=tau, straight_through=hard, norm=norm), pictures()
    other = Plain(codec)
    logits = other.logits(x)
    close(codec.logits(x), logits)
    noise = gumbel_noise(logits, Generator().manual_seed(7))
    losses, expected = codec.losses(x, generator=Generator().manual_seed(7)), other.loss(x, noise, tau, hard)
    close(losses.total, expected)
    losses.total.backward()
    expected.backward()
    for name, weight in codec.named_parameters():
        found = other.w[name].grad
        assert weight.grad is not None, name
        assert found is not None, name
        torch.testing.assert_close(weight.grad, found, rtol=1e-9, atol=1e-8)


@NORMS
def test_pictures_equal_a_transcription(norm: str) -> None:
    codec, x = make(norm=norm), pictures()
    other = Plain(codec)
    tokens = other.logits(x).argmax(1)
    assert torch.equal(codec.tokens(x), tokens)
    assert norm == "none" or len(tokens.unique()) > 1  # without norms six channels tell little apart
    drawn = torch.randint(CODES, tokens.shape, generator=Generator().manual_seed(2))
    for some in (tokens, drawn):
        close(codec.paint(some), other.decode(F.one_hot(some, CODES).permute(0, 3, 1, 2).double()))
    assert torch.equal(codec.reconstruct(x), codec.paint(tokens))
    weights = torch.rand(2, CODES, 3, 5, generator=Generator().manual_seed(0)).double().softmax(1)
    close(codec.paint_weights(weights), other.decode(weights))


def test_reductions() -> None:
    x = pictures()
    summed, mean = (
        make(reduction=one).losses(x, generator=Generator().manual_seed(1)) for one in ("sum", "mean")
    )
    close(summed.total, mean.total * 3 * SIZE[0] * SIZE[1])
    assert torch.equal(summed.total, summed.terms["reconstruction"])


@pytest.mark.parametrize(("pixels", "factor"), [("unit", 1.0), ("signed", 4.0)])
def test_the_network_sees_one_range_whatever_the_specs_is(pixels: str, factor: float) -> None:
    unit, signed, x = make(pixels=pixels), make((-1.0, 1.0), pixels=pixels), pictures()
    stream = [Generator().manual_seed(1) for _ in range(2)]
    close(signed.logits(2 * x - 1), unit.logits(x))
    close(signed.reconstruct(2 * x - 1), 2 * unit.reconstruct(x) - 1)
    first = unit.losses(x, generator=stream[0]).total
    close(signed.losses(2 * x - 1, generator=stream[1]).total, first)
    inner = 2 * x - 1 if pixels == "signed" else x
    plain = Plain(unit)
    noise = gumbel_noise(plain.logits(inner), Generator().manual_seed(1))
    close(first, plain.loss(inner, noise, 1.0, False))
    made = plain.decode(plain.sample(plain.logits(inner), noise, 1.0, False))
    back = (made + 1) / 2 if pixels == "signed" else made
    close(first, factor * ((back - x) ** 2).sum() / len(x))


NORMLESS = (
    16 * 3 * 64 + 6 * 64 * 64 + 7 * 64 + (64 + 1) * 4096
    + (4096 + 1) * 64 + 2 * (9 * 64 * 64 + 64 + 2 * (64 + 1) * 64 + (64 + 1) * 256) + (64 + 1) * 3
)  # fmt: skip
"""STEVE's, summed layer by layer."""


@pytest.mark.parametrize(
    ("codes", "norm", "count"),
    [(1024, "group", 285_635), (4096, "group", 681_923), (4096, "none", NORMLESS)],
)
def test_parameters_of_the_published_settings(codes: int, norm: str, count: int) -> None:
    """SLATE's (about 0.29 M), SlotDiffusion's and STEVE's."""
    with torch.device("meta"):
        codec = DVAE(
            DVAEConfig.model_validate({"codes": codes, "norm": norm}), CodecContext(image_size=(64, 64))
        )
    assert sum(parameter.numel() for parameter in codec.parameters()) == count
    assert codec.token_grid == (16, 16)


@NORMS
def test_initial_weights(norm: str) -> None:
    config = DVAEConfig.model_validate({"codes": 50, "width": 64, "norm": norm})
    codec = DVAE(config, CodecContext(image_size=(8, 8)))
    weights = dict(codec.named_parameters())
    assert all(not one.any() for name, one in weights.items() if name.endswith("bias"))
    for name, bound in (
        ("encoder.0.0.weight", math.sqrt(6 / 48)),  # He-uniform
        ("decoder.1.0.weight", math.sqrt(6 / 576)),
        ("encoder.7.weight", math.sqrt(6 / (64 + 50))),  # Glorot-uniform
        ("decoder.11.weight", math.sqrt(6 / (64 + 3))),
    ):
        assert 0.95 * bound < weights[name].abs().max() <= bound, name
    assert not weights["encoder.7.bias"].any()
    assert norm == "none" or (weights["encoder.3.1.weight"] == 1).all()


def test_it_is_what_its_contracts_say() -> None:
    codec = make(tau=0.7)
    assert all(isinstance(codec, kind) for kind in (Codec, TokenCodec, RelaxedCodec, Annealable))
    assert not isinstance(codec, LatentCodec)
    assert codec.tau == 0.7
    assert "tau" in codec.schedulable


def test_the_temperature_may_change() -> None:
    codec, x = make(tau=1.0), pictures()
    codec.tau = 0.2
    expected = make(tau=0.2).losses(x, generator=Generator().manual_seed(1)).total
    assert torch.equal(codec.losses(x, generator=Generator().manual_seed(1)).total, expected)


def test_terms_for_the_log() -> None:
    codec, x = make(), pictures()
    losses = codec.losses(x, generator=Generator().manual_seed(0))
    assert list(losses.terms) == ["reconstruction", "perplexity", "codes_used"]
    counts = torch.bincount(codec.tokens(x).flatten(), minlength=CODES)
    share = counts[counts > 0].double() / counts.sum()
    close(losses.terms["perplexity"], torch.exp(-(share * share.log()).sum()))
    assert losses.terms["codes_used"] == (counts > 0).sum()
    assert not losses.terms["perplexity"].requires_grad


def test_images_that_are_no_whole_patches() -> None:
    with pytest.raises(ComponentError) as error:
        DVAE(DVAEConfig(), CodecContext(image_size=(64, 62)))
    assert str(error.value) == "images must have sides that are multiples of 4, not 64x62"
