"""One hook per kind of component. The docstrings are each kind's contract.

A hook function yields `Component`s. It runs once, when the plugin is loaded; nothing
is called during training. Axes: B images, C channels, H rows, W columns, N tokens,
K slots, D slot width.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pluggy

from slotlab.registry.component import Component

PROJECT = "slotlab"
API_VERSION = 1
"""Raised when a hook or contract changes so that an existing plugin must be edited."""

KIND = re.compile(r"[a-z][a-z_]*")
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True)
class Kind:
    """A kind of component: `initializer` in messages, `initializers` for its hook and folder.

    A plugin may bring a kind of its own (`slotlab_kinds`): `Kind("memory", "memories")` makes
    `slotlab_memories` a hook, and `Annotated[Ref, RefTo("memory")]` a setting.
    """

    name: str
    plural: str

    def complaints(self) -> list[str]:
        """Return the rules for kinds that it breaks, in words; empty if it keeps them all."""
        words = (self.name, self.plural)
        if not all(isinstance(word, str) and KIND.fullmatch(word) for word in words):
            return [f"name and plural must be lower-case letters and '_', not {words!r}"]
        return (
            [] if self.name != self.plural else [f"name and plural must differ, and both are {self.name!r}"]
        )

    @property
    def hook(self) -> str:
        """The hook's name: `slotlab_initializers`."""
        return f"{PROJECT}_{self.plural}"


KINDS: dict[str, Kind] = {
    name: Kind(name, plural)
    for name, plural in (
        ("dataset", "datasets"),
        ("protocol", "protocols"),
        ("model", "models"),
        ("encoder", "encoders"),
        ("position", "positions"),
        ("initializer", "initializers"),
        ("grouping", "groupings"),
        ("predictor", "predictors"),
        ("dynamics", "dynamics"),  # a word without a plural
        ("decoder", "decoders"),
        ("objective", "objectives"),
        ("codec", "codecs"),
        ("auxiliary", "auxiliaries"),
        ("metric", "metrics"),
        ("set_metric", "set_metrics"),
        ("start", "starts"),
        ("optimizer", "optimizers"),
        ("schedule", "schedules"),
        ("tracker", "trackers"),
        ("launcher", "launchers"),
    )
}


@hookspec
def slotlab_datasets() -> Iterable[Component[Any]]:
    """Yield datasets.

    `build(config, DatasetContext)` returns a `Dataset`: a sized, indexable collection of
    `Sample`s. Item i is always the same, in any process. Images are uint8, at the size they
    have on disk: the framework crops and resizes them by the spec's protocol, takes the
    split, counts objects and filters by their number. What its Config may say of the data without
    reading it is in `slotlab.framework.contracts.dataset_settings`.
    """
    raise NotImplementedError


@hookspec
def slotlab_protocols() -> Iterable[Component[Any]]:
    """Yield protocols: how pictures are split, cropped, resized and scaled, under one name.

    `config` is a subclass of `slotlab.framework.spec.protocol.ProtocolConfig`, whose settings are
    the whole protocol; `slotlab.framework.spec.protocol.protocol` makes such a component.
    """
    raise NotImplementedError


@hookspec
def slotlab_kinds() -> Iterable[Kind]:
    """Yield kinds of components that slotlab does not have, such as a memory.

    The plugin that yields a kind says what its components receive and give; other plugins of the same
    spec may provide components of it, if they are named after it.
    """
    raise NotImplementedError


@hookspec
def slotlab_models() -> Iterable[Component[Any]]:
    """Yield models: what is trained.

    `build(config, ModelContext)` returns a `slotlab.contracts.Model`, an `nn.Module` that computes the
    losses of a batch. The settings hold its parts as components of their own
    (`Annotated[Ref, RefTo("encoder")]`), which `context.parts` builds, so that every mistake is shown at its
    line. What else the model can do follows from the methods that it has: see `FindsSlots`, `Reconstructs`
    and `PaintsSlots` in `slotlab.contracts`.
    """
    raise NotImplementedError


@hookspec
def slotlab_encoders() -> Iterable[Component[Any]]:
    """Yield encoders.

    `build(config, EncoderContext)` returns an `nn.Module` with `forward(images_BCHW)` ->
    features of shape (B, `channels`, *`grid`), where `channels` and `grid` are attributes. One whose
    weights were loaded has `own_weights = True`: the spec's `weight_init` leaves them as they are.
    """
    raise NotImplementedError


@hookspec
def slotlab_positions() -> Iterable[Component[Any]]:
    """Yield position codes.

    `build(config, PositionContext)` returns an `nn.Module` that maps a feature map
    (B, dim, *grid) to one of the same shape that knows where each position is.
    """
    raise NotImplementedError


@hookspec
def slotlab_initializers() -> Iterable[Component[Any]]:
    """Yield slot initializers.

    `build(config, InitializerContext)` returns an `nn.Module` with `forward(tokens_BND,
    num_slots=None, *, generator=None)` -> `Slots`, and an attribute `fixed_num_slots`:
    True if it can make no other number of slots than it was built with. All randomness
    comes from `generator`.
    """
    raise NotImplementedError


@hookspec
def slotlab_groupings() -> Iterable[Component[Any]]:
    """Yield groupings.

    `build(config, GroupingContext)` returns an `nn.Module` with `forward(tokens_BND, slots,
    *, generator=None)` -> `Grouped`: the slots after the last iteration, and the attention
    of that iteration, which sums to one over slots; and `trace`, if `GroupingContext.traced` asks for it.
    One whose number of iterations may differ by call is `contracts.IteratesByCall`. All randomness comes
    from `generator`.
    """
    raise NotImplementedError


