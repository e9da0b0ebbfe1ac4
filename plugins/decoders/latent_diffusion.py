"""The latent diffusion decoder: a U-Net that attends to the slots takes noise away from latents.

Sources: Wu et al. 2023 (SlotDiffusion), section 3 and appendix, whose sizes, noise and solver are the
defaults; Rombach et al. 2022 (the U-Net); Lu et al. 2022 (DPM-Solver++); Song et al. 2021 (DDIM); Ho et al.
2020 (DDPM). It is taught to predict the noise that it added to the target at a drawn step. It has no masks.
LSD's decoder (Jiang et al. 2023, code) is the same with other settings: `heads`, `positions`, `zero_init`.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Len
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from slotlab.framework.contracts import Decoded, DecoderContext, RandomSource, Slots
from slotlab.framework.model.diffusion.noise_schedule import (
    BetaSchedule,
    NoiseSchedule,
    Prediction,
    Rates,
    clean_and_noise,
)
from slotlab.framework.model.diffusion.solvers import Solving, ddim, ddpm, dpm_multistep, dpm_solver, solved
from slotlab.framework.model.diffusion.unet import UNet, UNetSizes, check_sizes
from slotlab.framework.model.draws import dropping, normal, uniform_steps
from slotlab.registry import ClosedModel, Component, ComponentConfig, ComponentError, hookimpl

PUBLISHED_STEPS = {"dpm_solver": 20, "dpm_multistep": 25, "ddim": 200}
"""Evaluations of SlotDiffusion's solvers, and of LSD's; DDPM takes all steps."""


class SamplingConfig(ClosedModel):
    """How latents are made of noise."""

    solver: Literal["dpm_solver", "dpm_multistep", "ddim", "ddpm"] = "dpm_solver"
    """Single-step DPM-Solver++ of order 3, multistep DPM-Solver++ of order 2 (LSD's), DDIM, or DDPM's
    ancestral sampling."""
    steps: PositiveInt | None = None
    """How often the U-Net is evaluated; null for 20 with `dpm_solver`, 200 with `ddim`, and all `timesteps`
    with `ddpm`, as in SlotDiffusion, for 25 with `dpm_multistep`, as in LSD, or for as many as there can be
    if they are fewer: all `timesteps`, with `dpm_multistep` all but one."""
    requantize: bool = True
    """Whether every prediction of the clean latents is replaced by the nearest latents that the codec has,
    as in SlotDiffusion; without effect for codecs that have no codes."""
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Of `ddim`: how much noise is added at each step, from none (0) to as much as DDPM adds (1)."""


class LatentDiffusionConfig(ComponentConfig):
    """Settings of the latent diffusion decoder; the defaults are SlotDiffusion's."""

    without_effect: ClassVar = frozenset({"sampling"})
    """Settings that have no effect on a training."""
    width: PositiveInt = 128
    """Channels of the U-Net at full resolution."""
    multipliers: Annotated[tuple[PositiveInt, ...], Len(1, 8)] = (1, 2, 3, 4)
    """Of the width, one for each level; each level but the first halves the latents once more."""
    blocks: Annotated[int, Field(ge=1, le=16)] = 2
    """Residual blocks of each level on the way down; there is one more on the way up."""
    attention_at: tuple[PositiveInt, ...] = (2, 4, 8)
    """The levels whose residual blocks are followed by attention, by the factors by which they are smaller
    than the latents; 1 is full resolution. There is always one transformer in the middle."""
    head_width: PositiveInt = 32
    """Width of the heads of every attention; it divides the channels wherever there is attention."""
    heads: PositiveInt | None = None
    """How many heads every attention has, whatever the channels there; null for as many as have `head_width`.
    LSD has 24."""
    positions: Literal["none", "cartesian"] = "none"
    """What is added to what enters each attention: nothing, or a learned linear function of the position
    (y, x, 1 - y, 1 - x), which is not the same in any two of them, as in LSD."""
    zero_init: bool = True
    """Whether the last convolution of every branch, and that of the prediction, starts as zero, as in latent
    diffusion; in LSD all start as torch draws them."""
    norm_groups: PositiveInt = 32
    """Groups of the group norms; they divide the width."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Dropout in residual blocks, in training."""
    timesteps: Annotated[int, Field(ge=2, le=100_000)] = 1000
    """Steps of the noise (T)."""
    betas: BetaSchedule = "scaled_linear"
    """The noise that each step adds: its square root grows linearly, as in SlotDiffusion, or it does itself,
    as in LSD (from 0.00085 to 0.012)."""
    beta_start: Annotated[float, Field(gt=0, lt=1)] = 0.0015
    """The first step's beta."""
    beta_end: Annotated[float, Field(gt=0, lt=1)] = 0.0195
    """The last step's beta."""
    predicts: Prediction = "noise"
    """What the U-Net predicts: the noise, as published, the clean latents (`sample`), or the velocity."""
    sampling: SamplingConfig = SamplingConfig()
    """How latents are made of noise, wherever pictures are shown or measured."""


class LatentDiffusion(nn.Module):
    """Slots (B, K, D) and latents (B, C, H, W) to a prediction of noise; slots alone to latents."""

    streams_per_image = True
    """`generator` may be one stream for each image, from which is drawn for that image alone."""

    def __init__(self, config: LatentDiffusionConfig, context: DecoderContext):
        super().__init__()
        self.config, self.target = config, context.target
        sizes = UNetSizes(
            channels=context.target.channels,
            slot_dim=context.slot_dim,
            width=config.width,
            multipliers=config.multipliers,
            blocks=config.blocks,
            attention_at=config.attention_at,
            head_width=config.head_width,
            heads=config.heads,
            positions=config.positions == "cartesian",
            groups=config.norm_groups,
            zero_init=config.zero_init,
        )
        check_settings(config, context)
        check_sizes(sizes, context.target.size)
        self.unet = UNet(sizes)
        self.schedule = NoiseSchedule(
            config.betas, start=config.beta_start, end=config.beta_end, steps=config.timesteps
        )
        # In a tuple, since torch would take a codec that is a module for a part of this one.
        self._nearest = (context.nearest if config.sampling.requantize else None,)

    @property
    def sampling(self) -> Mapping[str, Any]:
        """The settings of sampling, with the number of evaluations that they come to."""
        sampling = self.config.sampling
        found: dict[str, Any] = {"solver": sampling.solver, "steps": evaluations(self.config)}
        found |= {"eta": sampling.eta} if sampling.solver == "ddim" else {}
        return {**found, "requantize": sampling.requantize}

    def forward(
        self, slots: Slots, *, target_BCHW: Tensor | None = None, generator: RandomSource = None
    ) -> Decoded:
        """Predict the noise in the target at a drawn step; the noise is the returned target.

        From each stream are drawn, in this order: the steps of its images, their noise, and, in training,
        what dropout leaves out, block by block.

        Raises:
            ComponentError: without a target, or if there are several streams, but not one for each image.
        """
        if target_BCHW is None:
            raise ComponentError("is taught with the target and needs it; `sample` does without")
        target_BCHW = target_BCHW.detach()
        step_B = uniform_steps(self.schedule.steps, len(target_BCHW), generator, target_BCHW.device)
        noise_BCHW = normal(target_BCHW, generator)
        noisy_BCHW = self.schedule.add_noise(target_BCHW, noise_BCHW, step_B)
        drop = dropping(self.config.dropout if self.training else 0.0, generator)
        predicted_BCHW = self.unet(noisy_BCHW, step_B, slots.vectors_BKD, slots.keep_BK, drop)
        wanted_BCHW = self.schedule.wanted(self.config.predicts, target_BCHW, noise_BCHW, step_B)
        return Decoded(predicted_BCHW, target_BCHW=wanted_BCHW)

    def sample(self, slots: Slots, *, generator: RandomSource = None) -> Decoded:
        """Make latents of slots, without dropout.

        From each stream are drawn first the noise to begin with, and then what the solver adds, step by step.

        Raises:
            ComponentError: if there are several streams, but not one for each image.
        """
        return Decoded(solved(self._solving(slots, generator)))

    def strip(self, slots: Slots, *, generator: RandomSource = None) -> Iterator[Tensor]:
        """Yield every prediction of the clean latents (B, C, H, W) on the way to what `sample` returns."""
        return self._solving(slots, generator)

    @torch.no_grad()
    def _solving(self, slots: Slots, generator: RandomSource) -> Solving:
        """Yield predictions of the clean latents; return the solved ones."""
        vectors_BKD, dtype = slots.vectors_BKD, self.unet.read.weight.dtype
        shape = (len(vectors_BKD), self.target.channels, *self.target.size)
        draw = partial(normal, torch.empty(shape, dtype=dtype, device=vectors_BKD.device), generator)
        solver, steps = self.config.sampling.solver, evaluations(self.config)
        if vectors_BKD.is_meta:
            steps = 1  # without values all evaluations are alike
        denoise = partial(self._denoise, slots)
        if solver == "dpm_solver":
            return (yield from dpm_solver(denoise, self.schedule, draw(), steps))
        if solver == "dpm_multistep":
            return (yield from dpm_multistep(denoise, self.schedule, draw(), steps))
        if solver == "ddim":
            eta = self.config.sampling.eta
            return (yield from ddim(denoise, self.schedule, draw(), steps, eta=eta, draw=draw))
        return (yield from ddpm(denoise, self.schedule, draw(), steps, draw=draw))

    def _denoise(self, slots: Slots, x_BCHW: Tensor, step: float, rates: Rates) -> tuple[Tensor, Tensor]:
        """Return the clean latents and the noise, both (B, C, H, W), in latents of one step."""
        step_B = torch.full((len(x_BCHW),), step, dtype=torch.float64, device=x_BCHW.device)
        predicted_BCHW = self.unet(x_BCHW, step_B, slots.vectors_BKD, slots.keep_BK).to(x_BCHW.dtype)
        clean_BCHW, noise_BCHW = clean_and_noise(self.config.predicts, rates, x_BCHW, predicted_BCHW)
        (nearest,) = self._nearest
        return clean_BCHW if nearest is None else nearest(clean_BCHW), noise_BCHW


def evaluations(config: LatentDiffusionConfig) -> int:
    """Return how often the U-Net is evaluated for a picture."""
    published = PUBLISHED_STEPS.get(config.sampling.solver, config.timesteps)
    return config.sampling.steps or min(published, most_evaluations(config))


def most_evaluations(config: LatentDiffusionConfig) -> int:
    """Return how often the U-Net can be evaluated: multistep DPM-Solver++ leaves the last step out."""
    return config.timesteps - (config.sampling.solver == "dpm_multistep")


def check_settings(config: LatentDiffusionConfig, context: DecoderContext) -> None:
    """Refuse what the noise and its solvers cannot do.

    Raises:
        ComponentError: with the setting to change.
    """
    sampling = config.sampling
    if context.target.classes is not None:
        text = f"takes noise away from numbers, and the target is one of {context.target.classes} classes"
        raise ComponentError(f"{text} at each position; take an objective with latents")
    if config.beta_start > config.beta_end:
        text = (
            f"the first step's beta, {config.beta_start}, is greater than the last one's, {config.beta_end}"
        )
        raise ComponentError(text, field="beta_start")
    if evaluations(config) > most_evaluations(config):
        text = f"{sampling.steps} steps are more than there are 'timesteps', {config.timesteps}"
        if sampling.solver == "dpm_multistep":
            text = f"{text}, but one, which 'dpm_multistep' leaves out"
        raise ComponentError(text, field="sampling")
    if sampling.eta and sampling.solver != "ddim":
        text = f"'eta' is a setting of the solver 'ddim', not of '{sampling.solver}'; leave it out"
        raise ComponentError(text, field="sampling")


@hookimpl
def slotlab_decoders() -> Iterable[Component[LatentDiffusionConfig]]:
    """Provide `latent_diffusion`."""
    yield Component(
        name="latent_diffusion",
        config=LatentDiffusionConfig,
        build=LatentDiffusion,
        summary="a U-Net that attends to the slots makes latents out of noise",
    )
