"""Pass clips through a model with dynamics part by part, and compare each part with its promises."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from slotlab.framework.contracts import Slots, Trial
from slotlab.framework.contracts.promises import check_sums, expect_foretold
from slotlab.framework.model.clip_time import by_clip, span_of
from slotlab.framework.model.slot_trial import has_weights
from slotlab.registry import ComponentError

if TYPE_CHECKING:
    from slotlab.framework.model.dynamics_model import DynamicsModel


@dataclass
class DynamicsTrial:
    """One pass; the trial knows the clips and where in the spec the pass is."""

    trial: Trial
    model: "DynamicsModel"

    def through(self) -> None:
        """Pass clips through, as in training and then as in evaluation."""
        trial, model = self.trial, self.model
        steps = self.steps()
        seen_BTKD = self.observe(None)
        trial.at("model", "dynamics", part=model.dynamics)
        foretold_BTKD = self.foretell(model.dynamics, seen_BTKD, steps)
        self.check_weights(foretold_BTKD)
        for index, baseline in enumerate(model.beside.values()):
            trial.at("model", "baselines", index, part=baseline)
            self.foretell(baseline, seen_BTKD, steps)
        self.paint(foretold_BTKD[:, 0])
        number = trial.other_num_slots
        if number is not None and not model.fixed_num_slots:
            others_BTKD = self.observe(number)
            trial.at("model", "dynamics")
            self.foretell(model.dynamics, others_BTKD, steps)

    def steps(self) -> int:
        """Return how many frames of the clips are foretold; refuse clips without any."""
        frames, history = self.trial.frames, self.model.settings.history
        self.trial.at("model", "history")
        if frames <= history:
            raise ComponentError(too_short(frames, history))
        return frames - history

    def observe(self, number: int | None) -> Tensor:
        """Return the slots of the first frames, perhaps another number; refuse what is more than vectors."""
        trial, model = self.trial, self.model
        trial.at("model", "source")
        history, clips = model.settings.history, len(trial.images_BCHW) // trial.frames
        seen_BCHW = span_of(trial.images_BCHW, trial.frames, slice(0, history))
        assert seen_BCHW is not None
        told = model.slot_source.words(history, self.nothing(clips), trial.stream())
        found = model.parent.find_slots(seen_BCHW, num_slots=number, **told)
        if found.slots.extras:
            names = ", ".join(sorted(found.slots.extras))
            text = f"the slots of its run are more than vectors ({names}), which dynamics do not foretell"
            raise ComponentError(f"{text}; take a run without that")
        trial.look(found.slots.vectors_BKD, "the slots of its run")
        return by_clip(found.slots.vectors_BKD.detach(), clips)

    def nothing(self, clips: int) -> Tensor:
        """Return masks of first frames without objects, for a run that is told of these."""
        return self.trial.images_BCHW.new_zeros((clips, *self.trial.image_size), dtype=torch.int64)

    def foretell(self, dynamics: nn.Module, seen_BTKD: Tensor, steps: int) -> Tensor:
        """Check the present dynamics, and return the slots that they foretell."""
        foretold_BTKD: Tensor = dynamics(seen_BTKD, steps)
        expect_foretold(foretold_BTKD, seen_BTKD, steps)
        self.trial.look(foretold_BTKD, "the foretold slots")
        return foretold_BTKD

    def check_weights(self, foretold_BTKD: Tensor) -> None:
        """Refuse dynamics without weights, and without a gradient."""
        if not has_weights(self.model.dynamics):
            text = "has no weights: there is nothing to train; take others, such as slotformer, and name this"
            raise ComponentError(f"{text} under 'baselines', so that an evaluation measures it beside them")
        if not foretold_BTKD.requires_grad:
            raise ComponentError("the foretold slots have no gradient: its weights would never be trained")

    def paint(self, slots_BKD: Tensor) -> None:
        """Check that foretold slots can be decoded, and that what the evaluation scores is there."""
        trial = self.trial
        if not trial.scores_decoder:
            trial.at("evaluation", "mask_source")
            raise ComponentError("foretold frames have no attention; write 'mask_source: decoder'")
        trial.at("model", "source")
        painted = self.model.paint(Slots(slots_BKD), generator=trial.stream())
        trial.look(painted.prediction_BCHW, "what its run decodes foretold slots to")
        if trial.values and painted.masks_BKHW is not None:
            check_sums(painted.masks_BKHW, "its masks")


def too_short(frames: int, history: int) -> str:
    """Say that clips leave nothing to foretell."""
    clips = "single pictures leave" if frames == 1 else f"clips of {frames} frames leave"
    hint = f"{history + 1} frames or more ('data.clip', 'evaluation.clip_frames'), or a shorter history"
    return f"{clips} nothing to foretell after a history of {history}; take {hint}"
