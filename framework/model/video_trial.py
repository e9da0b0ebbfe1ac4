"""Pass two images through a slot model of clips, each as a clip of two frames that are alike."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slotlab.framework.contracts import Grouped, Slots
from slotlab.framework.contracts.promises import expect_predicted, expect_state
from slotlab.framework.model.cues import WIDTHS
from slotlab.framework.model.slot_trial import SlotTrial, has_weights
from slotlab.registry import ComponentError

if TYPE_CHECKING:
    from slotlab.framework.model.video_model import VideoModel


@dataclass
class VideoTrial(SlotTrial):
    """One pass; what is found in the second frame is decoded, so that all parts are seen."""

    model: "VideoModel"

    def told(self, tokens_BND: Tensor, slots: int) -> dict[str, Tensor]:
        """Return cues of boxes, or centers, that lie nowhere in particular."""
        if self.model.told is None:
            return {}
        number = len(tokens_BND) * slots * WIDTHS[self.model.told]
        numbers = torch.linspace(0, 1, number, device=tokens_BND.device)
        return {"cues_BKC": numbers.reshape(len(tokens_BND), slots, -1)}

    def group(self, tokens_BND: Tensor, initial: Slots, **rounds: int) -> Grouped:
        """Check grouping, predictor and kernels over two frames, and return the second frame's slots."""
        found = super().group(tokens_BND, self.kernels(initial), **self.model.rounds(first=True))
        predicted = self.predict(found.slots)
        return super().group(tokens_BND, self.kernels(predicted), **self.model.rounds(first=False))

    def predict(self, slots: Slots) -> Slots:
        """Check the predictor, and return its slots."""
        trial, predictor = self.trial, self.model.predictor
        trial.at("model", "predictor", part=predictor)
        state = predictor.start(slots)
        expect_state(state, (self.images, slots.vectors_BKD.shape[1]))
        predicted = predictor(slots, state)
        expect_predicted(predicted, slots)
        found: Slots = predicted[0]
        trial.look(found.vectors_BKD, "the predicted slots")
        if has_weights(predictor) and not found.vectors_BKD.requires_grad:
            raise ComponentError("the predicted slots have no gradient: its weights would never be trained")
        return found

    def kernels(self, slots: Slots) -> Slots:
        """Check the kernels, and return what a frame's attention starts from."""
        if self.model.kernel is None:
            return slots
        self.trial.at("model", "kernel", part=self.model.kernel)
        start: Slots = self.model.kernel(slots, generator=self.trial.stream())
        self.trial.look(start.vectors_BKD, "the kernels")
        return Slots(start.vectors_BKD, slots.extras)
