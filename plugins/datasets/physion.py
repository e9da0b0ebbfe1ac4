"""Physion: simulated trials of eight scenarios, and whether the agent touches the patient in the end.

    <root>/PhysionTrainMP4s/Collide_training_MP4s/NAME_img.mp4      30 frames a second, no masks
    <root>/PhysionTrainMP4s/Collide_readout_MP4s/NAME_img.mp4       with readout_labels.csv
    <root>/PhysionTestMP4s/Collide/mp4s-redyellow/NAME-redyellow_0000_img.mp4       with labels.csv
    <root>/{dynamics_training,readout_training,testing}/Collide/.../NAME.hdf5       with masks: `files: hdf5`

Source: Bear et al. 2021, "Physion: Evaluating Physical Prediction from Vision in Humans and Machines",
section 3. The agent is red and the patient yellow, but in training. Physion has no validation set: `val` and
`readout_val` are SlotFormer's (Wu et al. 2023), by its lists. It needs `slotlab[video]`, or `slotlab[data]`.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Len
from pydantic import PositiveInt
from torch import Tensor

from slotlab.framework.contracts import (
    DataError,
    DataProblem,
    DatasetContext,
    Downloads,
    Recognized,
    Sample,
    Source,
)
from slotlab.framework.data.formats.physion_files import (
    Kind,
    Subset,
    Trial,
    list_trials,
    read_labels,
    read_list,
    read_names,
    trials_of,
)
from slotlab.framework.data.formats.physion_hdf5 import TrialReader
from slotlab.framework.data.formats.pictures import fingerprint_paths
from slotlab.framework.data.formats.video_decoding import EXTRA, count_frames
from slotlab.framework.data.formats.video_files import VideoFile, VideoFileListing, VideoFiles
from slotlab.framework.data.formats.video_order import VideoOrder
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import suggest
from slotlab.registry.optional import require

Split = Literal["train", "val", "readout", "readout_val", "test"]
_SPLITS: Mapping[Split, tuple[Subset, Literal["train", "val"] | None]] = {
    "train": ("training", "train"),
    "val": ("training", "val"),
    "readout": ("readout", "train"),
    "readout_val": ("readout", "val"),
    "test": ("test", None),
}
"""The subset of each split, and its part by SlotFormer's lists."""
_PUBLISHED: tuple[Split, ...] = ("train", "readout", "test")
_HOST = "https://physics-benchmarking-neurips2021-dataset.s3.amazonaws.com"
_CODE = "https://raw.githubusercontent.com/cogtoolslab/physics-benchmarking-neurips2021/master"
_LICENSE = (
    "not stated for the videos; the code (github.com/cogtoolslab/physics-benchmarking-neurips2021): MIT"
)


class PhysionConfig(ComponentConfig):
    """Settings of Physion."""

    root: SpecPath
    """The folder that holds PhysionTrainMP4s and PhysionTestMP4s, or the folders of HDF5 files."""
    files: Kind = "mp4"
    """Whether to read the videos, which have no masks, or the HDF5 files, which have."""
    splits: Annotated[tuple[Split, ...], Len(1)] = _PUBLISHED
    """The splits that are there; val and readout_val need `lists`."""
    lists: SpecPath | None = None
    """A folder with SlotFormer's lists of trials (training_val.json and others), by which train and readout
    are split; null: they are all that is there."""
    leave_out: SpecPath | None = None
    """A file with names of trials that are left out, one in each line, such as those whose physics are known
    to be wrong; null: none is."""
    frames: PositiveInt | None = 150
    """How many frames of each video are read, from its first; every one has 150. null for all, for which each
    file is opened."""

    published_data: ClassVar[str] = "physion"
    downloads: ClassVar[Downloads] = Downloads(
        parts={
            "train": (
                Source(
                    url=f"{_HOST}/PhysionTrainMP4s.tar.gz",
                    license=_LICENSE,
                    bytes=803_488_088,
                    unpack="PhysionTrainMP4s",
                ),
                Source(url=f"{_CODE}/data/readout_labels.csv", license=_LICENSE),
            ),
            "test": (
                Source(
                    url=f"{_HOST}/Physion.zip", license=_LICENSE, bytes=284_049_930, unpack="PhysionTestMP4s"
                ),
            ),
        },
        usual=("train", "test"),
        by_hand="HDF5 files, about 1 TB, are in 24 archives that the README of "
        "github.com/cogtoolslab/physics-benchmarking-neurips2021 lists; unpack them in the folders "
        "dynamics_training, readout_training and testing",
    )
    recognized_data: ClassVar[str] = "the folder of Physion"

    @classmethod
    def recognize(cls, path: Path) -> Recognized | None:
        """Return the subsets whose videos, or else HDF5 files, lie in a folder."""
        kinds: tuple[Kind, ...] = ("mp4", "hdf5")
        for kind in kinds:
            splits = [one for one in _PUBLISHED if any(True for _ in trials_of(path, kind, _SPLITS[one][0]))]
            if splits:
                return Recognized(settings={"root": str(path), "files": kind, "splits": splits})
        return None


