"""Where the files of Physion lie: videos or HDF5 files of its subsets, labels of trials, and lists of trials.

    PhysionTrainMP4s/Collide_training_MP4s/NAME_img.mp4     PhysionTrainMP4s/readout_labels.csv
    PhysionTrainMP4s/Collide_readout_MP4s/NAME_img.mp4
    PhysionTestMP4s/Collide/mp4s-redyellow/NAME-redyellow_0000_img.mp4      PhysionTestMP4s/labels.csv
    {dynamics_training,readout_training,testing}/Collide/.../NAME.hdf5

Source: Bear et al. 2021, "Physion: Evaluating Physical Prediction from Vision in Humans and Machines".
"""

import csv
import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from slotlab.framework.data.formats.pictures import natural_key
from slotlab.registry import ComponentError

Subset = Literal["training", "readout", "test"]
Kind = Literal["mp4", "hdf5"]
_LABELS: Mapping[Subset, str] = {"readout": "readout_labels.csv", "test": "labels.csv"}
_HDF5: Mapping[Subset, str] = {
    "training": "dynamics_training",
    "readout": "readout_training",
    "test": "testing",
}
_TRAIN, _TEST = "PhysionTrainMP4s", "PhysionTestMP4s"
_COLORED = "redyellow"
_TRUTH = {"True": True, "False": False}


class Trial(NamedTuple):
    """A video of a simulated trial, and the file that holds it."""

    scenario: str
    """In small letters: collide, contain, dominoes, drape, drop, link, roll or support."""
    name: str
    """The file's name without `_img`, `-redyellow` and ending, as lists of trials have it."""
    path: Path


def trial_name(text: str) -> str:
    """Return the name of a trial from that of a file, of a label, or from a list's entry."""
    stem = text.strip().rsplit("/", 1)[-1].removesuffix(".mp4").removesuffix(".hdf5")
    return stem.removesuffix("_img").replace(f"-{_COLORED}", "")


def trials_of(root: Path, kind: Kind, subset: Subset) -> Iterator[Trial]:
    """Yield the trials of a subset as they are found; nothing if there are none."""
    if kind == "hdf5":
        for folder in _folders(root / _HDF5[subset]):
            colored = folder / f"hdf5s-{_COLORED}"
            for path in (colored if colored.is_dir() else folder).rglob("*.hdf5"):
                if not path.stem.endswith("temp"):  # what a simulation leaves that was broken off
                    yield Trial(folder.name.lower(), trial_name(path.name), path)
        return
    for base in _bases(root, subset):
        for folder in _folders(base):
            inner = folder / f"mp4s-{_COLORED}" if subset == "test" else folder
            scenario, suffix = folder.name, "" if subset == "test" else f"_{subset}_MP4s"
            if scenario.endswith(suffix) and inner.is_dir():
                for path in inner.glob("*.mp4"):
                    yield Trial(scenario.removesuffix(suffix).lower(), trial_name(path.name), path)


def list_trials(root: Path, kind: Kind, subset: Subset) -> list[Trial]:
    """Return the trials of a subset, by scenario and name.

    Raises:
        ComponentError: if there are none, or two of one name.
    """
    found = sorted(
        trials_of(root, kind, subset), key=lambda one: (one.scenario, natural_key(one.name), str(one.path))
    )
    if not found:
        raise ComponentError(_nothing(root, kind, subset), field="root")
    for one, other in pairwise(found):
        if one[:2] == other[:2]:
            raise ComponentError(f"{one.path} and {other.path} are the same trial; keep one", field="root")
    return found


def read_labels(root: Path, subset: Subset) -> tuple[Path, Mapping[str, bool] | None]:
    """Return the file of a subset's labels, and of each trial whether the agent touches the patient.

    Returns:
        None in place of the labels if that file is missing.

    Raises:
        ComponentError: for a file that is damaged, with the line.
    """
    name = _LABELS[subset]
    places = [base / name for base in (*_bases(root, subset), root)]
    path = next((place for place in places if place.is_file()), places[0])
    if not path.is_file():
        return path, None
    labels: dict[str, bool] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                if row[:1] == [""] or not row:
                    continue  # the head, whose first field is empty
                if len(row) != 2 or row[1] not in _TRUTH:
                    text = f"expected a trial and True or False, found {','.join(row)[:80]!r}"
                    raise ComponentError(f"{path}, line {len(labels) + 2}: {text}", field="root")
                labels[trial_name(row[0])] = _TRUTH[row[1]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ComponentError(f"{path} cannot be read: {error}", field="root") from None
    return path, labels


def read_list(folder: Path, subset: Subset, part: Literal["train", "val"]) -> frozenset[str]:
    """Return the names of the trials in one of SlotFormer's lists.

    Raises:
        ComponentError: if it is missing or has another form.
    """
    path = folder / f"{subset}_{part}.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return frozenset(trial_name(one) for trials in data.values() for one in trials)
    except FileNotFoundError:
        text = f"there is no file {path}; give SlotFormer's slotformer/base_slots/datasets/splits/Physion"
        raise ComponentError(text, field="lists") from None
    except (OSError, AttributeError, TypeError, ValueError) as error:
        text = f"{path} is no list of trials by scenario, {{Collide: [.../NAME_img.mp4, ...], ...}}: {error}"
        raise ComponentError(text, field="lists") from None


def read_names(path: Path) -> frozenset[str]:
    """Return the names of trials in a file with one in each line.

    Raises:
        ComponentError: if it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ComponentError(f"{path} cannot be read: {error}", field="leave_out") from None
    return frozenset(trial_name(line) for line in lines if line.strip())


def _bases(root: Path, subset: Subset) -> list[Path]:
    """Return the folders that may hold those of a subset's videos, as archives are unpacked."""
    if subset == "test":
        places = [root / _TEST, root / _TEST / "Physion", root / "Physion", root]
    else:
        places = [root / _TRAIN, root / _TRAIN / _TRAIN, root]
    return [place for place in places if place.is_dir()]


def _folders(base: Path) -> list[Path]:
    return sorted(one for one in base.iterdir() if one.is_dir()) if base.is_dir() else []


def _nothing(root: Path, kind: Kind, subset: Subset) -> str:
    if kind == "hdf5":
        place = root / _HDF5[subset] / "Collide" / "NAME.hdf5"
    elif subset == "test":
        place = root / _TEST / "Collide" / f"mp4s-{_COLORED}" / f"NAME-{_COLORED}_0000_img.mp4"
    else:
        place = root / _TRAIN / f"Collide_{subset}_MP4s" / "NAME_img.mp4"
    return f"there are no files of the subset {subset}: they are called {place}, and so for other scenarios"
