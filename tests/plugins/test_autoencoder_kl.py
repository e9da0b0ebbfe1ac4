"""Stable Diffusion's autoencoder with small random weights, which the test writes in diffusers' layout."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Generator, Tensor

from slotlab.framework.contracts import Codec, CodecContext, LatentCodec, Quantizes, TargetShape, TokenCodec
from slotlab.plugins.codecs.autoencoder_kl import AutoencoderKL, AutoencoderKLConfig, present_name
from slotlab.registry import ComponentError

CONTEXT = CodecContext(image_size=(8, 12))
FACTS = {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 5,
}


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slotlab.registry.optional.find_spec", lambda name: None)
    with pytest.raises(ComponentError) as error:
        AutoencoderKL(AutoencoderKLConfig(weights=tmp_path), CONTEXT)
    assert str(error.value) == (
        "needs the package diffusers, which is not installed: pip install 'slotlab[diffusers]'"
    )


def test_names_of_older_files() -> None:
    name = "encoder.mid_block.attentions.0"
    assert present_name(f"{name}.query.weight") == f"{name}.to_q.weight"
    assert present_name(f"{name}.proj_attn.bias") == f"{name}.to_out.0.bias"
    for other in (f"{name}.to_q.weight", f"{name}.group_norm.bias", "encoder.conv_in.weight", "query.weight"):
        assert present_name(other) == other


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    diffusers = pytest.importorskip("diffusers")
    path: Path = tmp_path_factory.mktemp("vae")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        diffusers.AutoencoderKL(**FACTS).save_pretrained(path)
    return path


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "vae"))


def make(path: Path, value_range: tuple[float, float] = (-1.0, 1.0), **settings: Any) -> AutoencoderKL:
    context = CodecContext(image_size=(8, 12), value_range=value_range)
    return AutoencoderKL(AutoencoderKLConfig(weights=path, **settings), context)


def pictures() -> Tensor:
    return torch.rand(2, 3, 8, 12, generator=Generator().manual_seed(1)) * 2 - 1


def state_of(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path / "diffusion_pytorch_model.safetensors")


def test_it_is_diffusers_own(folder: Path) -> None:
    import diffusers

    other = diffusers.AutoencoderKL.from_pretrained(folder, local_files_only=True).eval()
    codec, x = make(folder), pictures()
    with torch.no_grad():
        mean = other.encode(x).latent_dist.mean
        expected = other.decode(mean).sample
    torch.testing.assert_close(codec.encode(x), mean * 0.18215, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(codec.reconstruct(x), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(codec.decode(codec.encode(x)), codec.reconstruct(x))
    assert codec.latent_shape == TargetShape(5, (4, 6))
    assert codec.encode(x).shape == (2, 5, 4, 6)


def test_it_is_what_its_contracts_say(folder: Path) -> None:
    codec = make(folder)
    assert isinstance(codec, Codec)
    assert isinstance(codec, LatentCodec)
    assert not isinstance(codec, Quantizes | TokenCodec)
    assert codec.own_weights


def test_it_is_frozen_and_draws_nothing(folder: Path) -> None:
    before = torch.get_rng_state()
    codec, x = make(folder).train(), pictures()
    assert torch.equal(codec.encode(x), codec.encode(x))
    assert torch.equal(torch.get_rng_state(), before)
    assert list(codec.parameters()) == []
    assert codec.state_dict() == {}
    losses = codec.losses(x)
    torch.testing.assert_close(losses.total, (codec.reconstruct(x) - x).square().mean())
    assert not losses.total.requires_grad
    latents = codec.encode(x).requires_grad_()
    codec.decode(latents).sum().backward()
    assert latents.grad is not None


def test_scaling_and_value_range(folder: Path) -> None:
    codec, x = make(folder), pictures()
    other = make(folder, (0.0, 1.0), scaling=2.0)
    torch.testing.assert_close(other.encode((x + 1) / 2), codec.encode(x) / 0.18215 * 2, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        other.reconstruct((x + 1) / 2), (codec.reconstruct(x) + 1) / 2, rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(other.losses((x + 1) / 2).total, codec.losses(x).total, rtol=1e-4, atol=1e-5)


def test_images_do_not_mix(folder: Path) -> None:
    codec, x = make(folder), pictures()
    torch.testing.assert_close(codec.reconstruct(x)[1:], codec.reconstruct(x[1:]))


def test_it_moves_and_pickles_with_its_weights(folder: Path) -> None:
    codec, x = make(folder), pictures()
    again = pickle.loads(pickle.dumps(codec))
    assert torch.equal(again.encode(x), codec.encode(x))
    assert again.double().encode(x.double()).dtype == torch.float64
    assert codec.to("meta").encode(x.to("meta")).device.type == "meta"


def test_shapes_are_known_without_values(folder: Path) -> None:
    with torch.device("meta"):
        assert make(folder).reconstruct(torch.empty(2, 3, 8, 12)).shape == (2, 3, 8, 12)


def test_files_of_other_kinds_and_names(copied: Path, tmp_path: Path) -> None:
    x, state = pictures(), state_of(copied)
    expected = make(copied).encode(x)
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, old in former.items():
        state = {name.replace(f".{new}.", f".{old}."): value for name, value in state.items()}
    torch.save(state, tmp_path / "vae.bin")
    assert torch.equal(make(tmp_path / "vae.bin", config=copied / "config.json").encode(x), expected)
    (copied / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(state, copied / "diffusion_pytorch_model.bin")
    assert torch.equal(make(copied).encode(x), expected)


# --- identity ----------------------------------------------------------------------------


def test_weights_are_known_by_their_content(copied: Path, folder: Path) -> None:
    first, second = (AutoencoderKLConfig(weights=path) for path in (copied, folder))
    assert first.digest == second.digest
    assert len(first.digest) == 32
    assert AutoencoderKLConfig.without_effect == {"weights", "config"}
    read = AutoencoderKLConfig.model_validate(first.model_dump(mode="json"))
    assert read == first


def test_other_weights_than_before_are_refused(copied: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    config = AutoencoderKLConfig(weights=copied)
    state = {name: value + 1 for name, value in state_of(copied).items()}
    save_file(state, copied / "diffusion_pytorch_model.safetensors")
    with pytest.raises(ComponentError) as error:
        AutoencoderKL(config, CONTEXT)
    now = AutoencoderKLConfig(weights=copied).digest
    assert str(error.value) == (
        f"the weights in {copied} are others by now: {now}, and were {config.digest}; "
        "name the right file, or leave 'digest' out"
    )


# --- messages ----------------------------------------------------------------------------


def refused(path: Path, size: tuple[int, int] = (8, 12), channels: int = 3, **settings: Any) -> str:
    context = CodecContext(image_size=size, image_channels=channels)
    with pytest.raises(ComponentError) as error:
        AutoencoderKL(AutoencoderKLConfig(weights=path, **settings), context)
    assert error.value.field == (None if size != (8, 12) else "weights")
    return str(error.value)


def test_images_that_do_not_fit(folder: Path) -> None:
    assert refused(folder, size=(8, 13)) == "images must have sides that are multiples of 2, not 8x13"
    assert refused(folder, channels=1) == "its network takes images of 3 channels, not 1"


def test_files_that_are_not_there(copied: Path, tmp_path: Path) -> None:
    gone = tmp_path / "none" / "vae.bin"
    assert refused(gone) == (
        f"{gone} does not exist; name a folder of diffusers with Stable Diffusion's autoencoder, such as its folder "
        "'vae', with config.json and diffusion_pytorch_model.safetensors"
    )
    assert refused(gone, config=copied / "config.json") == f"weights file {gone} does not exist"
    expected = "does not exist; name the network's config.json with 'config', or a whole folder"
    assert refused(tmp_path) == f"{tmp_path / 'config.json'} {expected}"
    (copied / "diffusion_pytorch_model.safetensors").unlink()
    assert refused(copied) == f"weights file {copied}/diffusion_pytorch_model.safetensors does not exist"


def test_files_that_are_no_weights(copied: Path, tmp_path: Path) -> None:
    for name in ("vae.bin", "vae.safetensors"):
        path = tmp_path / name
        path.write_text("<html>not found</html>")
        found = refused(path, config=copied / "config.json")
        assert found == f"weights file {path} cannot be read as weights"
    torch.save([1, 2], tmp_path / "vae.bin")
    found = refused(tmp_path / "vae.bin", config=copied / "config.json")
    assert found == f"weights file {tmp_path / 'vae.bin'} holds no weights by name"


def test_weights_of_another_network(copied: Path) -> None:
    config, weights = copied / "config.json", copied / "diffusion_pytorch_model.safetensors"
    facts = json.loads(config.read_text())
    config.write_text(json.dumps({**facts, "latent_channels": 4}))
    assert refused(copied).startswith(f"weights file {weights} does not fit {config}: Error(s) in loading")
    config.write_text(json.dumps({**facts, "norm_num_groups": 3}))
    assert refused(copied).startswith(f"weights file {weights} does not fit {config}: ")
    config.write_text(json.dumps({**facts, "_class_name": "VQModel"}))
    assert refused(copied) == f"{config} describes no AutoencoderKL, but VQModel"
    config.write_text("[]")
    assert refused(copied) == f"{config} describes no AutoencoderKL, but nothing"
    config.write_text("{")
    assert refused(copied).startswith(f"{config} cannot be read as JSON: ")


@pytest.mark.parametrize("scaling", [0, -1])
def test_a_factor_that_loses_the_latents(folder: Path, scaling: float) -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        AutoencoderKLConfig(weights=folder, scaling=scaling)
