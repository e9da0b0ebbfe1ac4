"""Networks that compute features of images: Inception as clean-fid uses it, and any TorchScript file.

Nothing is downloaded: an error names the missing file and the place where it belongs.
"""

import hashlib
import os
import platform
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.system.cores import cores
from slotlab.registry import SlotlabError
from slotlab.registry.errors import describe

INCEPTION = "inception-2015-12-05.pt"
INCEPTION_URL = f"https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/{INCEPTION}"


class Extractor(Protocol):
    """Uint8 images (B, 3, H, W) to float32 features (B, D) on the CPU, independently for each image."""

    @property
    def name(self) -> str:
        """The name in results."""

    def lacking(self) -> str | None:
        """Return a message about what is missing; None if nothing is."""

    def identity(self) -> str:
        """Return a text that identifies the features: another one if the same images have other features."""

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """Return the features."""


def inception_folder() -> Path:
    """Return the folder in which clean-fid keeps the weights of Inception."""
    return Path("." if platform.system() == "Windows" else "/tmp")


@dataclass
class CleanInception:
    """Inception v3 of 2015 with clean-fid's resizing (mode `clean`): the features of its FID.

    Source: Parmar et al. 2022. Pictures are resized to 299x299 by PIL, bicubic with antialiasing, one
    floating-point channel at a time and without rounding; the network receives (x - 128) / 128.
    """

    weights: Path | None
    """The file or its folder; None for clean-fid's own folder."""
    device: torch.device
    _network: nn.Module | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """The name in results."""
        return "inception_v3 (clean-fid, mode clean)"

    @property
    def path(self) -> Path:
        """The file of weights."""
        place = self.weights or inception_folder()
        return place if place.name == INCEPTION else place / INCEPTION

    def lacking(self) -> str | None:
        """Return a message about where the weights belong; None if they are there."""
        if self.path.is_file():
            return None
        other = "" if self.weights else ", or say where it is with the metric's setting 'weights'"
        return f"there is no {self.path}; get the file from {INCEPTION_URL} and put it there{other}"

    def identity(self) -> str:
        """Return a text with the resizing and a hash of the weights."""
        return f"cleanfid-clean-{file_hash(self.path)}"

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """Return features (B, 2048).

        Raises:
            SlotlabError: if the weights are missing or are not those of Inception.
        """
        from cleanfid.resize import build_resizer

        if self._network is None:
            self._network = self._open()
        resize = build_resizer("clean")
        pictures_BHWC = images_BCHW.permute(0, 2, 3, 1).cpu().numpy()
        with ThreadPoolExecutor(cores()) as pool:  # PIL releases Python's lock
            resized_BHWC = np.stack(list(pool.map(resize, pictures_BHWC)))
        inputs_BCHW = torch.from_numpy(resized_BHWC).permute(0, 3, 1, 2).to(self.device)
        return features_by(self._network, inputs_BCHW, self.path)

    def _open(self) -> nn.Module:
        from cleanfid.inception_torchscript import InceptionV3W

        refuse(self.lacking())
        refuse(None if self.weights else foreign(self.path))
        try:
            with quiet_script():
                network: nn.Module = InceptionV3W(str(self.path.parent), download=False)
        except Exception as error:  # torch raises RuntimeError, AttributeError without its layers
            text = "is not clean-fid's Inception, or is damaged"
            raise SlotlabError(f"{self.path} {text}: {describe(error)}") from error
        return network.to(self.device).eval()


@dataclass
class ScriptExtractor:
    """A network in a TorchScript file, which receives images of one size in its own value range."""

    weights: Path
    size: int
    mean: Sequence[float]
    std: Sequence[float]
    device: torch.device
    _network: nn.Module | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """The name in results, from the file."""
        return f"torchscript {self.weights.name}"

    def lacking(self) -> str | None:
        """Return a message that the file is missing; None if it is there."""
        return None if self.weights.is_file() else f"there is no {self.weights}"

    def identity(self) -> str:
        """Return a text with a hash of the network and its input settings."""
        return f"torchscript-{file_hash(self.weights)}-{self.size}-{list(self.mean)}-{list(self.std)}"

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """Return features.

        Raises:
            SlotlabError: if the file is missing, is not TorchScript or gives no features.
        """
        if self._network is None:
            refuse(self.lacking())
            try:
                with quiet_script():
                    load: Any = torch.jit.load
                    self._network = load(str(self.weights), map_location=self.device).eval()
            except Exception as error:
                raise SlotlabError(f"{self.weights} is no TorchScript file: {describe(error)}") from error
        inputs_BCHW = prepared(images_BCHW.to(self.device), self.size, self.mean, self.std)
        return features_by(self._network, inputs_BCHW, self.weights)


def prepared(images_BCHW: Tensor, size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Scale uint8 images to [0, 1], resize them (bicubic, antialiased) to a side, and normalize."""
    unit_BCHW = images_BCHW.float() / 255
    if tuple(unit_BCHW.shape[2:]) != (size, size):
        unit_BCHW = F.interpolate(
            unit_BCHW, (size, size), mode="bicubic", align_corners=False, antialias=True
        ).clamp(0, 1)
    mean_C11 = torch.tensor(list(mean), device=unit_BCHW.device)[:, None, None]
    return (unit_BCHW - mean_C11) / torch.tensor(list(std), device=unit_BCHW.device)[:, None, None]


@torch.no_grad()
def features_by(network: nn.Module, inputs_BCHW: Tensor, path: Path) -> Tensor:
    """Return the features that a network gives, as float32 (B, D) on the CPU.

    Raises:
        SlotlabError: if the network fails, or gives something other than features.
    """
    try:
        found: Any = network(inputs_BCHW)
    except Exception as error:
        shape = "x".join(map(str, inputs_BCHW.shape[1:]))
        raise SlotlabError(f"the network in {path} fails on images of {shape}: {describe(error)}") from error
    if not isinstance(found, Tensor) or found.shape[0] != len(inputs_BCHW):
        given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        wanted = f"one row of features for each of {len(inputs_BCHW)} images"
        raise SlotlabError(f"the network in {path} gives {given}, not {wanted}")
    return found.flatten(1).float().cpu()


def owners() -> tuple[int, ...]:
    """Return the ids of users whose files may be run: this user and root (0 without user ids)."""
    return (0, os.getuid()) if hasattr(os, "getuid") else (0,)


def foreign(path: Path) -> str | None:
    """Return a message if a file, in a folder that everybody may write to, is another user's."""
    owner = path.stat().st_uid
    if owner in owners():
        return None
    where = f"{path} belongs to another user (number {owner}), and reading it runs it as a program"
    return f"{where}; say with the metric's setting 'weights' which file to use, if need be this one"


@contextmanager
def quiet_script() -> Iterator[None]:
    """Suppress torch's warning that TorchScript is deprecated: the weights come in no other form."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit")
        yield


def file_hash(path: Path) -> str:
    """Return sixteen hexadecimal digits of the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def refuse(reason: str | None) -> None:
    """Raise the reason as an error, if there is one."""
    if reason is not None:
        raise SlotlabError(reason)
