"""One random stream an image for parts that take whole batches: nothing depends on the rest of a batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor

T = TypeVar("T")
Noise = Generator | Sequence[Generator] | None
"""Where random draws come from: one stream for the batch, one for each image, or torch's own."""


def with_noise(call: Callable[..., T], noise: Noise, *inputs: Any) -> T:
    """Call a part of a model, `call(*inputs, generator=...)`, with the noise of a batch.

    With one stream, as in training, the part is called once. With one for each image the whole batch is
    tried with the first: a part that leaves it as it was draws nothing. One that draws is called again for
    each image alone, with the image's own stream, so that its result is the same in every batch.

    Args:
        call: returns a tensor, or a dataclass of tensors, whose first axis is that of the images.
        noise: one stream, or as many as there are images; those go on where the part leaves them.
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


def row(value: Any, index: int) -> Any:
    """Return what belongs to one image, the first axis kept."""
    if isinstance(value, Tensor):
        return value[index : index + 1] if value.dim() else value
    return _within(value, lambda parts: row(parts[0], index), [value])


def join(several: Sequence[Any]) -> Any:
    """Put the results of single images together; numbers for the whole batch become their mean."""
    first = several[0]
    if isinstance(first, Tensor):
        return torch.cat(list(several)) if first.dim() else torch.stack(list(several)).mean()
    return _within(first, join, several)


def _within(first: Any, change: Callable[[Sequence[Any]], Any], several: Sequence[Any]) -> Any:
    """Change the values in mappings and dataclasses; whatever else there is stays as in the first."""
    if isinstance(first, Mapping):
        return {key: change([one[key] for one in several]) for key in first}
    if is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in fields(first) if field.init]
        return replace(first, **{name: change([getattr(one, name) for one in several]) for name in names})
    return first
