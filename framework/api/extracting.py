"""Packs the slots that a trained run finds in clips into a store, with a progress bar."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from slotlab.framework.api.console import warn
from slotlab.framework.api.feature_packing import describe_features
from slotlab.framework.api.progress import open_bar
from slotlab.framework.contracts import Batch
from slotlab.framework.data.clips import Clips
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.loaders import train_loader
from slotlab.framework.data.source import known_splits
from slotlab.framework.data.store.feature_format import FeatureKey
from slotlab.framework.data.store.features import FeatureStore, unfit
from slotlab.framework.data.store.pack import PackProgress
from slotlab.framework.jobs.train import choose_device
from slotlab.framework.model.engine import Engine, precise
from slotlab.framework.model.held import Held
from slotlab.framework.model.slot_model import SlotModel
from slotlab.framework.model.slot_packing import SlotPacking, slot_layout
from slotlab.framework.model.slot_stores import slot_key
from slotlab.framework.model.slots_of_clips import SlotsOfClips
from slotlab.framework.model.trained_input import trained_model
from slotlab.framework.plugin_loading.trust import Ask, refuse
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.runs.run_input import RunInput
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.load import LoadedSpec, load_spec
from slotlab.framework.spec.messages import say
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.cache import stores_folder
from slotlab.registry import ComponentError, SlotlabError
from slotlab.registry.component import suggest


@dataclass(frozen=True)
class Extraction:
    """A run's model on its device, and the clips in which it is to find slots."""

    engine: Engine
    slots: SlotsOfClips
    loader: Loader
    """Of a training: as `data.clip` says."""
    folder: Path
    """The folder of stores."""

    @classmethod
    def open(
        cls,
        run: Path,
        *,
        data: str | None = None,
        split: str | None = None,
        checkpoint: str | None = None,
        stores: Path | None = None,
        sets: Sequence[str] = (),
        plugins: Sequence[Path] = (),
        trust: Ask = refuse,
        device: str = "auto",
    ) -> "Extraction":
        """Open a run, and the data of a spec; None for the run's own.

        Raises:
            SpecError: if the spec is not valid, or its data is missing.
            SlotlabError: if the run is none with slots, or takes other images.
        """
        given = run_input(run, checkpoint)
        loaded = load_spec(data or RunFolder(run).spec, sets=sets, plugins=plugins, trust=trust)
        spec = with_split(loaded, split)
        if spec.data.clip is None:
            named = f"{data or run}: its frames are single pictures"
            raise SlotlabError(f"{named}; say which clips are meant, such as --set data.clip.frames=6")
        try:
            trained_on, model = trained_model(given, field="source", trust=trust)
        except ComponentError as error:
            raise SlotlabError(str(error)) from None
        check_fit(run, trained_on, model, spec)
        engine = Engine.open(spec, choose_device(device), warn=lambda text: warn([text]))
        source = SlotsOfClips(
            source=Held(engine.place(model)), trained_on=trained_on, run=str(run), once=True
        )
        try:
            loader = replace(train_loader(spec, engine.placement), masks=model.told is not None)
            folder = stores_folder(stores or spec.data.stores)
        except PathProblem as problem:
            raise loaded.error([problem]) from None
        if loader.augment is not None or loader.windows is not None:
            text = "data.augmentation changes clips, whose slots no store can hold"
            raise SlotlabError(f"{data or run}: {text}; leave it out")
        return cls(engine, source, loader, folder)

    @property
    def every(self) -> Loader:
        """A loader of every clip that the training may show, each once."""
        assert self.loader.clips is not None
        return replace(self.loader, clips=Clips(starts=[[one] for one in self.loader.clips.every]))

    def find(self, batch: Batch) -> Tensor:
        """Return the slots of clips, in float32 whatever the training's precision."""
        with precise(self.engine.spec):
            return self.slots.find(batch)


def run_input(run: Path, checkpoint: str | None) -> RunInput:
    """Return a run, and the checkpoint that is named, as an input.

    Raises:
        SlotlabError: if there is none.
    """
    chosen: Any = int(checkpoint) if checkpoint is not None and checkpoint.isdecimal() else checkpoint
    settings = {"run": str(run), **({} if chosen is None else {"checkpoint": chosen})}
    try:
        return RunInput.model_validate(settings)
    except ValidationError as error:
        raise SlotlabError("; ".join(say(one) for one in error.errors(include_url=False))) from None


def with_split(loaded: LoadedSpec, split: str | None) -> ExperimentSpec:
    """Return a spec that trains on a split.

    Raises:
        SlotlabError: if the data has no such split.
    """
    spec = loaded.spec
    known = known_splits(spec.data)
    if split is None:
        return spec
    if split not in known:
        text = f"{spec.data.dataset.name} has no split '{split}'{suggest(split, known)}"
        raise SlotlabError(f"{text} (splits: {', '.join(known)})")
    return spec.model_copy(update={"data": spec.data.model_copy(update={"train_split": split})})


def check_fit(run: Path, trained_on: ExperimentSpec, model: object, spec: ExperimentSpec) -> None:
    """Refuse a run without slots, with more than vectors, and images of another size or range.

    Raises:
        SlotlabError: with what would be right.
    """
    if not isinstance(model, SlotModel):
        text = f"the model '{trained_on.model.name}' of {run} is none with an encoder, slots and a decoder"
        raise SlotlabError(f"{text}; take a run of one, such as video_slots")
    here, there = spec.data, trained_on.data
    if (here.bounds, here.size) != (there.bounds, there.size):
        (low, high), (rows, columns) = there.bounds, there.size
        text = f"{run} was trained on images of {columns}x{rows} pixels in [{low:g}, {high:g}]"
        raise SlotlabError(f"{text}; take the same protocol here")


def extract_slots(run: Path, **options: Any) -> dict[str, Any]:
    """Pack the slots of a run, and return what `print_extracted` shows; see `Extraction.open`.

    Raises:
        SlotlabError: if they cannot be packed, with the reason.
    """
    started = time.monotonic()
    extraction = Extraction.open(run, **options)
    key = slot_key(extraction.slots, extraction.loader)
    for path, text in unfit(key, extraction.folder).items():
        warn([f"{path} holds slots of {text}; delete it if nothing needs it any more"])
    every = extraction.every
    drawn = extraction.slots.draws(next(iter(every.share([0])))[1])
    store = pack_slots(extraction, key, every)
    found = describe_features(store)
    frames, slots = found.pop("grid")
    shape = {"frames": frames, "slots": slots, "slot_dim": found.pop("channels")}
    chosen = {name: found[name] for name in ("path", "kind", "dataset", "split", "bytes", "checksum")}
    facts = {"run": str(run), "clips": len(store), **shape, "drawn_once": drawn}
    return {**chosen, **facts, "seconds": round(time.monotonic() - started, 1)}


def pack_slots(extraction: Extraction, key: FeatureKey, every: Loader) -> FeatureStore:
    """Pack the slots of every clip with a progress bar."""
    source, model = key.source, extraction.slots.model
    bar = open_bar(f"extract slots of {source.name} {source.split}")
    task = bar.add_task("extract", total=None, facts="")

    def report(progress: PackProgress) -> None:
        bar.start()
        bar.update(task, completed=progress.done, total=progress.total)

    layout = slot_layout(every.total, every.length(0), model.num_slots, model.slot_dim)
    try:
        return SlotPacking(
            key=key,
            layout=layout,
            loader=every,
            find=extraction.find,
            chunk=extraction.engine.spec.training.batch_size,
            report=report,
            say=lambda text: warn([text]),
        ).into(extraction.folder)
    finally:
        bar.stop()