class PhysionVideos(VideoFiles):
    """Frames of videos: image uint8 (3, H, W), no mask.

    Attributes: `video`, `frame`, `scenario`, and but for training `contact`: whether the agent touches the
    patient at any time of the whole video.
    """

    def __init__(self, config: PhysionConfig, found: "_Found"):
        frames = [config.frames or count_frames(one.path) for one in found.trials]
        files = [
            VideoFile(f"{one.scenario}/{one.name}", one.path, place, count)
            for one, place, count in zip(found.trials, found.places, frames, strict=True)
        ]
        listing = VideoFileListing(files, found.listed, found.problems, found.cautions)
        super().__init__(config.root, listing, others=found.others)
        self._trials, self._contacts = found.trials, found.contacts

    def attributes(self, index: int) -> Mapping[str, Any]:
        """Return what is known of frame `index`."""
        trial = self._trials[self.locate(index)[0]]
        told = {} if self._contacts is None else {"contact": self._contacts[trial.name]}
        return {**super().attributes(index), "scenario": trial.scenario, **told}


class PhysionHDF5(VideoOrder):
    """Frames of HDF5 files: image uint8 (3, H, W), mask uint8 (H, W), int32 from 256 objects on.

    Mask value i is object i of `static/object_ids`, 0 the room. Attributes: `video`, `frame`, `scenario`,
    `num_objects` and `objects` of the video, seen in the frame or not, each with `index`, `id`, `model` and
    `role` (agent, patient, probe or None); where the file tells it `contact`, whether the agent touches the
    patient at any time, and `contact_now`, whether in this frame.
    """

    def __init__(self, config: PhysionConfig, found: "_Found"):
        self._reader = TrialReader()
        counts = [config.frames or self._reader.count(one.path) for one in found.trials]
        super().__init__(counts, found.places, found.listed)
        self.problems: Sequence[DataProblem] = found.problems
        """Trials that are left out because of what is wrong with them; there are none."""
        self.cautions: Sequence[str] = found.cautions
        """What the user should know of the files."""
        self._root, self._trials, self._counts, self._others = config.root, found.trials, counts, found.others

    def __getitem__(self, index: int) -> Sample:
        """Return frame `index`; raises DataError for a file that is damaged or ends too early."""
        video, frame = self.locate(index)
        path = self._trials[video].path
        return Sample(
            id=self.ids[index],
            image_CHW=torch.from_numpy(self._reader.image(path, frame)),
            mask_HW=self.mask(index),
            attributes=self.attributes(index),
            path=str(path),
        )

    def mask(self, index: int) -> Tensor:
        """Return the mask of frame `index`; raises DataError for a file that is damaged."""
        video, frame = self.locate(index)
        return torch.from_numpy(self._reader.mask(self._trials[video].path, frame))

    def attributes(self, index: int) -> Mapping[str, Any]:
        """Return what is known of frame `index`; raises DataError for a file that is damaged."""
        video, frame = self.locate(index)
        trial = self._trials[video]
        facts = self._reader.facts(trial.path)
        objects = [dict(one) for one in facts.objects]
        told = {"video": f"{trial.scenario}/{trial.name}", "frame": frame, "scenario": trial.scenario}
        if facts.contacts is not None:
            if frame >= len(facts.contacts):
                text = f"ends after {len(facts.contacts)} frames; frame {frame}, counted from 0, is missing"
                raise DataError(DataProblem(str(trial.path), text))
            told |= {"contact": any(facts.contacts), "contact_now": facts.contacts[frame]}
        return {**told, "num_objects": len(objects), "objects": objects}

    @cached_property
    def ids(self) -> Sequence[str]:
        """The id of each frame."""
        pairs = zip(self._trials, self._counts, strict=True)
        return [f"{one.scenario}/{one.name}/{frame:05d}" for one, count in pairs for frame in range(count)]

    def fingerprint(self) -> str:
        """Return the state of all files."""
        return fingerprint_paths([*(one.path for one in self._trials), *self._others], self._root)


