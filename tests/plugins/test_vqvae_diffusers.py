"""The VQ-VAE against `VQModel` of diffusers, where that is installed."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import CodecContext
from slotlab.plugins.codecs.vqvae import VQVAE, VQVAEConfig

SMALL: dict[str, Any] = {"width": 8, "multipliers": (1, 2, 3), "blocks": 2, "norm_groups": 4, "codes": 17}


def renamed(codec: VQVAE) -> dict[str, Tensor]:
    """Return the codec's weights by the names of diffusers' `VQModel`."""
    blocks, levels = SMALL["blocks"], len(SMALL["multipliers"])
    names = {
        "to_latents": "quant_conv",
        "from_codes": "post_quant_conv",
        "codebook.codes_VC": "quantize.embedding.weight",
    }
    for side, count, first in (("encoder", blocks, levels * blocks + levels - 1), ("decoder", blocks + 1, 0)):
        names |= {
            f"{side}.norm": f"{side}.conv_norm_out",
            f"{side}.conv_in": f"{side}.conv_in",
            f"{side}.conv_out": f"{side}.conv_out",
        }
        middle = ("resnets.0", "attentions.0", "resnets.1")
        names |= {f"{side}.parts.{first + i}": f"{side}.mid_block.{part}" for i, part in enumerate(middle)}
        at, folder, scaler = (
            (0, "down_blocks", "downsamplers") if side == "encoder" else (3, "up_blocks", "upsamplers")
        )
        for level in range(levels):
            for i in range(count):
                names[f"{side}.parts.{at}"], at = f"{side}.{folder}.{level}.resnets.{i}", at + 1
            if level < levels - 1:
                names[f"{side}.parts.{at}"], at = f"{side}.{folder}.{level}.{scaler}.0.conv", at + 1
    inner = {
        "norm_in": "norm1",
        "norm_out": "norm2",
        "shortcut": "conv_shortcut",
        "norm": "group_norm",
        "to_out": "to_out.0",
    }
    found = {}
    for name, value in codec.state_dict().items():
        words = name.split(".")
        stem = ".".join(words[:3]) if words[1] == "parts" else name if name in names else ".".join(words[:-1])
        rest = name.removeprefix(stem).strip(".").split(".")
        if words[1] == "parts" and len(rest) == 2:
            resnet = "resnets" in names[stem]
            rest[0] = {"conv_in": "conv1", "conv_out": "conv2"}.get(rest[0], inner.get(rest[0], rest[0]))
            value = value if resnet or value.ndim < 4 else value[:, :, 0, 0]
        found[".".join([names[stem], *(word for word in rest if word)])] = value
    return found


def test_equal_to_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = VQVAE(VQVAEConfig(**SMALL, code_spread=1.0), CodecContext(image_size=(12, 20))).double()
    x = torch.rand(3, 3, 12, 20, generator=Generator().manual_seed(4), dtype=torch.float64) * 2 - 1
    levels = len(SMALL["multipliers"])
    other: nn.Module = diffusers.VQModel(
        block_out_channels=tuple(SMALL["width"] * m for m in SMALL["multipliers"]),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=SMALL["blocks"],
        latent_channels=3,
        num_vq_embeddings=SMALL["codes"],
        norm_num_groups=SMALL["norm_groups"],
    ).double()
    other.load_state_dict(renamed(codec))
    model: Any = other
    latents = model.encode(x).latents
    torch.testing.assert_close(codec.encode(x), latents)
    torch.testing.assert_close(codec.reconstruct(x), model.decode(latents).sample)
    _, loss, (_, _, index) = model.quantize(latents)
    assert torch.equal(codec.tokens(x).flatten(), index.flatten())
    torch.testing.assert_close(codec.losses(x).terms["quantization"], loss)
