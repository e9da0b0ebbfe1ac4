"""The VQ-VAE's perceptual term, with random weights in the layout of VGG-16's file."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import CodecContext
from slotlab.plugins.codecs.vqvae import VQVAE, VQVAEConfig
from slotlab.registry import ComponentError

SMALL: dict[str, Any] = {"width": 8, "multipliers": (1, 2), "norm_groups": 4, "codes": 17}


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def refused(size: tuple[int, int] = (16, 20), **perceptual: Any) -> str:
    with pytest.raises(ComponentError) as error:
        VQVAE(VQVAEConfig(**SMALL, perceptual=perceptual), CodecContext(image_size=size))
    assert error.value.field == "perceptual"
    return str(error.value)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random weights in the files' layouts: VGG-16's convolutions and LPIPS's weights of channels."""
    folder, stream = tmp_path_factory.mktemp("vgg"), Generator().manual_seed(0)
    from torchvision.models import vgg16

    with torch.device("meta"):
        shapes = {name: value.shape for name, value in vgg16().features.state_dict().items()}
    state = {
        f"features.{name}": torch.randn(shape, generator=stream)
        * (0.1 if len(shape) == 1 else (2 / shape[1:].numel()) ** 0.5)
        for name, shape in shapes.items()
    }
    linear = {
        f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1, generator=stream)
        for i, width in enumerate((64, 128, 256, 512, 512))
    }
    torch.save(state, folder / "vgg.pth")
    torch.save(linear, folder / "linear.pth")
    return {"backbone": folder / "vgg.pth", "linear": folder / "linear.pth"}


def with_lpips(files: dict[str, Path], weight: float = 0.5) -> VQVAE:
    settings = {**SMALL, "code_spread": 1.0, "perceptual": {"weight": weight, **files}}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VQVAE(VQVAEConfig(**settings), CodecContext(image_size=(16, 20)))


def lpips_of(files: dict[str, Path], first: Tensor, second: Tensor) -> Tensor:
    """The distance from its definition, in float64."""
    state, linear = torch.load(files["backbone"]), torch.load(files["linear"])
    shift, scale = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]]).double()[..., None, None]
    pair, total, layer = [(x - shift) / scale for x in (first, second)], torch.zeros(1), 0
    for level, count in enumerate((2, 2, 3, 3, 3)):
        if level > 0:
            pair, layer = [F.max_pool2d(x, 2) for x in pair], layer + 1
        for _ in range(count):
            weight, bias = (state[f"features.{layer}.{kind}"].double() for kind in ("weight", "bias"))
            pair, layer = [F.conv2d(x, weight, bias, padding=1).relu() for x in pair], layer + 2
        f, g = (x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) for x in pair)
        total = total + ((f - g) ** 2 * linear[f"lin{level}.model.1.weight"].double()).sum(1).mean((1, 2))
    return total.mean()


def test_with_a_perceptual_term_the_error_is_absolute(files: dict[str, Path]) -> None:
    codec = with_lpips(files).double()
    x = torch.rand(2, 3, 16, 20, generator=Generator().manual_seed(3), dtype=torch.float64) * 2 - 1
    losses, made = codec.losses(x), codec.reconstruct(x)
    close(losses.terms["reconstruction"], (made - x).abs().mean())
    close(losses.terms["perceptual"], 0.5 * lpips_of(files, x, made))
    names = ("reconstruction", "perceptual", "quantization")
    close(losses.total, torch.stack([losses.terms[name] for name in names]).sum())
    losses.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in codec.parameters())
    shifted = make_shifted(losses.terms["perceptual"], codec, x, files)
    assert shifted == pytest.approx(0, abs=1e-6)


def make_shifted(perceptual: Tensor, codec: VQVAE, x: Tensor, files: dict[str, Path]) -> float:
    """Compare the slope of the perceptual term along a bias of the decoder with that of its definition."""
    bias = codec.decoder.conv_out.bias
    assert bias is not None
    (found,) = torch.autograd.grad(codec.losses(x).terms["perceptual"], bias)
    moved = codec.reconstruct(x).detach()
    offset = torch.zeros(3, 1, 1, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(0.5 * lpips_of(files, x, moved + offset), offset)
    return float((found - expected.flatten()).abs().max())


def test_files_of_weights_are_not_in_checkpoints(files: dict[str, Path]) -> None:
    codec, without = (
        with_lpips(files),
        VQVAE(VQVAEConfig(**SMALL), CodecContext(image_size=(16, 20))),
    )
    assert codec.state_dict().keys() == without.state_dict().keys()
    x = torch.rand(2, 3, 16, 20, generator=Generator().manual_seed(4)) * 2 - 1
    same = [one.losses(x).total for one in (codec, copy.deepcopy(codec), pickle.loads(pickle.dumps(codec)))]
    assert torch.equal(same[0], same[1])
    assert torch.equal(same[0], same[2])


def test_a_perceptual_term_without_values(files: dict[str, Path]) -> None:
    with torch.device("meta"):
        codec = with_lpips(files)
        assert codec.losses(torch.empty(2, 3, 16, 20)).total.device.type == "meta"


def test_files_that_are_not_there(files: dict[str, Path], tmp_path: Path) -> None:
    gone = tmp_path / "none.pth"
    found = refused(**{**files, "backbone": gone})
    assert found == f"backbone: weights file {gone} does not exist"
    found = refused(**{**files, "linear": files["backbone"]})
    assert found.startswith(f"linear: weights file {files['backbone']} does not hold LPIPS weights of 'vgg'")


def test_images_that_are_too_small_for_vgg(files: dict[str, Path]) -> None:
    expected = "VGG needs images of at least 16x16 pixels, not 12x20; write null"
    assert refused((12, 20), **files) == expected
