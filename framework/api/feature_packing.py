"""Packs features and targets of a spec's model, and reads such stores whole, with a progress bar."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from slotlab.framework.api.console import warn
from slotlab.framework.api.packing import describe_numbers, sources_of
from slotlab.framework.api.progress import open_bar
from slotlab.framework.contracts import Model
from slotlab.framework.data.inspection.target import DataTarget, is_spec
from slotlab.framework.data.pixels import normalize
from slotlab.framework.data.read_capabilities import is_endless
from slotlab.framework.data.selection import open_store
from slotlab.framework.data.source import Source
from slotlab.framework.data.store.feature_format import MAKERS, FeatureKey, FeatureLayout, Kind
from slotlab.framework.data.store.feature_pack import FeaturePacking
from slotlab.framework.data.store.features import FeatureStore, find_features, unfit, verify_features
from slotlab.framework.data.store.pack import PackProgress
from slotlab.framework.jobs.train import choose_device, prepare
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine, precise
from slotlab.framework.model.feature_stores import pack_hint
from slotlab.framework.model.storables import Storable, changing_pictures, changing_targets, storables
from slotlab.framework.plugin_loading.trust import Ask, refuse
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.cache import stores_folder
from slotlab.registry import SlotlabError


@dataclass(frozen=True)
class Encoding:
    """What a spec's model makes by frozen parts, on its device, and the data for which that is asked."""

    engine: Engine
    storables: Sequence[Storable]
    sources: Sequence[Source]
    folder: Path
    """The folder of stores."""

    @classmethod
    def open(
        cls,
        what: str,
        *,
        kinds: Sequence[Kind],
        splits: Sequence[str] = (),
        stores: Path | None = None,
        protocol: str | None = None,
        sets: Sequence[str] = (),
        plugins: Sequence[Path] = (),
        trust: Ask = refuse,
        device: str = "auto",
    ) -> "Encoding":
        """Open a spec's data, and build its model.

        Raises:
            SpecError: if the spec is not valid, or what makes features or targets is not frozen.
            SlotlabError: if `what` is no spec, or the spec does not round these to 16 bits.
        """
        if not is_spec(what):
            made = " and ".join(f"{kind} are those of a spec's {MAKERS[kind]}" for kind in kinds)
            raise SlotlabError(f"{what}: {made}; give a spec, not data")
        chosen = () if protocol is None else (f"data.protocol={protocol}",)
        spec = prepare(what, sets=[*chosen, *sets], plugins=plugins, trust=trust).loaded.spec
        if (changed := changing_pictures(spec)) is not None:
            raise SlotlabError(f"{what}: {changed.text}")
        engine = Engine.open(spec, choose_device(device), warn=lambda text: warn([text]))
        names = tuple(dict.fromkeys((spec.data.train_split, spec.evaluation.split)))
        sources = sources_of(DataTarget(spec.name, spec.data, names), splits)
        folder = stores_folder(stores or spec.data.stores)
        model = engine.place(build_model(spec)).eval()
        for kind in kinds:
            refuse_full(what, spec, model, kind)
        return cls(engine, storables(spec, model, kinds), sources, folder)

    @property
    def spec(self) -> ExperimentSpec:
        """The spec."""
        return self.engine.spec

    def wanted(self) -> list[tuple[Storable, FeatureKey]]:
        """Return what decides about what is made of each source.

        Raises:
            SlotlabError: for endless data.
        """
        mirrored, found = self.spec.data.augmentation.flip, []
        for storable in self.storables:
            kind, facts = storable.kind, storable.facts()
            for source in self.sources:
                if is_endless(source.dataset):
                    text = f"it is endless: every epoch shows new pictures, whose {kind} no store can hold"
                    raise SlotlabError(f"the {kind} of {source.name} cannot be packed: {text}")
                key = FeatureKey(source=source, maker=facts, mirrored=mirrored, kind=kind)
                found.append((storable, key))
        return found

    def encode(self, storable: Storable, images_BCHW: Tensor) -> Tensor:
        """Return what is stored, on the CPU, of images as the data gives them, uint8."""
        placed_BCHW = normalize(images_BCHW.to(self.engine.device), self.spec.data.bounds)
        placed_BCHW = placed_BCHW.contiguous(memory_format=self.engine.memory_format)
        with precise(self.spec):
            return storable.make(placed_BCHW).cpu()


