"""The variational autoencoder of Stable Diffusion, frozen, from a file on disk.

Source: Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models". Its latents are
what LSD (Jiang et al. 2023) diffuses. The network is `AutoencoderKL` of the package diffusers
(`pip install 'slotlab[diffusers]'`), of which nothing else is used; nothing is downloaded.

Latents are the mean of the encoder's distribution times `scaling`. LSD draws from the distribution instead,
anew in each step. A codec draws nothing when it encodes, so that an image has one latent: no setting draws.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import PositiveFloat, model_validator
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import CodecContext, Losses, TargetShape
from slotlab.framework.model.held import Held
from slotlab.framework.model.value_range import SIGNED, rescale
from slotlab.framework.model.weights_file import read_weights
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.optional import require

NAMES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
"""Files of weights in a folder of diffusers."""
NEEDED = (
    "name a folder of diffusers with Stable Diffusion's autoencoder, such as its folder 'vae', with "
    f"config.json and {NAMES[0]}"
)
"""What to give where there is nothing."""
FORMER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of the attention's maps in older files, such as Stable Diffusion's, and their names now."""


class AutoencoderKLConfig(ComponentConfig):
    """Settings of Stable Diffusion's autoencoder."""

    without_effect: ClassVar = frozenset({"weights", "config"})
    """Settings that are not part of a run's identity: where the weights lie. `digest` is."""
    weights: SpecPath
    """A folder of diffusers (`config.json` and `diffusion_pytorch_model.safetensors` or `.bin`), or a file of
    weights (.safetensors, or .bin, read without executing code)."""
    config: SpecPath | None = None
    """The network's `config.json`; null for the one beside the weights."""
    scaling: PositiveFloat = 0.18215
    """Factor on the latents, which gives Stable Diffusion's a deviation of about one; for other weights it is
    `scaling_factor` in their config.json."""
    digest: str = ""
    """Hash of the weights and of config.json; found by itself. A checkpoint does not hold these weights, and
    others are refused where it is used."""

    @model_validator(mode="after")
    def _identified(self) -> "AutoencoderKLConfig":
        if self.digest == "" and self.file.is_file() and self.network.is_file():
            object.__setattr__(self, "digest", digest_of(self.file, self.network))
        return self

    @property
    def file(self) -> Path:
        """The file of weights."""
        found = (self.weights / name for name in NAMES if (self.weights / name).is_file())
        return next(found, self.weights / NAMES[0]) if self.weights.is_dir() else self.weights

    @property
    def network(self) -> Path:
        """The file that describes the network."""
        return self.file.with_name("config.json") if self.config is None else self.config


class AutoencoderKL(nn.Module):
    """Images (B, 3, H, W) to latents (B, C, H / f, W / f) and back; C is 4 and f 8 in Stable Diffusion."""

    own_weights = True

    def __init__(self, config: AutoencoderKLConfig, context: CodecContext):
        super().__init__()
        require("diffusers", "slotlab[diffusers]")
        if not config.network.is_file() and not config.weights.exists():
            raise ComponentError(f"{config.weights} does not exist; {NEEDED}", field="weights")
        facts = read_facts(config.network)
        network = load_network(config, facts)
        self.scaling, self.value_range = config.scaling, context.value_range
        factor = 1 << len(network.config["block_out_channels"]) - 1
        rows, columns = context.image_size
        if rows % factor or columns % factor:
            text = f"images must have sides that are multiples of {factor}, not {rows}x{columns}"
            raise ComponentError(text)
        if network.config["in_channels"] != context.image_channels:
            text = f"its network takes images of {network.config['in_channels']} channels"
            raise ComponentError(f"{text}, not {context.image_channels}", field="weights")
        size = (rows // factor, columns // factor)
        self.latent_shape = TargetShape(network.config["latent_channels"], size)
        self.network = Held(network)

    def encode(self, images_BCHW: Tensor) -> Tensor:
        """Return the means of the latents, times `scaling`: (B, *latent_shape)."""
        signed_BCHW = rescale(images_BCHW, self.value_range, SIGNED)
        mean_BCHW: Tensor = self.network.module.encode(signed_BCHW).latent_dist.mean
        return mean_BCHW * self.scaling

    def decode(self, latents_BCHW: Tensor) -> Tensor:
        """Return images (B, 3, H, W) of latents."""
        return rescale(
            self.network.module.decode(latents_BCHW / self.scaling).sample, SIGNED, self.value_range
        )

    def reconstruct(self, images_BCHW: Tensor) -> Tensor:
        """Return images as they come back from the means of their latents."""
        return self.decode(self.encode(images_BCHW))

    def losses(self, images_BCHW: Tensor, *, generator: Generator | None = None) -> Losses:
        """Return the mean squared error of the reconstruction in [-1, 1]; it has nothing to train."""
        made_BCHW = rescale(self.reconstruct(images_BCHW), self.value_range, SIGNED)
        error = F.mse_loss(made_BCHW, rescale(images_BCHW, self.value_range, SIGNED))
        return Losses(error, {"reconstruction": error})


def digest_of(*files: Path) -> str:
    """Return 32 hexadecimal digits for the content of files, whatever they are called."""
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def read_facts(path: Path) -> dict[str, Any]:
    """Return what config.json says of the network.

    Raises:
        ComponentError: if there is none, or it describes something else.
    """
    if not path.is_file():
        text = f"{path} does not exist; name the network's config.json with 'config', or a whole folder"
        raise ComponentError(text, field="weights")
    try:
        facts = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise ComponentError(f"{path} cannot be read as JSON: {error}", field="weights") from error
    kind = facts.get("_class_name") if isinstance(facts, dict) else None
    if not isinstance(facts, dict) or kind != "AutoencoderKL":
        raise ComponentError(f"{path} describes no AutoencoderKL, but {kind or 'nothing'}", field="weights")
    return facts


def load_network(config: AutoencoderKLConfig, facts: Mapping[str, Any]) -> Any:
    """Return the network with the weights of the file, frozen, on torch's default device.

    Raises:
        ComponentError: if the file does not hold the network's weights, or they are others than before.
    """
    import diffusers  # slow to import

    kind: Any = diffusers.AutoencoderKL
    state = read_weights(config.file, field="weights")
    found = digest_of(config.file, config.network)
    if config.digest not in ("", found):
        text = f"the weights in {config.weights} are others by now: {found}, and were {config.digest}"
        raise ComponentError(f"{text}; name the right file, or leave 'digest' out", field="weights")
    try:
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            network = kind.from_config(dict(facts))
        network.load_state_dict({present_name(name): value.float() for name, value in state.items()})
    except Exception as error:  # diffusers raises many kinds for settings that do not fit
        lines = str(error).splitlines()
        text = f"weights file {config.file} does not fit {config.network}"
        raise ComponentError(f"{text}: {' '.join(lines[:2])}", field="weights") from error
    return network.eval().requires_grad_(False).to(torch.get_default_device())


def present_name(name: str) -> str:
    """Return a weight's name as diffusers has it now."""
    place, _, rest = name.rpartition(".attentions.")
    words = rest.split(".")
    if place and len(words) == 3 and words[1] in FORMER:
        return f"{place}.attentions.{words[0]}.{FORMER[words[1]]}.{words[2]}"
    return name


@hookimpl
def slotlab_codecs() -> Iterable[Component[AutoencoderKLConfig]]:
    """Provide `autoencoder_kl`."""
    yield Component(
        name="autoencoder_kl",
        config=AutoencoderKLConfig,
        build=AutoencoderKL,
        summary="Stable Diffusion's autoencoder from a file, frozen (through diffusers)",
        install="slotlab[diffusers]",
    )
