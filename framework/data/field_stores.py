"""Stores of flow and depth: each field is packed beside the pictures, as losses read it, with every bit.

A field is read from the dataset and prepared once: MOVi's flow, a list of numbers of all frames of a clip,
takes longer to decode than all the rest of it. `store.feature_format` documents the files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from slotlab.framework.contracts import FIELD_CHANNELS, DataError, DataProblem, Field, Size
from slotlab.framework.data.fields import CAPABILITIES, Fields, lacking
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.read_capabilities import is_endless, offers
from slotlab.framework.data.selection import place
from slotlab.framework.data.source import Source
from slotlab.framework.data.store.feature_format import FeatureKey, FeatureLayout, array_name
from slotlab.framework.data.store.feature_pack import Made, MadePacking
from slotlab.framework.data.store.features import FeatureStore, find_features, unfit
from slotlab.framework.data.store.journal import Notify
from slotlab.framework.data.store.pack import PackProgress
from slotlab.framework.spec.data import DataSpec
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.system.cache import stores_folder
from slotlab.registry import SlotlabError


def field_key(source: Source, name: Field) -> FeatureKey:
    """Return all that decides about a field of a source's pictures."""
    return FeatureKey(source=source, maker={}, mirrored=False, kind=name)


def pack_hint(name: Field) -> str:
    """Return what to do where a store is missing."""
    return f"pack it with 'slotlab data pack SPEC --field {name}'"


def size_of(source: Source) -> Size:
    """Return the (rows, columns) of a source's pictures, as the model sees them."""
    if source.preparation is not None:
        return source.preparation.size
    rows, columns = source.identity["pixels"]["size"]
    return rows, columns


@dataclass(frozen=True, kw_only=True)
class FieldPacking(MadePacking):
    """A field of one source's pictures on its way into a store."""

    name: Field

    def made(self, chunk: Sequence[int]) -> Made:
        """Read and prepare the field of some pictures."""
        fields = Fields(self.source, range(len(self.source)), (self.name,))
        rows: dict[int, dict[str, bytes]] = {}
        problems: dict[int, Sequence[DataProblem]] = {}
        for index in chunk:
            found = fields[index]
            if isinstance(found, DataError):
                problems[index] = found.problems
            elif isinstance(found, SlotlabError):
                raise found
            else:
                stored_HWC = found[self.name].permute(1, 2, 0).contiguous().numpy()
                rows[index] = {array_name(self.name): stored_HWC.astype(self.layout.number).tobytes()}
        return Made(rows, problems)


def pack_field(
    source: Source,
    name: Field,
    stores: Path,
    *,
    on_error: Literal["fail", "skip"] = "fail",
    report: Callable[[PackProgress], None] = lambda progress: None,
    say: Notify = lambda text: None,
) -> FeatureStore:
    """Pack a field of a source's pictures into its store in the folder `stores`, or return the one there.

    Raises:
        PathProblem: at the objective, if the dataset does not have it.
        DataError: with every broken picture, if `on_error` is `fail` or none can be read.
        SlotlabError: as `pack` of pictures.
    """
    if not offers(source.dataset, CAPABILITIES[name]):
        raise lacking(name, source.name)
    if is_endless(source.dataset):
        text = f"it is endless: every epoch shows new pictures, whose {name} no store can hold"
        raise SlotlabError(f"the {name} of {source.name} cannot be packed: {text}")
    layout = FeatureLayout(len(source), FIELD_CHANNELS[name], size_of(source), False, kind=name, number="<f4")
    key = field_key(source, name)
    return FieldPacking(key=key, layout=layout, name=name, on_error=on_error, report=report, say=say).into(
        stores
    )


def with_field_stores(data: DataSpec, loader: Loader) -> Loader:
    """Return a loader that reads its fields from their stores, where they are packed and the spec wants it.

    Windows that are drawn anew in each epoch are cut from the files, since stores hold the middle alone.

    Raises:
        PathProblem: if the spec requires stores and there is none of a field.
        StoreError: if a store is damaged.
    """
    selection = loader.selection
    source = selection.source
    if not loader.fields or source is None or is_endless(source.dataset):
        return loader
    facts, notes, stores = dict(selection.facts), list(selection.notes), dict[Field, FeatureStore]()
    for name in loader.fields:
        found: FeatureStore | None = None
        told: list[str] = []
        if data.store != "off" and loader.windows is None:
            found, told = fitting(data, source, name, pictures=selection.facts.get("store") is not None)
        if found is not None:
            stores[name] = place(found, data, loader.device)
        known = None if found is None else {"path": str(found.path), "checksum": found.checksum}
        facts[name], notes = {"store": known}, [*notes, *told]
    return replace(loader, field_stores=stores, dataset=replace(selection, facts=facts, notes=notes))


def fitting(
    data: DataSpec, source: Source, name: Field, *, pictures: bool
) -> tuple[FeatureStore | None, list[str]]:
    """Return the store of a field, or None, and warnings for the user.

    Args:
        data: the section `data` of the spec.
        source: the pictures.
        name: the field.
        pictures: whether the pictures come from a store.

    Raises:
        PathProblem: if the spec requires stores and there is none.
        StoreError: if it is damaged.
    """
    key, folder = field_key(source, name), stores_folder(data.stores)
    store = find_features(key, folder) if source.fingerprint() is not None else None
    if store is not None:
        return store, []
    others = list(unfit(key, folder).items()) if source.fingerprint() is not None else []
    reason = f"there is no packed {name} of {source.name} in {folder}"
    if others:
        path, what = others[-1]
        reason = f"{path} holds the {name} of {what}"
    if data.store == "required":
        hint = f"{pack_hint(name)}, or write 'store: auto' to read files"
        raise PathProblem(("data", "store"), f"{reason}; {hint}")
    told = pictures or bool(others)
    return None, [f"{reason}: it is read from the files; {pack_hint(name)}"] if told else []


def need_field(source: Source, name: Field, folder: Path) -> FeatureStore:
    """Return the store of a field.

    Raises:
        SlotlabError: if there is none.
    """
    store = find_features(field_key(source, name), folder)
    if store is None:
        raise SlotlabError(f"there is no packed {name} of {source.name} in {folder}; {pack_hint(name)}")
    return store
