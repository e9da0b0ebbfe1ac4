"""Packs the features of a spec's frozen encoder, and reads such stores whole, with a progress bar."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from slotlab.framework.api.console import warn
from slotlab.framework.api.packing import sources_of
from slotlab.framework.api.progress import open_bar
from slotlab.framework.contracts import Model, TakesFeatures
from slotlab.framework.data.inspection.target import DataTarget, is_spec
from slotlab.framework.data.loader import normalize
from slotlab.framework.data.read_capabilities import is_endless
from slotlab.framework.data.selection import open_store
from slotlab.framework.data.source import Source
from slotlab.framework.data.store.feature_format import FeatureKey, FeatureLayout
from slotlab.framework.data.store.feature_pack import FeaturePacking
from slotlab.framework.data.store.features import FeatureStore, find_features, unfit, verify_features
from slotlab.framework.data.store.pack import PackProgress
from slotlab.framework.jobs.train import choose_device, prepare
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine, precise
from slotlab.framework.model.feature_stores import PACK_HINT, encoder_facts
from slotlab.framework.model.half_features import rounded_features
from slotlab.framework.plugin_loading.trust import Ask, refuse
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.cache import stores_folder
from slotlab.registry import SlotlabError


@dataclass(frozen=True)
class Encoding:
    """A spec's frozen encoder on its device, and the data whose features are asked for."""

    engine: Engine
    model: TakesFeatures
    sources: Sequence[Source]
    folder: Path
    """The folder of stores."""

    @classmethod
    def open(
        cls,
        what: str,
        *,
        splits: Sequence[str] = (),
        stores: Path | None = None,
        protocol: str | None = None,
        sets: Sequence[str] = (),
        plugins: Sequence[Path] = (),
        trust: Ask = refuse,
        device: str = "auto",
    ) -> "Encoding":
        """Open a spec's data, and build its encoder.

        Raises:
            SpecError: if the spec is not valid, or its encoder is not frozen.
            SlotlabError: if `what` is no spec, or the spec's features are not rounded to 16 bits.
        """
        if not is_spec(what):
            raise SlotlabError(f"{what}: features are those of a spec's encoder; give a spec, not data")
        chosen = () if protocol is None else (f"data.protocol={protocol}",)
        spec = prepare(what, sets=[*chosen, *sets], plugins=plugins, trust=trust).loaded.spec
        if spec.data.features != "half":
            text = "a store holds features in 16 bits, and data.features is full"
            raise SlotlabError(f"{what}: {text}; write 'features: half' there")
        if spec.data.augmentation.crop < 1:
            text = "every random crop is another picture, whose features no store can hold"
            raise SlotlabError(f"{what}: {text}; write data.augmentation.crop: 1.0")
        engine = Engine.open(spec, choose_device(device), warn=lambda text: warn([text]))
        names = tuple(dict.fromkeys((spec.data.train_split, spec.evaluation.split)))
        sources = sources_of(DataTarget(spec.name, spec.data, names), splits)
        folder = stores_folder(stores or spec.data.stores)
        return cls(engine, taking(engine.place(build_model(spec))), sources, folder)

    @property
    def spec(self) -> ExperimentSpec:
        """The spec."""
        return self.engine.spec

    def feature_keys(self) -> list[FeatureKey]:
        """Return what decides about the features of each source.

        Raises:
            SlotlabError: for endless data.
        """
        for source in self.sources:
            if is_endless(source.dataset):
                text = "it is endless: every epoch shows new pictures, whose features no store can hold"
                raise SlotlabError(f"the features of {source.name} cannot be packed: {text}")
        facts = encoder_facts(self.spec, self.model.encoder)
        mirrored = self.spec.data.augmentation.flip
        return [FeatureKey(source=source, encoder=facts, mirrored=mirrored) for source in self.sources]

    def encode(self, images_BCHW: Tensor) -> Tensor:
        """Return features, float16 on the CPU, of images as the data gives them, uint8."""
        placed_BCHW = normalize(images_BCHW.to(self.engine.device), self.spec.data.bounds)
        placed_BCHW = placed_BCHW.contiguous(memory_format=self.engine.memory_format)
        with precise(self.spec):
            return rounded_features(self.model.encoder, placed_BCHW).cpu()


