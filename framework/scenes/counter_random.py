"""Counter-based random numbers: pure functions of a key, a stream and a position in the stream.

Keys are hashes of seed, split, index and attempt, so that a picture does not depend on the others in its
batch. The hash is the finalizer of splitmix64 (Steele et al. 2014, "Fast splittable pseudorandom number
generators") in wrapping int64 arithmetic, which gives the same bits on every device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def signed(value: int) -> int:
    """Return the int64 with the low 64 bits of `value`."""
    return (value + 2**63) % 2**64 - 2**63


def mix(values: Tensor) -> Tensor:
    """Return int64 hashes of int64 `values`, of any shape."""
    values = (values ^ _shifted(values, 30)) * signed(_FACTORS[0])
    values = (values ^ _shifted(values, 27)) * signed(_FACTORS[1])
    return values ^ _shifted(values, 31)


def chain(keys_B: Tensor, values_B: Tensor) -> Tensor:
    """Return keys that depend on `keys_B` and on `values_B`, both int64."""
    return mix(keys_B + mix(values_B * signed(_GOLDEN) + 1))


def picture_keys(seed: int, split: int, indices_B: Tensor) -> Tensor:
    """Return a key for each picture, int64 of shape (B,)."""
    keys_B = torch.full_like(indices_B, signed(seed))
    for values_B in (torch.full_like(indices_B, signed(split)), indices_B):
        keys_B = chain(keys_B, values_B)
    return keys_B


@dataclass(frozen=True)
class Chance:
    """Random draws for B pictures. Every use has its own stream, a small integer."""

    keys_B: Tensor

    def uniform(self, stream: int, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return float32 of shape (B, *shape), uniform in [low, high): multiples of 2**-24, scaled."""
        places = torch.arange(torch.Size(shape).numel(), device=self.keys_B.device)
        steps = (places + (stream + 1) * 2**32) * signed(_GOLDEN)
        bits = mix(self.keys_B[:, None] + steps)
        unit = _shifted(bits, 40).float() * 2**-24
        return low + (high - low) * unit.reshape(-1, *shape)

    def choice(self, stream: int, options: int, *shape: int) -> Tensor:
        """Return int64 of shape (B, *shape), uniform in 0 to options - 1."""
        return (self.uniform(stream, *shape) * options).long()


def _shifted(values: Tensor, bits: int) -> Tensor:
    # A logical shift to the right: the shift of int64 copies the sign.
    shifted: Tensor = (values >> bits) & (2 ** (64 - bits) - 1)
    return shifted
