"""Foretell the slots of a frozen model of a trained run: SlotFormer's second stage.

Source: Wu et al. 2023, "SlotFormer: Unsupervised Visual Dynamics Simulation with Object-Centric Models": the
frozen model finds the slots of the first frames of a clip, dynamics foretell those of all later frames from
their own predictions, and are trained by the squared error of slots, and by that of the images which the
frozen decoder makes of them.
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from annotated_types import Le
from pydantic import Field, NonNegativeFloat, PositiveInt, ValidationInfo, field_validator
from torch import nn

from slotlab.framework.contracts import DynamicsContext, ModelContext
from slotlab.framework.model.dynamics_model import DynamicsModel, DynamicsSettings
from slotlab.framework.model.held import Held
from slotlab.framework.model.slot_model import SlotModel
from slotlab.framework.model.slot_trial import has_weights
from slotlab.framework.model.slots_of_clips import SlotsOfClips
from slotlab.framework.model.trained_input import check_images, trained_model
from slotlab.framework.runs.run_input import RunInput
from slotlab.registry import Component, ComponentConfig, ComponentError, Ref, RefTo, hookimpl


class SlotDynamicsConfig(ComponentConfig):
    """A run with slots, and dynamics; the defaults are SlotFormer's for OBJ3D and CLEVRER.

    Measure it by `evaluation.from_frame`, of as many frames as the history: frames before are seen.
    """

    without_effect: ClassVar = frozenset({"baselines", "frames_at_once"})

    source: RunInput
    """The run whose slots are foretold, of `video_slots` or another model with slots; it stays as it is."""
    slots: PositiveInt
    """Number of slots: that of the run."""
    dynamics: Annotated[Ref, RefTo("dynamics")]
    """From the slots of the first frames to those of the others."""
    history: Annotated[PositiveInt, Le(1000)] = 6
    """How many frames of a clip are seen. In training all others of `data.clip` are foretold, in an
    evaluation all others of the video."""
    draws: Literal["each_step", "once"] = "each_step"
    """Of a run that draws as it finds slots, such as one with kernels or a Gaussian initializer: whether it
    draws anew at each step of the training, or once for each clip, as slots that were extracted have it
    (SlotFormer's)."""
    slot_loss: NonNegativeFloat = 1.0
    """Weight of the squared error of foretold slots, against those found in the same frames."""
    image_loss: NonNegativeFloat = 1.0
    """Weight of the run's own objective, such as the squared error of pixels, of what its frozen decoder
    makes of foretold slots."""
    teacher_forcing: bool = False
    """Foretell each frame of the training from slots that were found, not from the model's own predictions.
    With these it is worse (the paper's Table 7)."""
    baselines: tuple[Annotated[Ref, RefTo("dynamics")], ...] = Field(
        default=("repeat", "constant_velocity"), validate_default=True
    )
    """Dynamics without weights that evaluations measure beside the trained ones."""
    frames_at_once: PositiveInt = 6
    """How many foretold frames of a clip are decoded at a time where it is measured or shown, so that long
    ones fit into memory. It has no effect on results, but that longer clips come without each slot's own
    picture."""

    @field_validator("image_loss")
    @classmethod
    def _something_to_learn(cls, value: float, info: ValidationInfo) -> float:
        if value == 0 and info.data.get("slot_loss") == 0:
            raise ValueError("with this and slot_loss both 0 nothing would be learned")
        return value


def build(config: SlotDynamicsConfig, context: ModelContext) -> DynamicsModel | None:
    """Build the dynamics for the run's slots; None if a part fails."""
    spec, parent = trained_model(config.source, field="source")
    check_images(spec, context, who="its run", field="source")
    if not isinstance(parent, SlotModel):
        text = f"the model '{spec.model.name}' of its run is none with an encoder, slots and a decoder"
        raise ComponentError(f"{text}; take a run of one, such as video_slots", field="source")
    parts = context.parts
    if config.slots != parent.num_slots:
        found = parent.num_slots
        parts.mistake(f"its run has {found} slots, and not {config.slots}; write 'slots: {found}'", "slots")
    told = DynamicsContext(slot_dim=parent.slot_dim, num_slots=parent.num_slots, history=config.history)
    dynamics = parts.build(config.dynamics, told, "dynamics")
    baselines = build_baselines(config, context, told)
    if parts.failed:
        return None
    return DynamicsModel(
        observer=SlotsOfClips(
            source=Held(parent), trained_on=spec, run=str(config.source.run), once=config.draws == "once"
        ),
        dynamics=dynamics,
        settings=DynamicsSettings(
            history=config.history,
            slot_loss=config.slot_loss,
            image_loss=config.image_loss,
            teacher_forcing=config.teacher_forcing,
            frames_at_once=config.frames_at_once,
        ),
        baselines=baselines,
        names=context.names,
    )


def build_baselines(
    config: SlotDynamicsConfig, context: ModelContext, told: DynamicsContext
) -> dict[str, nn.Module]:
    """Build the dynamics without weights, by name."""
    found: dict[str, nn.Module] = {}
    for index, ref in enumerate(config.baselines):
        if ref.name in found:
            context.parts.mistake(f"the dynamics '{ref.name}' are given twice; keep one", "baselines", index)
        found[ref.name] = context.parts.build(ref, told, "baselines", index, check=is_weightless)
    return found


def is_weightless(built: nn.Module) -> None:
    """Refuse dynamics that would have to be trained."""
    if isinstance(built, nn.Module) and has_weights(built):
        raise ComponentError("has weights, which nothing would train here; name it under 'dynamics'")


@hookimpl
def slotlab_models() -> Iterable[Component[SlotDynamicsConfig]]:
    """Provide `slot_dynamics`."""
    yield Component(
        name="slot_dynamics",
        config=SlotDynamicsConfig,
        build=build,
        summary="foretells the slots of a frozen model over the frames of a clip (SlotFormer)",
    )
