"""What a model makes of images by a frozen part, so that a store can hold it; and why it may not."""

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from slotlab.framework.contracts import (
    Freezable,
    Model,
    Size,
    StorableTarget,
    TakesFeatures,
    TakesSlots,
    TakesTargets,
)
from slotlab.framework.data.store.feature_format import KINDS, Kind, Number
from slotlab.framework.model.half_features import rounded_features
from slotlab.framework.model.half_targets import number_of, rounded_target
from slotlab.framework.model.prepared import trains_with_target
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.identity import definition
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import Ref


@dataclass(frozen=True, kw_only=True)
class Storable:
    """What a store can hold for a model."""

    kind: Kind
    channels: int
    grid: Size
    number: Number
    make: Callable[[Tensor], Tensor]
    """Makes it of images (B, 3, H, W) in the spec's value range: (B, channels, *grid), rounded to 16 bits."""
    facts: Callable[[], dict[str, Any]]
    """Returns what decides about it besides the images, as JSON data."""


def storables(spec: ExperimentSpec, model: Model, kinds: Collection[Kind] = KINDS) -> list[Storable]:
    """Return what a store can hold for a model, as far as the spec says that it is rounded to 16 bits."""
    found = []
    if "features" in kinds and spec.data.features == "half" and isinstance(model, TakesFeatures):
        found.append(stored_features(spec, model.encoder))
    if "targets" in kinds and spec.data.targets == "half" and isinstance(model, TakesTargets):
        found.append(stored_targets(spec, model.objective))
    return found


def stored_features(spec: ExperimentSpec, encoder: Any) -> Storable:
    """Return a frozen encoder's features as something that a store can hold."""
    chosen: Any = getattr(spec.model.config, "encoder", None)
    ref = chosen if isinstance(chosen, Ref) else spec.model
    return Storable(
        kind="features",
        channels=int(encoder.channels),
        grid=tuple(encoder.grid),
        number="<f2",
        make=partial(rounded_features, encoder),
        facts=lambda: facts_of(spec, ref, encoder),
    )


def stored_targets(spec: ExperimentSpec, objective: Any) -> Storable:
    """Return an objective's target as something that a store can hold."""
    shape, ref = objective.target_shape, spec.objective
    return Storable(
        kind="targets",
        channels=shape.channels,
        grid=tuple(shape.size),
        number=number_of(objective),
        make=partial(rounded_target, objective),
        facts=lambda: facts_of(spec, ref, objective.target_maker, only=objective.target_settings),
    )


def facts_of(
    spec: ExperimentSpec, ref: Ref, maker: nn.Module, only: Collection[str] | None = None
) -> dict[str, Any]:
    """Return what decides about what a part makes of images, as JSON data; `only` names its settings."""
    settings = definition(ref)["settings"]
    return {
        "component": ref.registered.identity,
        "settings": {name: value for name, value in settings.items() if only is None or name in only},
        "weights": weights_hash(maker),
        "value_range": list(spec.data.bounds),
    }


def weights_hash(module: nn.Module) -> str:
    """Return a hash of all weights and buffers of a module, 32 hexadecimal digits, on whatever device."""
    digest = hashlib.blake2b(digest_size=16)
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, tensor in sorted(state.items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_storables(spec: ExperimentSpec, model: Model) -> Iterator[PathProblem]:
    """Refuse half features and targets that change in a training, and stores that cannot be used."""
    data = spec.data
    if data.features == "half" and (reason := changing_features(spec, model)) is not None:
        yield PathProblem(("data", "features"), f"{reason}, or write 'features: full'")
    if data.targets == "half" and (reason := changing_targets(spec, model)) is not None:
        yield PathProblem(("data", "targets"), f"{reason}; write 'targets: full'")
    if data.features == data.targets == "full":
        if data.feature_store == "required" and not isinstance(model, TakesSlots):
            text = "stores hold features and targets in 16 bits, and data.features and data.targets are full"
            hint = "write 'features: half' or 'targets: half'"
            yield PathProblem(("data", "feature_store"), f"{text}; {hint}")
    elif data.feature_store != "off" and (changed := changing_pictures(spec)) is not None:
        yield changed


def changing_pictures(spec: ExperimentSpec) -> PathProblem | None:
    """Return why no store can hold what is made of a training's pictures; None if one can."""
    wanted, where = spec.data.augmentation, ("data", "augmentation")
    text = "is another picture, whose features and targets no store can hold"
    hint = "or 'feature_store: off', which computes them at each step"
    if wanted.crop < 1:
        return PathProblem((*where, "crop"), f"every random crop {text}; write 'crop: 1.0', {hint}")
    if wanted.window == "random":
        return PathProblem((*where, "window"), f"every random window {text}; write 'window: center', {hint}")
    return None


def changing_features(spec: ExperimentSpec, model: Model) -> str | None:
    """Return why a model's features cannot be stored; None if they can."""
    if not (isinstance(model, TakesFeatures) and model.half_features):
        return f"the model '{spec.model.name}' takes no stored features; take another model"
    encoder: Any = model.encoder
    reason = changing(spec, encoder)
    return None if reason is None else f"the {model.names.get('encoder', 'encoder')} {reason}; freeze it"


def changing(spec: ExperimentSpec, encoder: nn.Module) -> str | None:
    """Return why an encoder's features change during a training; None if they do not."""
    if not isinstance(encoder, Freezable):
        return "does not say that it is frozen (by its attribute 'frozen'), and its features may change"
    if not encoder.frozen:
        return "is not frozen, and its features change with every step"
    if any(parameter.requires_grad for parameter in encoder.parameters()):
        return "says that it is frozen, and has weights that are trained"
    if any(path.startswith("encoder.") for path in spec.training.anneal):
        return "changes by training.anneal, and its features with it"
    return None


def changing_targets(spec: ExperimentSpec, model: Model) -> str | None:
    """Return why a model's targets cannot be stored, also where the spec says `full`; None if they can."""
    if not isinstance(model, TakesTargets) or model.half_targets != (spec.data.targets == "half"):
        text = "only an objective with a codec that was trained before has targets that do not change"
        return f"the model '{spec.model.name}' takes no stored targets: {text}"
    objective: Any = model.objective
    who = f"the objective '{spec.objective.name}'"
    if trains_with_target(objective):
        text = "trains what makes its target, which is another one after every step"
        return f"{who} {text}; name a codec that was trained before"
    if not isinstance(objective, StorableTarget):
        text = "does not say that its target may be stored (by its attribute 'target_maker')"
        return f"{who} {text}: it may change, or be no more than the picture itself"
    if objective.target_maker is None:
        return f"{who} has no frozen module that makes its target, with these settings"
    if any(parameter.requires_grad for parameter in objective.target_maker.parameters()):
        return f"{who} says that a frozen module makes its target, and that has weights that are trained"
    if any(path.startswith("objective.") for path in spec.training.anneal):
        return f"{who} changes by training.anneal, and perhaps its target with it"
    return None
