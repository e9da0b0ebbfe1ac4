"""Trials of Physion in HDF5: pictures, masks of objects, contacts, and which objects there are.

    frames/0000/images/_img, _id              bytes of PNGs; in later files _img_cam0, _id_cam0
    frames/0000/labels/target_contacting_zone whether the agent touches the patient
    static/object_ids (N,), object_segmentation_colors (N, 3), model_names (N,), target_id, zone_id, probe_id

Source: Bear et al. 2021, "Physion: Evaluating Physical Prediction from Vision in Humans and Machines".
"""

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slotlab.framework.contracts import DataError, DataProblem
from slotlab.framework.data.formats.hdf5 import open_hdf5, plain_fact
from slotlab.framework.data.formats.mask_pictures import color_codes
from slotlab.framework.data.formats.pictures import decode, rgb

_KEPT = 4
"""The number of files that are kept open."""
_CONTACT = "target_contacting_zone"
_ROLES = {"target_id": "agent", "zone_id": "patient", "probe_id": "probe"}


@dataclass(frozen=True)
class Facts:
    """What is known of a trial."""

    colors: NDArray[np.int32]
    """(N,) colors of the objects in masks, red * 65536 + green * 256 + blue."""
    objects: Sequence[Mapping[str, Any]]
    """Each object's `index` (its value in masks), `id`, `model` and `role`: agent, patient, probe or None."""
    contacts: Sequence[bool] | None
    """Of each frame whether the agent touches the patient; None if the file does not tell."""


class TrialReader:
    """Reads single frames of trials. The files that were read last stay open; each process opens its own."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, Any] = OrderedDict()
        self._facts: dict[Path, Facts] = {}
        self._process = os.getpid()

    def count(self, path: Path) -> int:
        """Return the number of frames of a trial; raises DataError for a file that is damaged."""
        return len(self._get(path, "frames"))

    def image(self, path: Path, frame: int) -> NDArray[np.uint8]:
        """Return a frame, uint8 (3, H, W); raises DataError for a file that is damaged or ends before."""
        name, picture = self._picture(path, frame, "_img")
        return rgb(picture, name)

    def mask(self, path: Path, frame: int) -> NDArray[np.integer]:
        """Return a frame's labels (H, W): i for object i of the trial, 0 for the room; uint8 or int32.

        Raises:
            DataError: for a file that is damaged or ends before.
        """
        name, picture = self._picture(path, frame, "_id")
        if picture.mode not in ("RGB", "RGBA"):
            raise DataError(DataProblem(name, f"holds no colors of objects, it is {picture.mode}"))
        codes_HW = color_codes(np.array(picture)[..., :3])
        colors = self.facts(path).colors
        order = np.argsort(colors, kind="stable")
        if not len(order):
            return np.zeros(codes_HW.shape, np.uint8)
        places_HW = np.searchsorted(colors[order], codes_HW).clip(max=len(order) - 1)
        known_HW = colors[order][places_HW] == codes_HW
        labels_HW = np.where(known_HW, order[places_HW] + 1, 0)
        return labels_HW.astype(np.uint8 if len(order) < 256 else np.int32)

    def facts(self, path: Path) -> Facts:
        """Return what is known of a trial; raises DataError for a file that is damaged."""
        if path not in self._facts:
            found = self._read_facts(path)
            while len(self._facts) >= _KEPT:
                self._facts.pop(next(iter(self._facts)))
            self._facts[path] = found
        return self._facts[path]

    def _read_facts(self, path: Path) -> Facts:
        static = self._get(path, "static")
        ids = np.asarray(self._get(path, "static/object_ids")[()]).reshape(-1).tolist()
        colors_N3 = np.asarray(self._get(path, "static/object_segmentation_colors")[()])
        if colors_N3.shape != (len(ids), 3) or colors_N3.dtype != np.uint8:
            text = f"has {colors_N3.dtype} {list(colors_N3.shape)}; each of {len(ids)} objects has a color of"
            name = f"{path}/static/object_segmentation_colors"
            raise DataError(DataProblem(name, f"{text} three uint8"))
        codes = color_codes(colors_N3[None])[0]
        if len(np.unique(codes)) < len(codes):
            text = "gives two objects one color, so that masks do not tell them apart"
            raise DataError(DataProblem(f"{path}/static/object_segmentation_colors", text))
        models = [plain_fact(one) for one in static["model_names"][()]] if "model_names" in static else []
        roles = {int(np.asarray(static[key][()])): role for key, role in _ROLES.items() if key in static}
        objects = [
            {
                "index": place + 1,
                "id": number,
                "model": models[place] if place < len(models) else None,
                "role": roles.get(number),
            }
            for place, number in enumerate(ids)
        ]
        frames = self._get(path, "frames")
        labels = [frames[name].get("labels", {}) for name in sorted(frames)]
        told = all(_CONTACT in one for one in labels)
        contacts = [bool(np.asarray(one[_CONTACT][()])) for one in labels] if told else None
        return Facts(codes, objects, contacts)

    def _picture(self, path: Path, frame: int, what: str) -> tuple[str, Image.Image]:
        """Return the name of an encoded picture, and the picture."""
        total = self.count(path)
        if frame >= total:
            text = f"ends after {total} frames; frame {frame}, counted from 0, is missing"
            raise DataError(DataProblem(str(path), text))
        place = f"frames/{frame:04d}/images"
        group = self._get(path, place)
        key = next((key for key in (what, f"{what}_cam0") if key in group), what)
        data = np.asarray(self._get(path, f"{place}/{key}")[()])
        name = f"{path}/{place}/{key}"
        return name, decode(data.tobytes(), name)

    def _get(self, path: Path, name: str) -> Any:
        if self._process != os.getpid():  # HDF5 must not read a file that was opened before a fork
            self._open, self._process = OrderedDict(), os.getpid()
        try:
            if path not in self._open:
                self._open[path] = open_hdf5(path)
                if len(self._open) > _KEPT:
                    self._open.popitem(last=False)[1].close()
            return self._open[path][name]
        except FileNotFoundError:
            raise DataError(DataProblem(str(path), "is missing")) from None
        except KeyError:
            raise DataError(DataProblem(str(path), f"has no {name}; download it again")) from None
        except (OSError, RuntimeError, ValueError) as error:
            text = f"cannot be read: {str(error)[:120]}"
            raise DataError(DataProblem(str(path), f"{text}; download it again")) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()
