"""Predicting attributes of objects from slots, and how well it was done on each image.

The cost of a pair is a sum over attributes: cross-entropy for a categorical one, the squared error of the
standardized value, summed over components, for a numerical one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.arithmetic.matching import NOTHING
from slotlab.framework.probing.attributes import UNSEEN, Attribute, Targets
from slotlab.framework.probing.heads import chunks, partners


@dataclass(frozen=True)
class PropertyTask:
    """Images whose objects' attributes are predicted; see `heads.Task`."""

    slots_NKD: Tensor
    kept_NK: Tensor
    targets: Targets
    attributes: Sequence[Attribute]
    partner_NT: Tensor | None
    by_image: bool = False

    @property
    def there_NT(self) -> Tensor:
        """bool: which rows are objects."""
        return self.targets.there_NT

    @property
    def outputs(self) -> int:
        """How many numbers a head gives for a slot."""
        return sum(one.outputs for one in self.attributes)

    def split(self, outputs_BKO: Tensor) -> Iterator[tuple[Attribute, Tensor]]:
        """Yield each attribute with its part of the outputs."""
        parts = torch.split(outputs_BKO, [one.outputs for one in self.attributes], dim=2)
        return zip(self.attributes, parts, strict=True)

    def cost(self, outputs_BKO: Tensor, rows_B: Tensor) -> Tensor:
        """Return the cost (B, T, K) of each pair; a class that was never fitted costs nothing."""
        total_BTK = torch.zeros(())
        for one, part_BKC in self.split(outputs_BKO):
            target = self.targets.values[one.name][rows_B]
            if one.kind == "numerical":
                cost_BTK = (part_BKC[:, None] - target[:, :, None]).square().sum(3)
            else:
                logs_BCK = F.log_softmax(part_BKC, dim=2).mT
                index_BTK = target.clamp(min=0)[:, :, None].expand(-1, -1, logs_BCK.shape[2])
                known_BT1 = (target != UNSEEN)[:, :, None]
                cost_BTK = -logs_BCK.gather(1, index_BTK) * known_BT1
            total_BTK = total_BTK + cost_BTK
        return total_BTK


def measure(task: PropertyTask, head: nn.Module, chunk: int = 256) -> Mapping[str, tuple[Tensor, Tensor]]:
    """Return, for each attribute, a value for each image, float64 (N,), and its weight, its objects.

    The mean of the values with these weights is the accuracy over all objects, or R^2: an image's value is
    then one minus its mean squared error over the variance of all objects, a mean over components. An object
    without a slot is predicted wrongly, or by the mean. Images without objects are NaN.
    """
    found = _predictions(task, head, chunk)
    there_NT = task.there_NT
    weights_N = there_NT.sum(1).double()
    return {one.name: (_per_image(_scores(task, one, found), there_NT), weights_N) for one in task.attributes}


@dataclass(frozen=True)
class _Predictions:
    taken_NTO: Tensor
    """The outputs of each object's slot; 0 without one."""
    paired_NT: Tensor


def _predictions(task: PropertyTask, head: nn.Module, chunk: int) -> _Predictions:
    taken, paired = [], []
    with torch.no_grad():
        for rows_B in chunks(len(task.slots_NKD), chunk):
            outputs_BKO = head(task.slots_NKD[rows_B])
            partner_BT = partners(task, task.cost(outputs_BKO, rows_B), rows_B)
            index_BTO = partner_BT.clamp(min=0)[:, :, None].expand(-1, -1, outputs_BKO.shape[2])
            paired_BT = partner_BT != NOTHING
            taken.append(outputs_BKO.gather(1, index_BTO) * paired_BT[:, :, None])
            paired.append(paired_BT)
    return _Predictions(torch.cat(taken), torch.cat(paired))


def _scores(task: PropertyTask, one: Attribute, found: _Predictions) -> Tensor:
    """Return each object's score, float64 (N, T)."""
    part_NTC = {a.name: part for a, part in task.split(found.taken_NTO)}[one.name]
    target = task.targets.values[one.name]
    if one.kind == "categorical":
        return ((part_NTC.argmax(2) == target) & found.paired_NT).double()
    target_NTW = target.double()
    of_objects_MW = target_NTW[task.there_NT]
    variance_W = of_objects_MW.var(0, correction=0) if len(of_objects_MW) else torch.zeros(target.shape[2])
    spread_W = variance_W > 1e-12
    error_NTW = (part_NTC.double() - target_NTW).square()[:, :, spread_W] / variance_W[spread_W]
    return 1 - error_NTW.mean(2)  # NaN if no component varies


def _per_image(scores_NT: Tensor, there_NT: Tensor) -> Tensor:
    kept_NT = torch.where(there_NT, scores_NT, torch.zeros_like(scores_NT))
    return kept_NT.sum(1) / there_NT.sum(1).double()