@hookspec
def slotlab_predictors() -> Iterable[Component[Any]]:
    """Yield predictors: from the slots of one frame of a clip to those that the next one starts from.

    `build(config, PredictorContext)` returns an `nn.Module` that is a `slotlab.contracts.Predictor`:
    `start(slots)` -> state, what it remembers of each slot before its first prediction (tensors with leading
    axes (B, K), by name; None if nothing), and `forward(slots, state)` -> (`Slots`, state). It treats all
    slots alike, passes on what belongs to them (`extras`), and draws nothing outside of training.
    """
    raise NotImplementedError


@hookspec
def slotlab_dynamics() -> Iterable[Component[Any]]:
    """Yield dynamics: from the slots of some frames of a clip to those of the frames that follow.

    `build(config, DynamicsContext)` returns an `nn.Module` that is a `slotlab.contracts.Dynamics`:
    `forward(slots_BTKD, steps)` -> slots (B, steps, K, D), in which gradients go back to those given. They
    treat all slots alike, also others in number than they were built with, and draw nothing outside of
    training. Those without weights, such as `repeat`, are what trained ones are compared with.
    """
    raise NotImplementedError


@hookspec
def slotlab_decoders() -> Iterable[Component[Any]]:
    """Yield decoders.

    `build(config, DecoderContext)` returns an `nn.Module` with `forward(slots, *,
    target_BCHW=None, generator=None)` -> `Decoded`: a prediction of the objective's target
    and, where the decoder has them, masks that sum to one over slots. `target_BCHW` is for
    decoders that are taught with the answer (autoregressive, diffusion); it is given in training
    alone. Such a decoder also has `sample(slots, *, generator=None)` -> `Decoded`, which makes
    every picture and mask that is evaluated or shown (`contracts.Sampler`). One that uses the grouping
    besides the slots is `contracts.Guided`. Slots that were dropped (`Slots.keep_BK`) have no mask. All
    randomness comes from `generator`.
    """
    raise NotImplementedError


@hookspec
def slotlab_objectives() -> Iterable[Component[Any]]:
    """Yield objectives.

    `build(config, ObjectiveContext)` returns an `Objective`: it says what is to be
    predicted (`target_shape`, `target`), what a prediction looks like as an image
    (`to_image`), and computes the `Losses`.
    """
    raise NotImplementedError


@hookspec
def slotlab_codecs() -> Iterable[Component[Any]]:
    """Yield codecs: what turns pictures into latents or tokens and back.

    `build(config, CodecContext)` returns an `nn.Module` that is a `slotlab.contracts.Codec`: it has losses
    of its own, and reconstructs images. With `encode`, `decode` and `latent_shape` it is a `LatentCodec`,
    with `tokens`, `paint`, `codes` and `token_grid` a `TokenCodec`; it may be both. One whose weights were
    loaded has `own_weights = True`: such a one alone can be an objective's.
    """
    raise NotImplementedError


@hookspec
def slotlab_auxiliaries() -> Iterable[Component[Any]]:
    """Yield auxiliary losses: terms beside the objective's loss, listed under `auxiliary` in a spec.

    `config` is a subclass of `slotlab.contracts.AuxiliaryConfig`, whose `weight` the model applies.
    `build(config, AuxiliaryContext)` returns an `Auxiliary`: called with a `ModelOutput`, it gives `Losses`.
    """
    raise NotImplementedError


@hookspec
def slotlab_metrics() -> Iterable[Component[Any]]:
    """Yield metrics.

    `build(config, MetricContext)` returns a `Metric`: called with an `Outcome` of B images
    it returns B float64 values, one per image; NaN where the metric is not defined. The total is the
    mean over images. A metric averaged over objects instead also has `weights(outcome)`: how many
    objects each image's value is the mean of; the total is then `sum(weights * values) / sum(weights)`.
    """
    raise NotImplementedError


@hookspec
def slotlab_set_metrics() -> Iterable[Component[Any]]:
    """Yield set metrics: two sets of images to one number, such as FID.

    `build(config, SetMetricContext)` returns a `SetMetric`. It opens and reads nothing: what is
    missing (a file of weights) is reported by `lacking()`, so that a spec stays valid where a file
    does not exist. It never substitutes anything for a missing file, and downloads nothing.
    """
    raise NotImplementedError


@hookspec
def slotlab_starts() -> Iterable[Component[Any]]:
    """Yield what a training may start from, in place of weights drawn at random: `training.start` in a spec.

    `build(config, StartContext)` returns weights as a mapping of tensors, by their names in the model; those
    that it does not name stay as they were drawn. It is called before a training's first step, and never for
    an evaluation.
    """
    raise NotImplementedError


@hookspec
def slotlab_optimizers() -> Iterable[Component[Any]]:
    """Yield optimizers: `build(config, OptimizerContext)` returns a torch optimizer."""
    raise NotImplementedError


@hookspec
def slotlab_schedules() -> Iterable[Component[Any]]:
    """Yield schedules: `build(config, ScheduleContext)` returns a torch LR scheduler."""
    raise NotImplementedError


@hookspec
def slotlab_trackers() -> Iterable[Component[Any]]:
    """Yield trackers.

    `build(config, TrackerContext)` returns a `Tracker`, which passes on what a training
    logs. Nothing is opened, written or connected to before the first call; `build` is also
    called to validate a spec, and raises a `ComponentError` if a library is not installed.
    """
    raise NotImplementedError


@hookspec
def slotlab_launchers() -> Iterable[Component[Any]]:
    """Yield launchers.

    `build(config, LauncherContext)` returns a `Launcher`, which starts the commands that
    train the runs of a study, and says how they ended. Nothing is started or connected to
    before the first `start`; `build` is also called to validate an ablation, and raises a
    `ComponentError` if a library is not installed.
    """
    raise NotImplementedError
