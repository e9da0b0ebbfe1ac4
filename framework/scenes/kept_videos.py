"""Videos that are drawn when they are first asked for, and kept on their device."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.scenes.videos import Course, Videos

MEMORY = {"cpu": 2 * 2**30, "cuda": 8 * 2**30}
"""The bytes of images and masks that are kept on each kind of device; other videos are drawn each time."""


@dataclass(frozen=True)
class KeptVideo:
    """A video: images uint8 (T, 3, H, W), masks uint8 (T, H, W), the frames' metadata, and the course."""

    images_TCHW: Tensor
    masks_THW: Tensor
    attributes: tuple[Mapping[str, Any], ...]
    course: Course


@dataclass
class KeptVideos:
    """Videos by number, on each device as many as fit; of others those of the last call, for its next frames.

    A pickled copy is empty: a worker draws its own, which are the same.
    """

    draw: Callable[[Sequence[int], torch.device], Videos]
    """Draws videos by their numbers, on a device."""
    pixels: int
    """The number of pixels of a video; each takes 4 bytes."""
    _kept: dict[str, dict[int, KeptVideo]] = field(default_factory=dict, repr=False)
    _last: dict[str, dict[int, KeptVideo]] = field(default_factory=dict, repr=False)

    def get(self, numbers: Sequence[int], device: torch.device) -> dict[int, KeptVideo]:
        """Return videos on a device; those that are not there are drawn together."""
        kept = self._kept.setdefault(str(device), {})
        there = {**self._last.get(str(device), {}), **kept}
        missing = [number for number in dict.fromkeys(numbers) if number not in there]
        if missing:
            made = dict(zip(missing, self._make(missing, device), strict=True))
            limit = MEMORY.get(device.type, MEMORY["cuda"]) // (4 * self.pixels)
            room = max(limit - len(kept), 0)
            kept.update(list(made.items())[:room])
            self._last[str(device)] = dict(list(made.items())[room:])
            there |= made
        return {number: there[number] for number in numbers}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the kept videos."""
        return {**self.__dict__, "_kept": {}, "_last": {}}

    def _make(self, numbers: Sequence[int], device: torch.device) -> list[KeptVideo]:
        videos = self.draw(numbers, device)
        # Copies, so that no video kept holds the memory of those made with it.
        found = zip(videos.images_BTHWC, videos.masks_BTHW, videos.attributes, videos.courses, strict=True)
        return [
            KeptVideo(images.permute(0, 3, 1, 2).contiguous(), masks.clone(), facts, course)
            for images, masks, facts, course in found
        ]
