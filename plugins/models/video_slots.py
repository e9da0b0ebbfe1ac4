"""Slots that follow objects through clips: SAVi, and what came of it.

Source: Kipf et al. 2022, "Conditional Object-Centric Learning from Video" (SAVi), without its conditions: the
first frame's slots are the initializer's. With `kernel` and the predictors of Wu et al. 2023 it is
SlotFormer's base model, deterministic or stochastic; with more iterations on the first frame, frozen features
and another decoder that of VideoSAUR (Zadaianchuk et al. 2023). The loss is the objective's, on all frames.
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar

from annotated_types import Le
from pydantic import PositiveInt
from torch import nn

from slotlab.framework.contracts import IteratesByCall, ModelContext, PredictorContext
from slotlab.framework.model.slot_kernel import KernelSpec, SlotKernel
from slotlab.framework.model.slot_parts import SlotModelConfig, build_slot_parts
from slotlab.framework.model.video_model import VideoModel
from slotlab.registry import Component, Ref, RefTo, hookimpl


class VideoSlotsConfig(SlotModelConfig):
    """Those of a slot autoencoder, and a predictor between the frames of a clip."""

    without_effect: ClassVar = frozenset({"frames_at_once"})

    predictor: Annotated[Ref, RefTo("predictor")]
    """From the slots of one frame to those that the next one starts from."""
    first_iterations: Annotated[PositiveInt, Le(100)] | None = None
    """Iterations of the grouping on the first frame of a clip; None for the grouping's own number."""
    iterations: Annotated[PositiveInt, Le(100)] | None = None
    """Iterations on all other frames; None for the grouping's own number."""
    kernel: KernelSpec | None = None
    """SlotFormer's kernels, made of the slots before each frame's attention; None for none."""
    frames_at_once: PositiveInt = 6
    """How many frames of a clip are encoded and decoded at a time where it is measured or shown, so that
    long ones fit into memory; slots are carried on. It has no effect on results, but that longer clips come
    without each slot's own picture."""


def build(config: VideoSlotsConfig, context: ModelContext) -> VideoModel | None:
    """Build all parts; None if one fails."""
    parts = build_slot_parts(config, context)
    told = PredictorContext(slot_dim=config.slot_dim, num_slots=config.slots, token_dim=config.token_dim)
    predictor = context.parts.build(config.predictor, told, "predictor", attributes=("start",))
    if parts is None:
        return None
    check_iterations(config, context, parts["grouping"])
    if context.parts.failed:
        return None
    return VideoModel(
        predictor=predictor,
        kernel=None if config.kernel is None else SlotKernel(config.kernel, config.slot_dim),
        first_iterations=config.first_iterations,
        iterations=config.iterations,
        frames_at_once=config.frames_at_once,
        **parts,
    )


def check_iterations(config: VideoSlotsConfig, context: ModelContext, grouping: nn.Module) -> None:
    """Refuse iterations by frame for a grouping that cannot change their number."""
    if isinstance(grouping, IteratesByCall) and grouping.iterates_by_call:
        return
    for name in ("first_iterations", "iterations"):
        if getattr(config, name) is not None:
            text = f"the grouping '{config.grouping.name}' cannot change its iterations by frame"
            context.parts.mistake(f"{text}; leave '{name}' out", name)


@hookimpl
def slotlab_models() -> Iterable[Component[VideoSlotsConfig]]:
    """Provide `video_slots`."""
    yield Component(
        name="video_slots",
        config=VideoSlotsConfig,
        build=build,
        summary="slots carried from frame to frame of a clip by a predictor (SAVi, SlotFormer's base model)",
    )
