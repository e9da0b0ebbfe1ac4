"""The loaders that a spec asks for."""

from collections.abc import Sequence
from dataclasses import replace

from slotlab.framework.contracts import Field
from slotlab.framework.data.augmentation import Augment, Windows
from slotlab.framework.data.clips import evaluation_clips, training_clips
from slotlab.framework.data.device_placement import Placement
from slotlab.framework.data.fields import source_of
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.selection import select
from slotlab.framework.spec.schema import ExperimentSpec


def with_fields(loader: Loader, names: Sequence[Field]) -> Loader:
    """Return a loader that also reads these fields of each picture.

    Raises:
        PathProblem: at the objective, if the dataset does not have them.
    """
    if names:
        source_of(loader.selection, names)
    return replace(loader, fields=tuple(names))


def train_loader(spec: ExperimentSpec, placement: Placement) -> Loader:
    """Return the loader of a spec's training split."""
    data, wanted = spec.data, spec.data.augmentation
    plain = not wanted.flip and wanted.crop == 1.0
    windows = Windows(seed=spec.seed) if wanted.window == "random" else None
    if windows is not None:  # a store has no windows but the center
        data = data.model_copy(update={"store": "off"})
    selection = select(data, data.train_split, device=placement.device)
    return Loader(
        selection,
        spec.training.batch_size,
        placement.device,
        data.bounds,
        data.workers,
        masks=False,
        mask_size=data.mask_size,
        clips=None if data.clip is None else training_clips(selection, data.clip, spec.seed),
        windows=windows,
        augment=None if plain else Augment(seed=spec.seed, flip=wanted.flip, crop=wanted.crop),
        memory_format=placement.memory_format,
        rank=placement.rank,
        processes=placement.processes,
    )


def evaluation_loader(spec: ExperimentSpec, placement: Placement, split: str | None = None) -> Loader:
    """Return the loader of a spec's evaluation split, or of another split."""
    selection = select(
        spec.data,
        split or spec.evaluation.split,
        device=placement.device,
        slots=spec.evaluated_slots,
    )
    clip, wanted = spec.data.clip, spec.evaluation
    return Loader(
        selection,
        spec.evaluation.batch_size,
        placement.device,
        spec.data.bounds,
        spec.data.workers,
        clips=None
        if clip is None
        else evaluation_clips(selection, clip, wanted.clip_frames, wanted.from_frame),
        mask_size=spec.data.mask_size,
        memory_format=placement.memory_format,
        rank=placement.rank,
        processes=placement.processes,
    )
