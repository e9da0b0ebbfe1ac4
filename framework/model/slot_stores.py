"""From a model that is trained on slots to the store of these: which one fits, and whether it is right."""

import hashlib
from dataclasses import replace
from typing import Any

import torch

from slotlab.framework.contracts import Model, SlotSource, TakesSlots
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.selection import place
from slotlab.framework.data.store.feature_format import FeatureKey
from slotlab.framework.data.store.features import FeatureStore
from slotlab.framework.model.feature_stores import refused, store_of
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError

ALLOWED = 2**-8
"""How far slots may lie apart, in parts of the largest number: devices round in other ways, frame after
frame; those of other weights lie as far apart as they are large."""


def with_slots(spec: ExperimentSpec, model: Model, loader: Loader) -> Loader:
    """Return a training's loader that reads the slots of its clips, where the spec says so and a store fits.

    The slots of the first and the last clip are found and compared with what is stored.

    Raises:
        PathProblem: if the spec requires a store and there is none.
        SlotlabError: if a store does not hold what the model finds.
        StoreError: if a store is damaged.
    """
    if not isinstance(model, TakesSlots) or spec.data.feature_store == "off":
        return loader
    source, selection = model.slot_source, loader.selection
    store, notes = fitting(spec, source, loader)
    if store is not None:
        store = place(store, spec.data, loader.device)
        loader = replace(loader, slots=store)
        compare(source, store, loader)
    told = None if store is None else {"path": str(store.path), "checksum": store.checksum}
    facts = {**selection.facts, "slots": {"store": told}}
    return replace(loader, dataset=replace(selection, facts=facts, notes=[*selection.notes, *notes]))


def fitting(
    spec: ExperimentSpec, source: SlotSource, loader: Loader
) -> tuple[FeatureStore | None, list[str]]:
    """Return the store of a loader's clips, or None, and warnings for the user.

    Raises:
        PathProblem: if the spec requires a store and there is none.
        StoreError: if it is damaged.
    """
    hint = f"extract them with '{source.made_by}'"
    if loader.clips is None or loader.selection.source is None:
        return refused(spec, "slots", "slots are stored of the clips of videos", quiet=True)
    if loader.augment is not None or loader.windows is not None:
        return refused(spec, "slots", "data.augmentation changes clips, whose slots no store can hold")
    store, notes = store_of(spec, slot_key(source, loader), hint)
    if store is not None and not source.once and source.draws(next(iter(watched(loader)))[1]):
        text = f"{store.path} holds slots for which the run drew once"
        return refused(spec, "slots", f"{text}; write 'draws: once' in the model, which changes its training")
    return store, notes


def slot_key(source: SlotSource, loader: Loader) -> FeatureKey:
    """Return all that decides about the slots of a loader's clips."""
    selection, clips = loader.selection, loader.clips
    assert clips is not None
    assert selection.source is not None
    maker = {**source.facts(), "clips": clips_hash(loader)}
    return FeatureKey(source=selection.source, maker=maker, mirrored=False, kind="slots")


def clips_hash(loader: Loader) -> str:
    """Return a hash of which frames of the data make up each clip, 16 hexadecimal digits."""
    assert loader.clips is not None
    places, digest = loader.selection.positions, hashlib.blake2b(digest_size=8)
    for frames in loader.clips.every:
        digest.update(f"{[places[frame] for frame in frames]}\n".encode())
    return digest.hexdigest()


def watched(loader: Loader) -> Any:
    """Yield the first and the last clip of an epoch, each as (its position, a batch)."""
    plain = replace(loader, batch_size=1, rank=0, processes=1, workers=0, masks=True)
    for [number], batch in plain.share(sorted({0, loader.total - 1})):
        yield number, batch


@torch.no_grad()
def compare(source: SlotSource, store: FeatureStore, loader: Loader) -> None:
    """Compare the stored slots of the first and the last clip with those that are found in them.

    Raises:
        SlotlabError: if they differ by more than a device's way of summing explains.
    """
    for _, batch in watched(loader):
        stored_BKD = batch.slots_BKD
        found_BKD = source.find(replace(batch, slots_BKD=None)).flatten(0, 1)
        assert stored_BKD is not None
        fits = stored_BKD.shape == found_BKD.shape
        gap = float((stored_BKD - found_BKD).abs().max()) if fits else float("inf")
        if not gap <= ALLOWED * max(1.0, float(found_BKD.abs().max())):
            text = f"{store.path} does not hold the slots that are found from {batch.ids[0]} on"
            raise SlotlabError(f"{text}: they differ by {gap:.3g}; delete its folder and extract it again")
