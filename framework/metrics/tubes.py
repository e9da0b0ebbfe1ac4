"""Region similarity and contour accuracy of objects through a clip: the J and F of DAVIS.

Source: Perazzi et al. 2016 and Caelles et al. 2019 (DAVIS, unsupervised), and the code of the challenge
(davis2017-evaluation). T frames, N true objects, P predicted segments.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from slotlab.framework.arithmetic.boundaries import dilate
from slotlab.framework.contracts import VOID, MetricContext, Outcome
from slotlab.framework.metrics.builders import MASKS, NoSettings
from slotlab.registry import Component

TOLERANCE = 0.008
"""How far contours may lie apart, in diagonals of the picture."""


@dataclass(frozen=True)
class TubeScores:
    """The scores of each object of a clip with the segment that it is matched with; float64 (N,)."""

    j_N: Tensor
    f_N: Tensor


def tube_scores(outcome: Outcome) -> list[TubeScores]:
    """Return the scores of every clip.

    Each is the mean over all frames, also those in which an object is not seen: there it is 1 without a
    predicted pixel, else 0. Objects and segments are matched one to one, so that the sum of (J + F) / 2 is
    the largest; objects without a partner have 0 where they are seen.
    """
    assert outcome.true_BHW is not None
    assert outcome.predicted_BHW is not None
    clips = zip(
        torch.split(outcome.true_BHW, outcome.frames),
        torch.split(outcome.predicted_BHW, outcome.frames),
        strict=True,
    )
    return [scores_of(true_THW, predicted_THW) for true_THW, predicted_THW in clips]


def scores_of(true_THW: Tensor, predicted_THW: Tensor) -> TubeScores:
    """Return the scores of one clip."""
    from scipy.optimize import linear_sum_assignment

    void_THW = true_THW == VOID
    names = [name for name in torch.unique(true_THW).tolist() if name > 0]
    slots: list[int] = torch.unique(predicted_THW[~void_THW]).tolist()
    slots += [VOID - 1] * (len(names) - len(slots))  # segments without pixels
    j_TNP, f_TNP = [], []
    for true_HW, predicted_HW, void_HW in zip(true_THW, predicted_THW, void_THW, strict=True):
        true_NHW, predicted_PHW = (
            one_hot(labels_HW, some, void_HW) for labels_HW, some in ((true_HW, names), (predicted_HW, slots))
        )
        j_TNP.append(region_similarity(true_NHW, predicted_PHW))
        f_TNP.append(contour_accuracy(true_NHW, predicted_PHW))
    if not names:
        nothing = true_THW.new_zeros(0, dtype=torch.float64)
        return TubeScores(nothing, nothing)
    j_NP, f_NP = (torch.stack(found).mean(dim=0) for found in (j_TNP, f_TNP))
    rows, columns = linear_sum_assignment(((j_NP + f_NP) / 2).cpu().numpy(), maximize=True)
    return TubeScores(j_NP[rows, columns], f_NP[rows, columns])


def one_hot(labels_HW: Tensor, names: Sequence[int], void_HW: Tensor) -> Tensor:
    """Return the masks of some labels without void pixels, bool (N, H, W)."""
    numbers_N = torch.tensor(names, dtype=labels_HW.dtype, device=labels_HW.device)
    return (labels_HW[None] == numbers_N[:, None, None]) & ~void_HW


def region_similarity(true_NHW: Tensor, predicted_PHW: Tensor) -> Tensor:
    """Return the IoU of each pair of masks of a frame, float64 (N, P); 1 where both are empty."""
    true_NM, predicted_PM = (one.flatten(1).double() for one in (true_NHW, predicted_PHW))
    both_NP = true_NM @ predicted_PM.T
    union_NP = true_NM.sum(1)[:, None] + predicted_PM.sum(1)[None, :] - both_NP
    return torch.where(union_NP > 0, both_NP / union_NP, torch.ones_like(union_NP))


def contour_accuracy(true_NHW: Tensor, predicted_PHW: Tensor) -> Tensor:
    """Return the F-measure of the contours of each pair of masks of a frame, float64 (N, P).

    2 P R / (P + R), with P the part of the predicted contour within the tolerance of the true one, and R the
    other way around. 1 where neither has a contour, 0 where only one has.
    """
    radius = math.ceil(TOLERANCE * math.hypot(*true_NHW.shape[1:]))
    edges = [contours(one) for one in (true_NHW, predicted_PHW)]
    near = map(partial(dilate, radius=radius), edges)
    edge_NM, edge_PM = (one.flatten(1).double() for one in edges)
    near_NM, near_PM = (one.flatten(1).double() for one in near)
    recall_NP = edge_NM @ near_PM.T / edge_NM.sum(1)[:, None]
    precision_NP = near_NM @ edge_PM.T / edge_PM.sum(1)[None, :]
    f_NP = 2 * precision_NP * recall_NP / (precision_NP + recall_NP)
    neither_NP = (edge_NM.sum(1)[:, None] == 0) & (edge_PM.sum(1)[None, :] == 0)
    return torch.where(neither_NP, torch.ones_like(f_NP), f_NP.nan_to_num(0.0))


def contours(masks_NHW: Tensor) -> Tensor:
    """Mark where a mask differs from its right, lower or lower right neighbor, bool (N, H, W).

    In the last row only the right one counts, in the last column the lower one, in the last pixel none.
    """
    marked_NHW = torch.zeros_like(masks_NHW)
    marked_NHW[:, :, :-1] |= masks_NHW[:, :, :-1] ^ masks_NHW[:, :, 1:]
    marked_NHW[:, :-1] |= masks_NHW[:, :-1] ^ masks_NHW[:, 1:]
    marked_NHW[:, :-1, :-1] |= masks_NHW[:, :-1, :-1] ^ masks_NHW[:, 1:, 1:]
    return marked_NHW


def regions(scores: TubeScores) -> Tensor:
    """Return J of each object, (N,)."""
    return scores.j_N


def contours_of(scores: TubeScores) -> Tensor:
    """Return F of each object, (N,)."""
    return scores.f_N


def both(scores: TubeScores) -> Tensor:
    """Return the mean of J and F of each object, (N,)."""
    return (scores.j_N + scores.f_N) / 2


@dataclass(frozen=True)
class TubeMetric:
    """A metric of whole clips that is averaged over objects (`MeasuresClips`, `PooledMetric`)."""

    of_object: Callable[[TubeScores], Tensor]
    higher_is_better = True
    bounds = (0.0, 1.0)
    needs = MASKS
    of_clips = True

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return the mean over the objects of each clip, float64 (clips,); NaN without any."""
        return self._of_clips(outcome, lambda values_N: values_N.mean())

    def weights(self, outcome: Outcome) -> Tensor:
        """Return the number of objects of each clip, float64 (clips,)."""
        return self._of_clips(outcome, lambda values_N: torch.tensor(float(len(values_N))))

    def _of_clips(self, outcome: Outcome, number: Callable[[Tensor], Tensor]) -> Tensor:
        found = [number(self.of_object(one)).double().cpu() for one in tube_scores(outcome)]
        return torch.stack(found).to(outcome.images_BCHW.device)


def tube_metric(
    name: str, of_object: Callable[[TubeScores], Tensor], *, summary: str
) -> Component[NoSettings]:
    """Make a metric of the objects of clips."""
    return Component(name=name, config=NoSettings, build=_BuildTubes(of_object), summary=summary)


@dataclass(frozen=True)
class _BuildTubes:
    """Builds the metric. Not a closure, so that a component is equal to itself in another registry."""

    of_object: Callable[[TubeScores], Tensor]

    def __call__(self, config: NoSettings, context: MetricContext) -> TubeMetric:
        return TubeMetric(self.of_object)
