"""How a frozen model finds the slots of clips, for a model that is trained on them. B clips, T frames."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from slotlab.framework.contracts import Batch, RandomSource
from slotlab.framework.model.clip_time import by_clip, frame_streams
from slotlab.framework.model.encoded import Encoded
from slotlab.framework.model.held import Held
from slotlab.framework.model.slot_model import SlotModel
from slotlab.framework.model.storables import weights_hash
from slotlab.framework.model.video_model import check_frames
from slotlab.framework.randomness.seeds import mix
from slotlab.framework.spec.identity import definition
from slotlab.framework.spec.schema import ExperimentSpec


@dataclass(frozen=True, kw_only=True)
class SlotsOfClips:
    """The frozen model of a run as a `contracts.SlotSource`."""

    source: Held
    """Holds it, so that copies of this share it."""
    trained_on: ExperimentSpec
    """Its run's spec."""
    run: str
    """Its run's folder, for messages."""
    once: bool = False
    """Whether what is drawn for a clip depends on the clip's id alone, and not on a training's stream."""

    @property
    def model(self) -> SlotModel:
        """The frozen model."""
        found: SlotModel = self.source.module
        return found

    @property
    def made_by(self) -> str:
        """The command that stores these slots."""
        return f"slotlab extract {self.run} --data SPEC"

    def facts(self) -> dict[str, Any]:
        """Return the model's component, settings and weights, its images' range, and what it is told."""
        ref = self.trained_on.model
        return {
            "component": ref.registered.identity,
            "settings": definition(ref)["settings"],
            "weights": weights_hash(self.model),
            "value_range": list(self.trained_on.data.bounds),
            "told": self.model.told,
        }

    @torch.no_grad()
    def draws(self, batch: Batch) -> bool:
        """Return whether finding the slots of these clips takes random numbers."""
        stream = Generator(batch.images_BCHW.device).manual_seed(0)
        before = stream.get_state()
        self.model.encode(batch.images_BCHW, **self.told(batch, stream))
        return not torch.equal(stream.get_state(), before)

    def find(self, batch: Batch, generator: RandomSource = None) -> Tensor:
        """Return the slots of all frames, float32 (B, T, K, D)."""
        return self.slots_in(self.encode(batch, generator), len(batch))

    @torch.no_grad()
    def encode(self, batch: Batch, generator: RandomSource = None) -> Encoded:
        """Return what the model finds in all frames, as in training."""
        check_frames(batch.images_BCHW, batch.frames)
        noise = streams_of(batch.ids, batch.images_BCHW.device) if self.once else generator
        return self.model.encode(batch.images_BCHW, **self.told(batch, noise))

    @staticmethod
    def slots_in(encoded: Encoded, clips: int) -> Tensor:
        """Return the slots of what was found, (B, T, K, D)."""
        return by_clip(encoded.grouped.slots.vectors_BKD, clips)

    def told(self, batch: Batch, generator: RandomSource) -> dict[str, Any]:
        """Return what the model is told of clips besides their images."""
        masks_BHW = None if self.model.told is None else batch.first_masks_BHW
        return self.words(batch.frames, masks_BHW, generator)

    def words(self, frames: int, first_masks_BHW: Tensor | None, generator: RandomSource) -> dict[str, Any]:
        """Return the same as arguments; a model of images sees each frame by itself, and is told less."""
        if not self.model.clips:
            return {"generator": frame_streams(generator, frames)}
        cued = {} if self.model.told is None else {"first_masks_BHW": first_masks_BHW}
        return {"frames": frames, "generator": generator, **cued}


def streams_of(ids: Sequence[str], device: torch.device) -> list[Generator]:
    """Return a stream for each clip by its id, that of its first frame."""
    numbers = [int.from_bytes(hashlib.blake2b(one.encode(), digest_size=7).digest(), "big") for one in ids]
    return [Generator(device).manual_seed(mix(0, number)) for number in numbers]