def taking(model: Model) -> TakesFeatures:
    """Return a model, which `prepare` has found to take stored features, in evaluation mode."""
    model.eval()
    assert isinstance(model, TakesFeatures)
    return model


def pack_features(what: str, *, on_error: str | None = None, **options: Any) -> dict[str, Any]:
    """Pack the features of a spec's encoder, and return what `print_packed_features` shows.

    Args:
        what: a spec.
        on_error: `fail` or `skip` broken pictures; None for what the spec says.
        options: those of `Encoding.open`.

    Raises:
        SlotlabError: if the features cannot be packed, each with the reason.
    """
    if on_error not in (None, "fail", "skip"):
        raise SlotlabError(f"--on-error {on_error}: write fail or skip")
    encoding, packed = Encoding.open(what, **options), []
    for key in encoding.feature_keys():
        started = time.monotonic()
        for path, text in unfit(key, encoding.folder).items():
            warn([f"{path} holds features of {text}; delete it if nothing needs it any more"])
        store = pack_one(encoding, key, on_error or encoding.spec.data.on_error)
        packed.append(describe_features(store) | {"seconds": round(time.monotonic() - started, 1)})
    return {"target": encoding.spec.name, "protocol": encoding.spec.data.protocol_name, "stores": packed}


def pack_one(encoding: Encoding, key: FeatureKey, on_error: Any) -> FeatureStore:
    """Pack one source with a progress bar; pictures come from their store if there is one."""
    source, encoder = key.source, encoding.model.encoder
    bar = open_bar(f"pack features of {source.name} {source.split}")
    task = bar.add_task("pack", total=None, facts="")

    def report(progress: PackProgress) -> None:
        bar.start()
        facts = f"{progress.bad} broken" if progress.bad else ""
        bar.update(task, completed=progress.done, total=progress.total, facts=facts)

    shape: Any = encoder
    layout = FeatureLayout(len(source), int(shape.channels), tuple(shape.grid), key.mirrored)
    try:
        pictures, notes = open_store(source, encoding.spec.data)
        warn(notes)
        return FeaturePacking(
            key,
            layout,
            encoding.encode,
            pictures,
            chunk=encoding.spec.evaluation.batch_size,
            on_error=on_error,
            report=report,
            say=lambda text: warn([text]),
        ).into(encoding.folder)
    except PathProblem as problem:
        raise SlotlabError(problem.text) from None
    finally:
        bar.stop()


def verify_feature_stores(what: str, **options: Any) -> dict[str, Any]:
    """Read stores of features whole and compare checksums: that in a folder, or those of a spec.

    Raises:
        SlotlabError: if there is no store that fits the spec.
    """
    if not is_spec(what):
        found = [FeatureStore.open(Path(what))]
    else:
        encoding = Encoding.open(what, **options)
        found = [need_features(key, encoding.folder) for key in encoding.feature_keys()]
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
    others = [f"; {path} holds features of {text}" for path, text in unfit(key, folder).items()]
    text = f"there is no store of these features of {source.name} {source.split} in {folder}"
    raise SlotlabError(f"{text}; {PACK_HINT}{''.join(others)}")


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
        "path": str(store.path),
        "dataset": manifest.name,
        "split": manifest.split,
        "images": len(store) - len(store.bad),
        "channels": manifest.channels,
        "grid": list(manifest.grid),
        "mirrored": manifest.mirrored,
        "bytes": store.bytes,
        "checksum": store.checksum,
        "skipped": [str(problem) for problem in store.bad.values()],
    }
