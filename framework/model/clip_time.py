"""The frames of clips: cut out of a batch, and put together again in the order of time."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from slotlab.framework.contracts import RandomSource
from slotlab.framework.randomness.noise import within


def in_time(several: Sequence[Any], clips: int) -> Any:
    """Join what was computed of the same clips for spans of frames, one after the other.

    Args:
        several: dataclasses or mappings of tensors (clips x frames, ...), clip after clip, or tensors; what
            is no tensor is taken from the first.
        clips: how many there are.
    """
    first = several[0]
    if len(several) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat([by_clip(one, clips) for one in several], dim=1).flatten(0, 1)
    if isinstance(first, Mapping):  # of what belongs to slots, some may come with later frames alone
        names = [name for name in first if all(name in one for one in several)]
        return {name: in_time([one[name] for one in several], clips) for name in names}
    return within(first, partial(in_time, clips=clips), several)


def by_clip(found: Tensor, clips: int) -> Tensor:
    """Return (clips x frames, ...), clip after clip, as (clips, frames, ...)."""
    return found.reshape(clips, len(found) // clips, *found.shape[1:])


def span_of(found: Tensor | None, frames: int, span: slice) -> Tensor | None:
    """Return a span of the frames of clips, (clips x frames, ...), clip after clip."""
    return None if found is None else by_clip(found, len(found) // frames)[:, span].flatten(0, 1)


def frame_streams(noise: RandomSource, frames: int) -> RandomSource:
    """Return a stream for each frame where there is one for each clip; any other source as it is.

    Each is seeded by a draw from its clip's stream, so that a frame's draws depend on no other frame's.
    """
    if noise is None or isinstance(noise, Generator):
        return noise
    return [seeded_by(one) for one in noise for _ in range(frames)]


def seeded_by(stream: Generator) -> Generator:
    """Return a new stream, whose seed is the next draw of another one."""
    seed = torch.randint(2**62, (1,), generator=stream, device=stream.device)
    return Generator(stream.device).manual_seed(int(seed))
