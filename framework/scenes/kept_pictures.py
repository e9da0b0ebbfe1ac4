"""Pictures that are drawn when they are first asked for, and kept on their device."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import RawBatch, Sample, Size
from slotlab.framework.scenes.pictures import Pictures

MEMORY = {"cpu": 2 * 2**30, "cuda": 8 * 2**30}
"""The bytes of pictures that are kept on each kind of device; others are drawn each time."""
_TOGETHER = {"cpu": 2**18, "cuda": 2**22}
"""The number of pixels that are best drawn in one call, by kind of device."""
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class KeptPicture:
    """A picture: image uint8 (3, H, W), mask uint8 (H, W) and metadata."""

    image_CHW: Tensor
    mask_HW: Tensor
    attributes: Mapping[str, Any]


@dataclass
class KeptPictures:
    """Pictures by number, on each device as many as fit. A pickled copy is empty: a worker draws its own."""

    draw: Callable[[Sequence[int], torch.device], Pictures]
    """Draws pictures by their numbers, on a device."""
    name: Callable[[int], str]
    """The id of a picture."""
    size: Size
    keep: bool = True
    """Whether pictures are kept at all."""
    _kept: dict[str, dict[int, KeptPicture]] = field(default_factory=dict, repr=False)

    def sample(self, number: int) -> Sample:
        """Return a picture on the CPU, its mask as int64; its tensors are copies."""
        [kept] = self.get([number], _CPU)
        # Copied by NumPy: torch would start threads for it, which is slow while cores are busy.
        return Sample(
            id=self.name(number),
            image_CHW=torch.from_numpy(kept.image_CHW.numpy().copy()),
            mask_HW=torch.from_numpy(kept.mask_HW.numpy().astype("int64")),
            attributes=kept.attributes,
        )

    def batch(self, numbers: Sequence[int], device: torch.device, *, masks: bool) -> RawBatch:
        """Return pictures as one batch on `device`, masks as uint8; new ones are drawn together."""
        pictures = self.get(numbers, device)
        return RawBatch(
            images_BCHW=torch.stack([kept.image_CHW for kept in pictures]),
            masks_BHW=torch.stack([kept.mask_HW for kept in pictures]) if masks else None,
            ids=tuple(map(self.name, numbers)),
            attributes=tuple(kept.attributes for kept in pictures),
        )

    def at_a_time(self, device: torch.device) -> int:
        """Return how many pictures are best drawn together: a small one does not occupy a processor."""
        pixels = self.size[0] * self.size[1]
        return max(1, _TOGETHER.get(device.type, _TOGETHER["cuda"]) // pixels)

    def get(self, numbers: Sequence[int], device: torch.device) -> list[KeptPicture]:
        """Return pictures on a device; those that are not there are drawn together."""
        kept = self._kept.setdefault(str(device), {})
        missing = [number for number in dict.fromkeys(numbers) if number not in kept]
        made = dict(zip(missing, self._make(missing, device), strict=True)) if missing else {}
        if self.keep:
            pixels = self.size[0] * self.size[1]
            room = MEMORY.get(device.type, MEMORY["cuda"]) // (4 * pixels) - len(kept)
            kept.update(list(made.items())[: max(room, 0)])
        return [made[number] if number in made else kept[number] for number in numbers]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the kept pictures."""
        return {**self.__dict__, "_kept": {}}

    def _make(self, numbers: Sequence[int], device: torch.device) -> list[KeptPicture]:
        pictures = self.draw(numbers, device)
        # Copies, so that no picture kept holds the memory of those made with it.
        parts = zip(pictures.images_BHWC, pictures.masks_BHW, pictures.attributes(), strict=True)
        return [
            KeptPicture(image.permute(2, 0, 1).contiguous(), mask.clone(), facts)
            for image, mask, facts in parts
        ]
