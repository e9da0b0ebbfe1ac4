"""From a frozen part of a model to the store of what it makes: which store fits, and whether it is right."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import Batch, Model
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.read_capabilities import is_endless
from slotlab.framework.data.selection import place
from slotlab.framework.data.store.feature_format import KINDS, MAKERS, FeatureKey, Kind
from slotlab.framework.data.store.features import FeatureStore, find_features, unfit, widened
from slotlab.framework.model.storables import Storable, storables
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.cache import stores_folder
from slotlab.registry import SlotlabError

MOST_OTHER = 64
"""One in so many classes may be another, since devices sum in other ways and two may be equally near."""


def pack_hint(kind: Kind) -> str:
    """Return what to do where a store is missing."""
    return f"pack them with 'slotlab data pack SPEC --{kind}'"


def with_stores(
    spec: ExperimentSpec, model: Model, *loaders: Loader, kinds: Collection[Kind] = KINDS
) -> list[Loader]:
    """Return loaders that read the features and targets of a model, where the spec says so and a store fits.

    Two images of each are passed through what makes them, and compared with what is stored.

    Raises:
        PathProblem: if the spec requires a store and there is none.
        SlotlabError: if a store does not hold what the model makes of the images.
        StoreError: if a store is damaged.
    """
    found = list(loaders)
    for storable in storables(spec, model, kinds):
        facts = {} if spec.data.feature_store == "off" else storable.facts()
        opened: dict[str, FeatureStore] = {}
        found = [one_with_store(spec, storable, facts, loader, opened) for loader in found]
    return found


def one_with_store(
    spec: ExperimentSpec,
    storable: Storable,
    facts: Mapping[str, Any],
    loader: Loader,
    opened: dict[str, FeatureStore],
) -> Loader:
    """Return a loader with its store, or as it is; `opened` are the stores that other loaders have."""
    store, notes = (None, []) if not facts else fitting_store(spec, storable.kind, facts, loader)
    selection = loader.selection
    if store is not None:
        store = opened.setdefault(str(store.path), place(store, spec.data, loader.device))
        loader = reading(loader, store)
        compare(storable, store, loader)
    told = None if store is None else {"path": str(store.path), "checksum": store.checksum}
    known = {**selection.facts, storable.kind: {"precision": "half", "store": told}}
    return replace(loader, dataset=replace(selection, facts=known, notes=[*selection.notes, *notes]))


def reading(loader: Loader, store: FeatureStore) -> Loader:
    """Return a loader that reads a store."""
    if store.kind == "features":
        return replace(loader, features=store)
    return replace(loader, targets=store)


def fitting_store(
    spec: ExperimentSpec, kind: Kind, facts: Mapping[str, Any], loader: Loader
) -> tuple[FeatureStore | None, list[str]]:
    """Return the store of a loader's features or targets, or None, and warnings for the user.

    Raises:
        PathProblem: if the spec requires a store and there is none.
        StoreError: if it is damaged.
    """
    source = loader.selection.source
    if source is None or is_endless(source.dataset):
        reason = f"an endless dataset shows new pictures in every epoch, whose {kind} no store can hold"
        return refused(spec, kind, reason)
    mirrored = loader.augment is not None and loader.augment.flip
    return store_of(
        spec, FeatureKey(source=source, maker=facts, mirrored=mirrored, kind=kind), pack_hint(kind)
    )


def store_of(spec: ExperimentSpec, key: FeatureKey, hint: str) -> tuple[FeatureStore | None, list[str]]:
    """Return the store of a key, or None, and warnings for the user; `hint` says how to make one.

    Raises:
        PathProblem: if the spec requires a store and there is none.
        StoreError: if it is damaged.
    """
    folder, kind = stores_folder(spec.data.stores), key.kind
    store = find_features(key, folder)
    if store is not None:
        return store, []
    others = unfit(key, folder)
    if not others:
        text = f"there is no store of these {kind} in {folder}; {hint}"
        return refused(spec, kind, text, quiet=True)
    path, what = list(others.items())[-1]
    return refused(spec, kind, f"{path} holds {kind} of {what}; {hint}")


def refused(spec: ExperimentSpec, kind: Kind, reason: str, *, quiet: bool = False) -> tuple[None, list[str]]:
    """Return no store, with a warning unless `quiet`.

    Raises:
        PathProblem: if the spec requires a store.
    """
    if spec.data.feature_store == "required":
        hint = "or write 'feature_store: auto' to compute them"
        raise PathProblem(("data", "feature_store"), f"{reason}, {hint}")
    return None, [] if quiet else [f"{reason}: {kind} are computed at each step"]


@torch.no_grad()
def compare(storable: Storable, store: FeatureStore, loader: Loader) -> None:
    """Compare what is stored of two images, the first and the last, with what the model makes of them.

    Raises:
        SlotlabError: if they differ by more than the rounding explains, on whatever device.
    """
    places = sorted({0, len(loader.dataset) - 1})
    plain = replace(loader, batch_size=2, rank=0, processes=1, workers=0, augment=None)
    _, batch = next(iter(plain.share(places)))
    rows = [loader.selection.positions[index] for index in places]
    views = {"": (batch.images_BCHW, read_from(batch, store.kind))}
    if loader.augment is not None and loader.augment.flip:
        stored_BCHW = store.batch(rows, loader.device, torch.ones(len(rows), dtype=torch.bool))
        views["mirrored "] = (batch.images_BCHW.flip(3), stored_BCHW)
    for view, (images_BCHW, stored_BCHW) in views.items():
        if (reason := difference(widened(storable.make(images_BCHW)), stored_BCHW)) is not None:
            text = f"{store.path} does not hold what the {MAKERS[store.kind]} makes of {view}{batch.ids[0]}"
            raise SlotlabError(f"{text} and {batch.ids[-1]}: {reason}; delete its folder and pack it again")


def read_from(batch: Batch, kind: Kind) -> Tensor:
    """Return what a batch has from a store."""
    found_BCHW = batch.features_BCHW if kind == "features" else batch.target_BCHW
    assert found_BCHW is not None
    return found_BCHW


def difference(made_BCHW: Tensor, stored_BCHW: Tensor) -> str | None:
    """Return how features or targets differ, or None if rounding and a device's way of summing explain it.

    Half precision has steps of 2^-10 of a number. Allowed are two of the largest number of the channel, and
    2^-14 of the largest of all, as channels of large numbers disturb the others. Of classes few may differ.
    """
    if made_BCHW.shape != stored_BCHW.shape:
        return f"their shape is {tuple(stored_BCHW.shape[1:])}, not {tuple(made_BCHW.shape[1:])}"
    if not made_BCHW.is_floating_point():
        others, every = int((made_BCHW != stored_BCHW).sum()), made_BCHW.numel()
        return None if others <= every // MOST_OTHER else f"{others} of {every} classes differ"
    largest_1C11 = made_BCHW.abs().amax(dim=(0, 2, 3), keepdim=True)
    allowed_1C11 = largest_1C11 * 2**-9 + largest_1C11.max() * 2**-14
    gap_BCHW = (made_BCHW - stored_BCHW).abs()
    if bool((gap_BCHW <= allowed_1C11).all()):
        return None
    return f"they differ by up to {float(gap_BCHW.max()):.3g}, and are up to {float(largest_1C11.max()):.3g}"
