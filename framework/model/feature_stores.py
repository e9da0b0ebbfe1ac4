"""From a model's frozen encoder to the store of its features: which store fits, and whether it is right."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from slotlab.framework.contracts import Model, TakesFeatures
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.read_capabilities import is_endless
from slotlab.framework.data.selection import place
from slotlab.framework.data.store.feature_format import FeatureKey
from slotlab.framework.data.store.features import FeatureStore, find_features, unfit
from slotlab.framework.model.half_features import rounded_features
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.identity import definition
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.cache import stores_folder
from slotlab.registry import Ref, SlotlabError

PACK_HINT = "pack them with 'slotlab data pack SPEC --features'"


def encoder_facts(spec: ExperimentSpec, encoder: nn.Module) -> dict[str, Any]:
    """Return what decides about an encoder's features besides the images, as JSON data."""
    chosen: Any = getattr(spec.model.config, "encoder", None)
    ref = chosen if isinstance(chosen, Ref) else spec.model
    return {
        "component": ref.registered.identity,
        "settings": definition(ref)["settings"],
        "weights": weights_hash(encoder),
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


def with_features(spec: ExperimentSpec, model: Model, *loaders: Loader) -> list[Loader]:
    """Return loaders that read the features of the model's encoder, where the spec says so and a store fits.

    Two images of each are passed through the encoder, and compared with what is stored.

    Raises:
        PathProblem: if the spec requires a store and there is none.
        SlotlabError: if a store does not hold what the encoder makes of the images.
        StoreError: if a store is damaged.
    """
    if spec.data.features == "full" or not isinstance(model, TakesFeatures):
        return list(loaders)
    facts = {} if spec.data.feature_store == "off" else encoder_facts(spec, model.encoder)
    opened: dict[str, FeatureStore] = {}
    return [one_with_features(spec, model, facts, loader, opened) for loader in loaders]


def one_with_features(
    spec: ExperimentSpec,
    model: TakesFeatures,
    facts: Mapping[str, Any],
    loader: Loader,
    opened: dict[str, FeatureStore],
) -> Loader:
    """Return a loader with its store, or as it is; `opened` are the stores that other loaders have."""
    store, notes = (None, []) if not facts else fitting_store(spec, facts, loader)
    selection = loader.selection
    if store is not None:
        store = opened.setdefault(str(store.path), place(store, spec.data, loader.device))
        loader = replace(loader, features=store)
        compare(model, loader)
    told = None if store is None else {"path": str(store.path), "checksum": store.checksum}
    known = {**selection.facts, "features": {"precision": "half", "store": told}}
    return replace(loader, dataset=replace(selection, facts=known, notes=[*selection.notes, *notes]))


def fitting_store(
    spec: ExperimentSpec, facts: Mapping[str, Any], loader: Loader
) -> tuple[FeatureStore | None, list[str]]:
    """Return the store of a loader's features, or None, and warnings for the user.

    Raises:
        PathProblem: if the spec requires a store and there is none.
        StoreError: if it is damaged.
    """
    source, folder = loader.selection.source, stores_folder(spec.data.stores)
    if source is None or is_endless(source.dataset):
        reason = "an endless dataset shows new pictures in every epoch, whose features no store can hold"
        return refused(spec, reason)
    mirrored = loader.augment is not None and loader.augment.flip
    key = FeatureKey(source=source, encoder=facts, mirrored=mirrored)
    store = find_features(key, folder)
    if store is not None:
        return store, []
    others = unfit(key, folder)
    if not others:
        return refused(spec, f"there is no store of these features in {folder}; {PACK_HINT}", quiet=True)
    path, what = list(others.items())[-1]
    return refused(spec, f"{path} holds features of {what}; {PACK_HINT}")


def refused(spec: ExperimentSpec, reason: str, *, quiet: bool = False) -> tuple[None, list[str]]:
    """Return no store, with a warning unless `quiet`.

    Raises:
        PathProblem: if the spec requires a store.
    """
    if spec.data.feature_store == "required":
        hint = "or write 'feature_store: auto' to compute them"
        raise PathProblem(("data", "feature_store"), f"{reason}, {hint}")
    return None, [] if quiet else [f"{reason}: features are computed at each step"]


@torch.no_grad()
def compare(model: TakesFeatures, loader: Loader) -> None:
    """Compare stored features of two images, the first and the last, with what the encoder makes of them.

    Raises:
        SlotlabError: if they differ by more than the rounding explains, on whatever device.
    """
    assert loader.features is not None
    places = sorted({0, len(loader.dataset) - 1})
    plain = replace(loader, batch_size=2, rank=0, processes=1, workers=0, augment=None)
    _, batch = next(iter(plain.share(places)))
    assert batch.features_BCHW is not None
    rows = [loader.selection.positions[index] for index in places]
    views = {"": (batch.images_BCHW, batch.features_BCHW)}
    if loader.augment is not None and loader.augment.flip:
        stored_BCHW = loader.features.batch(rows, loader.device, torch.ones(len(rows), dtype=torch.bool))
        views["mirrored "] = (batch.images_BCHW.flip(3), stored_BCHW)
    for view, (images_BCHW, stored_BCHW) in views.items():
        made_BCHW = rounded_features(model.encoder, images_BCHW).float()
        if (reason := difference(made_BCHW, stored_BCHW)) is not None:
            text = f"{loader.features.path} does not hold what the encoder makes of {view}{batch.ids[0]}"
            raise SlotlabError(f"{text} and {batch.ids[-1]}: {reason}; delete its folder and pack it again")


def difference(made_BCHW: Tensor, stored_BCHW: Tensor) -> str | None:
    """Return how features differ, or None if rounding and a device's way of summing explain it.

    Half precision has steps of 2^-10 of a number. Allowed are two of the largest number of the channel, and
    2^-14 of the largest of all, as channels of large numbers disturb the others.
    """
    if made_BCHW.shape != stored_BCHW.shape:
        return f"their shape is {tuple(stored_BCHW.shape[1:])}, not {tuple(made_BCHW.shape[1:])}"
    largest_1C11 = made_BCHW.abs().amax(dim=(0, 2, 3), keepdim=True)
    allowed_1C11 = largest_1C11 * 2**-9 + largest_1C11.max() * 2**-14
    gap_BCHW = (made_BCHW - stored_BCHW).abs()
    if bool((gap_BCHW <= allowed_1C11).all()):
        return None
    return f"they differ by up to {float(gap_BCHW.max()):.3g}, and are up to {float(largest_1C11.max()):.3g}"