def refuse_full(what: str, spec: ExperimentSpec, model: Model, kind: Kind) -> None:
    """Refuse to pack what a spec does not round to 16 bits, or what cannot be.

    Raises:
        SlotlabError: with the reason.
    """
    chosen = spec.data.features if kind == "features" else spec.data.targets
    if chosen == "half":
        return
    if kind == "targets" and (reason := changing_targets(spec, model)) is not None:
        raise SlotlabError(f"{what}: there are no targets to pack: {reason}")
    text = f"a store holds {kind} in 16 bits, and data.{kind} is full"
    raise SlotlabError(f"{what}: {text}; write '{kind}: half' there")


def pack_features(
    what: str, *, kinds: Sequence[Kind] = ("features",), on_error: str | None = None, **options: Any
) -> dict[str, Any]:
    """Pack features, targets or both of a spec's model, and return what `print_packed_features` shows.

    Args:
        what: a spec.
        kinds: what is packed.
        on_error: `fail` or `skip` broken pictures; None for what the spec says.
        options: those of `Encoding.open`.

    Raises:
        SlotlabError: if they cannot be packed, each with the reason.
    """
    if on_error not in (None, "fail", "skip"):
        raise SlotlabError(f"--on-error {on_error}: write fail or skip")
    encoding, packed = Encoding.open(what, kinds=kinds, **options), []
    for storable, key in encoding.wanted():
        started = time.monotonic()
        for path, text in unfit(key, encoding.folder).items():
            warn([f"{path} holds {key.kind} of {text}; delete it if nothing needs it any more"])
        store = pack_one(encoding, storable, key, on_error or encoding.spec.data.on_error)
        packed.append(describe_features(store) | {"seconds": round(time.monotonic() - started, 1)})
    return {"target": encoding.spec.name, "protocol": encoding.spec.data.protocol_name, "stores": packed}


def pack_one(encoding: Encoding, storable: Storable, key: FeatureKey, on_error: Any) -> FeatureStore:
    """Pack one source with a progress bar; pictures come from their store if there is one."""
    source = key.source
    bar = open_bar(f"pack {key.kind} of {source.name} {source.split}")
    task = bar.add_task("pack", total=None, facts="")

    def report(progress: PackProgress) -> None:
        bar.start()
        facts = f"{progress.bad} broken" if progress.bad else ""
        bar.update(task, completed=progress.done, total=progress.total, facts=facts)

    made = (storable.channels, storable.grid, key.mirrored, key.kind, storable.number)
    try:
        pictures, notes = open_store(source, encoding.spec.data)
        warn(notes)
        return FeaturePacking(
            key=key,
            layout=FeatureLayout(len(source), *made),
            encode=partial(encoding.encode, storable),
            pictures=pictures,
            chunk=encoding.spec.evaluation.batch_size,
            on_error=on_error,
            report=report,
            say=lambda text: warn([text]),
        ).into(encoding.folder)
    except PathProblem as problem:
        raise SlotlabError(problem.text) from None
    finally:
        bar.stop()


def verify_feature_stores(
    what: str, *, kinds: Sequence[Kind] = ("features",), **options: Any
) -> dict[str, Any]:
    """Read stores of features whole and compare checksums: that in a folder, or those of a spec.

    Raises:
        SlotlabError: if there is no store that fits the spec.
    """
    if not is_spec(what):
        found = [FeatureStore.open(Path(what))]
    else:
        encoding = Encoding.open(what, kinds=kinds, **options)
        found = [need_features(key, encoding.folder) for _, key in encoding.wanted()]
    return {"stores": [{**describe_features(store), "problems": damages(store)} for store in found]}


def need_features(key: FeatureKey, folder: Path) -> FeatureStore:
    """Return the store of a key.

    Raises:
        SlotlabError: if there is none.
    """
    found = find_features(key, folder)
    if found is not None:
        return found
    source = key.source
    others = [f"; {path} holds {key.kind} of {text}" for path, text in unfit(key, folder).items()]
    text = f"there is no store of these {key.kind} of {source.name} {source.split} in {folder}"
    raise SlotlabError(f"{text}; {pack_hint(key.kind)}{''.join(others)}")


def damages(store: FeatureStore) -> list[str]:
    """Verify a store with a progress bar."""
    bar = open_bar(f"verify {store.path.name}")
    task = bar.add_task("verify", total=len(store), facts="")
    bar.start()
    try:
        problems = verify_features(store, lambda done, total: bar.update(task, completed=done))
        return [str(problem) for problem in problems]
    finally:
        bar.stop()


def describe_features(store: FeatureStore) -> dict[str, Any]:
    """Return the facts of a store."""
    manifest = store.manifest
    return {
        **describe_numbers(store),
        "channels": manifest.channels,
        "grid": list(manifest.grid),
        "type": np.dtype(manifest.number).name,
        "mirrored": manifest.mirrored,
    }
