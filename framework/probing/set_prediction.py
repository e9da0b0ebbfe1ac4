"""Predicting the set of objects from slots, and its average precision.

Source: Locatello et al. 2020, "Object-Centric Learning with Slot Attention", section 4.2 and appendix: an MLP
gives for each slot a place, the properties, and whether there is an object, all through a sigmoid. It learns
by the Huber loss of the pairs of slots and objects that have the least sum of it; images have rows of zeros
in place of missing objects. There the whole model learns, here the head alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.probing.attributes import UNSEEN, Attribute, Targets, is_number
from slotlab.framework.probing.images import Facts

THRESHOLDS: tuple[float, ...] = (float("inf"), 1.0, 0.5, 0.25, 0.125)
"""The distances, in units of the scene, below which a detection may be right."""
WIDTH = 64
"""Of the MLP's hidden layer."""
SCALE = 6.0
"""The width of a scene: a place is divided by it, and moved by a half."""
PLACE = "3d_coords"
AXES = ("x", "y", "z")


def places_of(objects: Sequence[Sequence[Facts]]) -> Tensor | None:
    """Return each object's place in the scene, float32 (N, T, 3); None if the data does not know them."""
    found = [[_place(one) for one in facts] for facts in objects]
    if not any(found) or any(place is None for facts in found for place in facts):
        return None
    places_NT3 = torch.zeros(len(found), max(1, *map(len, found)), 3)
    for row, facts in enumerate(found):
        for column, place in enumerate(facts):
            places_NT3[row, column] = torch.tensor(place)
    return places_NT3


def _place(one: Facts) -> list[float] | None:
    value: Any = one[PLACE] if PLACE in one else [one.get(axis) for axis in AXES]
    right = isinstance(value, list | tuple) and len(value) == 3 and all(map(is_number, value))
    return [float(item) for item in value] if right else None


@dataclass(frozen=True)
class SetTask:
    """Images whose objects are predicted as a set; see `heads.Task`."""

    slots_NKD: Tensor
    kept_NK: Tensor
    numbers_NTO: Tensor
    """What slots should say, in [0, 1]: place, one-hot properties, 1 for an object; rows of 0 pad it."""
    partner_NT: Tensor | None = None
    by_image: bool = True

    @property
    def there_NT(self) -> Tensor:
        """bool: all rows take part, also those without an object."""
        return torch.ones(self.numbers_NTO.shape[:2], dtype=torch.bool)

    @property
    def outputs(self) -> int:
        """How many numbers a head gives for a slot."""
        return self.numbers_NTO.shape[2]

    def cost(self, outputs_BKO: Tensor, rows_B: Tensor) -> Tensor:
        """Return the Huber loss (B, T, K) of each pair, a mean over the numbers."""
        target_BTKO = self.numbers_NTO[rows_B][:, :, None].expand(-1, -1, outputs_BKO.shape[1], -1)
        given_BTKO = outputs_BKO[:, None].expand_as(target_BTKO)
        return F.huber_loss(given_BTKO, target_BTKO, reduction="none").mean(3)


def set_task(
    slots_NKD: Tensor, kept_NK: Tensor, places_NT3: Tensor, targets: Targets, properties: Sequence[Attribute]
) -> SetTask:
    """Return the task; it has at least as many rows as slots."""
    there_NT = targets.there_NT.float()
    parts = [places_NT3 / SCALE + 0.5]
    for one in properties:
        classes_NT = targets.values[one.name]
        hot_NTC = F.one_hot(classes_NT.clamp(min=0), len(one.classes)).float()
        parts.append(hot_NTC * (classes_NT != UNSEEN)[:, :, None])
    numbers_NTO = torch.cat([*parts, there_NT[:, :, None]], dim=2) * there_NT[:, :, None]
    rows = max(0, slots_NKD.shape[1] - numbers_NTO.shape[1])
    return SetTask(slots_NKD, kept_NK, F.pad(numbers_NTO, (0, 0, 0, rows)))


def set_head(width: int, outputs: int, seed: int) -> nn.Sequential:
    """Return the head, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(width, WIDTH), nn.ReLU(), nn.Linear(WIDTH, outputs), nn.Sigmoid())


@dataclass(frozen=True)
class Detections:
    """What a head says of N images, and what is true. A kinds of properties."""

    places_NK3: Tensor
    """In units of the scene."""
    classes_NKA: Tensor
    confidence_NK: Tensor
    """-inf for a dropped slot, which detects nothing."""
    true_places_NT3: Tensor
    true_classes_NTA: Tensor
    """`UNSEEN` for a value that no head can name."""
    there_NT: Tensor


def detect(
    task: SetTask, head: nn.Module, places_NT3: Tensor, targets: Targets, properties: Sequence[Attribute]
) -> Detections:
    """Return what a head says of a task's images."""
    with torch.no_grad():
        outputs_NKO = head(task.slots_NKD)
    parts = outputs_NKO.split([3, *(len(one.classes) for one in properties), 1], dim=2)
    nothing = torch.full_like(outputs_NKO[:, :, -1], -torch.inf)
    return Detections(
        places_NK3=(parts[0] - 0.5) * SCALE,
        classes_NKA=torch.stack([part.argmax(2) for part in parts[1:-1]], dim=2),
        confidence_NK=torch.where(task.kept_NK, outputs_NKO[:, :, -1], nothing),
        true_places_NT3=places_NT3,
        true_classes_NTA=torch.stack([targets.values[one.name] for one in properties], dim=2),
        there_NT=targets.there_NT,
    )


def average_precision(found: Detections, threshold: float) -> float | None:
    """Return the average precision at a distance, in [0, 1]; None without objects.

    Detections of all images are taken by falling confidence. Each is right if, of its image's objects that
    agree with it in all properties, the nearest one is nearer than `threshold`, and no detection before had
    that one. The precision at a recall is the largest one at that recall or a greater one (all points).
    """
    objects = int(found.there_NT.sum())
    if not objects:
        return None
    right = np.array(_right(found, threshold), dtype=float)
    hits = right.cumsum()
    precision = hits / np.arange(1, len(hits) + 1)
    at_least = np.maximum.accumulate(precision[::-1])[::-1]
    return float((at_least * right).sum() / objects)  # each right detection raises the recall by 1 / objects


def _right(found: Detections, threshold: float) -> list[bool]:
    """Return whether each detection is right, by falling confidence; equal ones in the order of images."""
    agree_NKT = (found.true_classes_NTA[:, None] == found.classes_NKA[:, :, None]).all(3)
    agree_NKT &= found.there_NT[:, None]
    distance_NKT = (found.true_places_NT3[:, None] - found.places_NK3[:, :, None]).norm(dim=3)
    distance_NKT = torch.where(agree_NKT, distance_NKT, torch.full_like(distance_NKT, torch.inf))
    distance_NK, nearest_NK = distance_NKT.min(dim=2)
    near = (distance_NK < threshold).flatten().tolist()  # never where no object agrees
    nearest, slots = nearest_NK.flatten().tolist(), nearest_NK.shape[1]
    confidence = found.confidence_NK.flatten()
    order = confidence.argsort(descending=True, stable=True)
    taken: set[tuple[int, int]] = set()
    right = []
    for number in order[: int((confidence > -torch.inf).sum())].tolist():
        one = (number // slots, nearest[number])
        right.append(near[number] and one not in taken)
        if right[-1]:
            taken.add(one)
    return right