class _Found:
    """The trials of a split, their labels, and what is wrong."""

    def __init__(self, config: PhysionConfig, split: Split):
        """Find them; raises ComponentError if there are none, or a file that is named is damaged."""
        subset, part = _SPLITS[split]
        every = list_trials(config.root, config.files, subset)
        self.others: list[Path] = []
        self.cautions: list[str] = []
        self.problems: list[DataProblem] = []
        self.contacts: Mapping[str, bool] | None = None
        if config.lists is not None and part is not None:
            every = self._listed(every, read_list(config.lists, subset, part), config.lists, part)
            self.others.append(config.lists / f"{subset}_{part}.json")
        if config.leave_out is not None:
            wrong = read_names(config.leave_out)
            every = [one for one in every if one.name not in wrong]
            self.others.append(config.leave_out)
        self.listed = len(every)
        self.places: list[int] = list(range(len(every)))
        self.trials: Sequence[Trial] = every
        if config.files == "mp4" and subset != "training":
            self._label(config.root, subset)
        if not self.trials:
            raise ComponentError(f"no trial of the split {split!r} is left", field="splits")

    def _listed(self, every: Sequence[Trial], wanted: frozenset[str], lists: Path, part: str) -> list[Trial]:
        kept = [one for one in every if one.name in wanted]
        if len(kept) < len(wanted):
            text = (
                f"{len(wanted) - len(kept):,} of the {len(wanted):,} trials in {lists}'s list {part} are not"
            )
            self.cautions.append(f"{text} there")
        return kept

    def _label(self, root: Path, subset: Subset) -> None:
        path, labels = read_labels(root, subset)
        if labels is None:
            text = f"there is no {path}: frames are read without `contact`"
            self.cautions.append(f"{text}; `slotlab data fetch physion {root}` gets it")
            return
        self.contacts = labels
        self.others.append(path)
        bare = {place for place, one in enumerate(self.trials) if one.name not in labels}
        self.problems = [
            DataProblem(str(self.trials[place].path), f"has no row in {path}", place)
            for place in sorted(bare)
        ]
        self.places = [place for place in self.places if place not in bare]
        self.trials = [self.trials[place] for place in self.places]


def open_physion(config: PhysionConfig, context: DatasetContext) -> PhysionVideos | PhysionHDF5:
    """List the trials of a split.

    Raises:
        ComponentError: for a split or folder that is not there, or lists and labels that cannot be read.
    """
    split = next((one for one in config.splits if one == context.split), None)
    if split is None:
        text = f"there is no split {context.split!r}; the splits are {', '.join(config.splits)}"
        raise ComponentError(text + suggest(context.split, config.splits))
    if config.lists is None and split in ("val", "readout_val"):
        text = f"{split} is SlotFormer's, since Physion has none: give `lists`, the folder"
        text = f"{text} slotformer/base_slots/datasets/splits/Physion of github.com/pairlab/SlotFormer"
        raise ComponentError(text, field="lists")
    require(*(("av", EXTRA) if config.files == "mp4" else ("h5py", "slotlab[data]")))
    found = _Found(config, split)
    return PhysionVideos(config, found) if config.files == "mp4" else PhysionHDF5(config, found)


@hookimpl
def slotlab_datasets() -> Iterable[Component[PhysionConfig]]:
    """Provide `physion`."""
    yield Component(
        name="physion",
        config=PhysionConfig,
        build=open_physion,
        summary="frames of Physion: trials of eight scenarios and whether two objects meet",
        install="slotlab[data,video]",
    )
