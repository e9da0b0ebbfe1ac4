"""The VQ-VAE against a plain transcription of SlotDiffusion's; its laws and messages."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import Codec, CodecContext, LatentCodec, Quantizes, TargetShape, TokenCodec
from slotlab.plugins.codecs.vqvae import VQVAE, VQVAEConfig
from slotlab.registry import ComponentError

SMALL: dict[str, Any] = {"width": 8, "multipliers": (1, 2, 3), "blocks": 2, "norm_groups": 4, "codes": 17}
SIZE = (12, 20)


def make(seed: int = 0, value_range: tuple[float, float] = (-1.0, 1.0), **settings: Any) -> VQVAE:
    """Return a small codec in float64 whose weights are all of about the same size."""
    context = CodecContext(image_size=SIZE, value_range=value_range)
    codec = VQVAE(VQVAEConfig(**{**SMALL, "code_spread": 1.0, **settings}), context).double()
    stream = Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in codec.named_parameters():
            drawn = torch.randn(weight.shape, generator=stream, dtype=torch.float64)
            weight.copy_(drawn * (0.5 if weight.ndim < 4 else weight[0].numel() ** -0.5))
            if "norm" in name and name.endswith("weight"):
                weight.add_(1.0)
    return codec


def pictures(batch: int = 3) -> Tensor:
    return torch.rand(batch, 3, *SIZE, generator=Generator().manual_seed(4), dtype=torch.float64) * 2 - 1


# --- a transcription ---------------------------------------------------------------------


class Plain:
    """SlotDiffusion's VQ-VAE in plain operations, with the weights of a codec by their names."""

    def __init__(self, codec: VQVAE, groups: int, blocks: int, levels: int):
        self.w = {name: value.detach().clone().requires_grad_() for name, value in codec.named_parameters()}
        self.groups, self.blocks, self.levels = groups, blocks, levels

    def conv(self, name: str, x: Tensor, **options: Any) -> Tensor:
        return F.conv2d(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"], **options)

    def norm(self, name: str, x: Tensor) -> Tensor:
        parts = x.reshape(len(x), self.groups, -1)
        mean, variance = parts.mean(2, keepdim=True), parts.var(2, keepdim=True, unbiased=False)
        x = ((parts - mean) / (variance + 1e-6).sqrt()).reshape(x.shape)
        return x * self.w[f"{name}.weight"][:, None, None] + self.w[f"{name}.bias"][:, None, None]

    def block(self, name: str, x: Tensor) -> Tensor:
        h = self.norm(f"{name}.norm_in", x)
        h = self.conv(f"{name}.conv_in", h * h.sigmoid(), padding=1)
        h = self.norm(f"{name}.norm_out", h)
        h = self.conv(f"{name}.conv_out", h * h.sigmoid(), padding=1)
        return (self.conv(f"{name}.shortcut", x) if f"{name}.shortcut.weight" in self.w else x) + h

    def attention(self, name: str, x: Tensor) -> Tensor:
        h = self.norm(f"{name}.norm", x)
        q, k, v = (self.conv(f"{name}.to_{letter}", h).flatten(2) for letter in "qkv")
        weights = (torch.einsum("bci,bcj->bij", q, k) / x.shape[1] ** 0.5).softmax(dim=2)
        return x + self.conv(f"{name}.to_out", torch.einsum("bij,bcj->bci", weights, v).reshape(x.shape))

    def middle(self, name: str, at: int, x: Tensor) -> Tensor:
        x = self.block(f"{name}.parts.{at}", x)
        x = self.attention(f"{name}.parts.{at + 1}", x)
        return self.block(f"{name}.parts.{at + 2}", x)

    def end(self, name: str, x: Tensor) -> Tensor:
        x = self.norm(f"{name}.norm", x)
        return self.conv(f"{name}.conv_out", x * x.sigmoid(), padding=1)

    def encode(self, x: Tensor) -> Tensor:
        x, at = self.conv("encoder.conv_in", x, padding=1), 0
        for level in range(self.levels):
            for _ in range(self.blocks):
                x, at = self.block(f"encoder.parts.{at}", x), at + 1
            if level < self.levels - 1:
                wide = torch.zeros(*x.shape[:2], x.shape[2] + 1, x.shape[3] + 1, dtype=x.dtype)
                wide[:, :, :-1, :-1] = x
                x, at = self.conv(f"encoder.parts.{at}", wide, stride=2), at + 1
        return self.conv("to_latents", self.end("encoder", self.middle("encoder", at, x)))

    def decode(self, codes: Tensor) -> Tensor:
        x = self.conv("decoder.conv_in", self.conv("from_codes", codes), padding=1)
        x, at = self.middle("decoder", 0, x), 3
        for level in range(self.levels):
            for _ in range(self.blocks + 1):
                x, at = self.block(f"decoder.parts.{at}", x), at + 1
            if level < self.levels - 1:
                x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
                x, at = self.conv(f"decoder.parts.{at}", x, padding=1), at + 1
        return self.end("decoder", x)

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        points, book = z.permute(0, 2, 3, 1), self.w["codebook.codes_VC"]
        index = ((points[..., None, :] - book) ** 2).sum(-1).argmin(-1)
        return index, book[index].permute(0, 3, 1, 2)

    def loss(self, x: Tensor, commitment: float, codebook: float) -> Tensor:
        z = self.encode(x)
        _, q = self.quantize(z)
        quantization = commitment * ((q.detach() - z) ** 2).mean() + codebook * ((q - z.detach()) ** 2).mean()
        return ((self.decode(z + (q - z).detach()) - x) ** 2).mean() + quantization


def plain(codec: VQVAE) -> Plain:
    return Plain(codec, SMALL["norm_groups"], SMALL["blocks"], len(SMALL["multipliers"]))


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_equal_to_a_transcription() -> None:
    codec, x = make(), pictures()
    other = plain(codec)
    latents = codec.encode(x)
    close(latents, other.encode(x))
    index, codes = other.quantize(latents)
    assert len(index.unique()) > 3
    assert torch.equal(codec.tokens(x), index)
    assert torch.equal(codec.nearest(latents), codes)
    close(codec.reconstruct(x), other.decode(codes))
    close(codec.decode(latents), codec.reconstruct(x))
    close(codec.paint(codec.tokens(x)), codec.reconstruct(x))


@pytest.mark.parametrize(("commitment", "codebook"), [(1.0, 0.25), (0.25, 1.0), (0.7, 0.0)])
def test_losses_and_gradients_equal_a_transcription(commitment: float, codebook: float) -> None:
    weights = {} if codebook == 0.25 else {"commitment": commitment, "codebook": codebook}
    codec, x = make(**weights), pictures()
    other = plain(codec)
    losses, expected = codec.losses(x), other.loss(x, commitment, codebook)
    close(losses.total, expected)
    losses.total.backward()
    expected.backward()
    for name, weight in codec.named_parameters():
        assert weight.grad is not None, name
        found = other.w[name].grad
        close(weight.grad, torch.zeros_like(weight) if found is None else found)
    assert codec.codebook.codes_VC.grad is not None
    assert (codec.codebook.codes_VC.grad.abs().sum() > 0) == (codebook > 0)


def test_gradients_of_the_quantization_have_the_published_weights() -> None:
    """Commitment weighs 1 and the codebook 0.25: `legacy` in taming's code, the paper's beta swapped."""
    codec, x = make(), pictures()
    latents = codec.encode(x).detach()
    used = codec.codebook.tokens(latents)
    with torch.no_grad():
        for parameter in codec.decoder.parameters():
            parameter.zero_()  # so that pictures, and with them latents, have no gradient but these
    codec.losses(x).total.backward()
    expected = torch.zeros_like(codec.codebook.codes_VC)
    difference = 2 * 0.25 * (codec.nearest(latents) - latents) / latents.numel()
    expected.index_add_(0, used.flatten(), difference.permute(0, 2, 3, 1).reshape(-1, 3))
    assert codec.codebook.codes_VC.grad is not None
    close(codec.codebook.codes_VC.grad, expected)
    bias = codec.to_latents.bias
    assert bias is not None
    assert bias.grad is not None
    close(bias.grad, -4 * difference.sum(dim=(0, 2, 3)))


def test_terms_for_the_log() -> None:
    codec, x = make(), pictures()
    losses = codec.losses(x)
    assert list(losses.terms) == ["reconstruction", "quantization", "perplexity", "codes_used"]
    close(losses.total, losses.terms["reconstruction"] + losses.terms["quantization"])
    counts = torch.bincount(codec.tokens(x).flatten(), minlength=17)
    share = counts[counts > 0].double() / counts.sum()
    close(losses.terms["perplexity"], torch.exp(-(share * share.log()).sum()))
    assert losses.terms["codes_used"] == (counts > 0).sum()
    assert not losses.terms["perplexity"].requires_grad


def test_parameters_of_the_published_settings() -> None:
    with torch.device("meta"):
        codec = VQVAE(VQVAEConfig(), CodecContext(image_size=(128, 128)))
    assert sum(parameter.numel() for parameter in codec.parameters()) == 13_857_886
    assert codec.latent_shape == TargetShape(3, (32, 32))
    assert codec.token_grid == (32, 32)
    assert codec.codes == 4096


def test_it_is_what_its_contracts_say() -> None:
    codec = make()
    assert all(isinstance(codec, kind) for kind in (Codec, LatentCodec, Quantizes, TokenCodec))
    assert not codec.own_weights


def test_codes_start_near_zero_unless_told() -> None:
    context = CodecContext(image_size=SIZE)
    for spread, most in ((None, 1 / 17), (0.5, 0.5)):
        codes = VQVAE(VQVAEConfig(**SMALL, code_spread=spread), context).codebook.codes_VC
        assert most / 2 < codes.abs().max() <= most


# --- laws --------------------------------------------------------------------------------


def test_nearest_of_nearest_is_the_same() -> None:
    codec = make()
    found = codec.nearest(torch.randn(2, 3, 3, 5, generator=Generator().manual_seed(1)).double())
    assert torch.equal(codec.nearest(found), found)


def test_codes_of_painted_tokens_are_the_codes() -> None:
    """The decoder brings its latents to codes; codes stay what they are."""
    codec = make()
    tokens = torch.randint(17, (2, 3, 5), generator=Generator().manual_seed(1))
    assert torch.equal(codec.paint(tokens), codec.decode(codec.codebook.look_up(tokens)))


def test_the_value_range_changes_nothing_but_the_pictures_range() -> None:
    signed, unit = make(), make(value_range=(0.0, 1.0))
    x = pictures()
    close(unit.encode((x + 1) / 2), signed.encode(x))
    close(unit.reconstruct((x + 1) / 2), (signed.reconstruct(x) + 1) / 2)
    close(unit.losses((x + 1) / 2).total, signed.losses(x).total)


def test_dropout_draws_from_the_generator_in_training_alone() -> None:
    codec, without, x = make(dropout=0.5), make(dropout=0.0), pictures()
    before = torch.get_rng_state()

    def loss(seed: int) -> Tensor:
        return codec.losses(x, generator=Generator().manual_seed(seed)).total

    assert torch.equal(loss(0), loss(0))
    assert not torch.equal(loss(0), loss(1))
    assert torch.equal(codec.encode(x), without.encode(x))
    codec.eval()
    assert torch.equal(loss(0), loss(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_attention_in_the_middle() -> None:
    codec = make(middle_attention=False)
    assert not any("to_q" in name for name, _ in codec.named_parameters())
    assert codec.reconstruct(pictures()).shape == (3, 3, *SIZE)


# --- messages ----------------------------------------------------------------------------


def refused(field: str | None, size: tuple[int, int] = SIZE, **settings: Any) -> str:
    with pytest.raises(ComponentError) as error:
        VQVAE(VQVAEConfig(**{**SMALL, **settings}), CodecContext(image_size=size))
    assert error.value.field == field
    return str(error.value)


def test_images_that_cannot_be_halved_so_often() -> None:
    expected = "3 levels need images whose sides are multiples of 4, not 12x18"
    assert refused("multipliers", size=(12, 18)) == expected


def test_groups_that_do_not_divide() -> None:
    expected = "5 groups do not divide the 8 channels of a level; take a divisor"
    assert refused("norm_groups", norm_groups=5) == expected
    expected = "16 groups do not divide the 8 channels of a level; take a divisor"
    assert refused("norm_groups", norm_groups=16) == expected
