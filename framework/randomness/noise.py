"""One random stream per image for parts that take whole batches: no image depends on its batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor

from slotlab.framework.contracts import RandomSource

T = TypeVar("T")


def with_noise(call: Callable[..., T], noise: RandomSource, *inputs: Any) -> T:
    """Call a part of a model, `call(*inputs, generator=...)`, with the random source of a batch.

    With one stream, as in training, the part is called once. With one per image the part is first called for
    the whole batch with the first stream: if the stream is unchanged, the part draws nothing. A part that
    draws is called again for each image alone, with the image's own stream, so that its result is the same in
    every batch.

    Args:
        call: returns a tensor, or a dataclass of tensors, whose first axis is that of the images.
        noise: one stream, or as many as there are images; their states advance by what the part draws.
        inputs: tensors, dataclasses of tensors (`Slots`), or None.
    """
    if not isinstance(noise, Sequence):
        return call(*inputs, generator=noise)
    before = noise[0].get_state()
    found = call(*inputs, generator=noise[0])
    if len(noise) == 1 or torch.equal(noise[0].get_state(), before):
        return found
    noise[0].set_state(before)
    alone = [call(*(row(value, i) for value in inputs), generator=one) for i, one in enumerate(noise)]
    joined: T = join(alone)
    return joined


def copied(noise: RandomSource) -> RandomSource:
    """Return streams that make the same draws, and leave the given ones as they are."""
    if noise is None or isinstance(noise, Generator):
        return None if noise is None else noise.clone_state()
    return [one.clone_state() for one in noise]


def row(value: Any, index: int) -> Any:
    """Return what belongs to one image, with a first axis of length 1."""
    if isinstance(value, Tensor):
        return value[index : index + 1] if value.dim() else value
    return within(value, lambda parts: row(parts[0], index), [value])


def join(several: Sequence[Any]) -> Any:
    """Concatenate the results of single images; scalars for a whole batch become their mean."""
    first = several[0]
    if isinstance(first, Tensor):
        return torch.cat(list(several)) if first.dim() else torch.stack(list(several)).mean()
    return within(first, join, several)


def within(first: Any, change: Callable[[Sequence[Any]], Any], several: Sequence[Any]) -> Any:
    """Apply `change` to the values of mappings and dataclasses; anything else is taken from the first."""
    if isinstance(first, Mapping):
        return {key: change([one[key] for one in several]) for key in first}
    if is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in fields(first) if field.init]
        return replace(first, **{name: change([getattr(one, name) for one in several]) for name in names})
    return first
