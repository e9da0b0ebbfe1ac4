"""J and F of DAVIS, and SlotFormer's metrics of rollouts, against transcriptions of their authors' code."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.contracts.metric_promises import measure
from slotlab.framework.metrics.background_rule import ruled_labels
from slotlab.framework.plugin_loading.discovery import load_registry

REGISTRY = load_registry()
NAMES = ("davis_j", "davis_f", "davis_jf", "slotformer_ar", "slotformer_fg_ari", "slotformer_fg_miou")


def metric(name: str) -> Any:
    found = REGISTRY.find("metric", name)
    assert found is not None
    return found.component.build(found.component.config(), MetricContext(value_range=(0.0, 1.0)))


def blobs(images: int, labels: int, seed: int, size: tuple[int, int] = (20, 26)) -> torch.Tensor:
    """Soft masks of a few smooth regions, float64 (images, labels, H, W)."""
    stream = torch.Generator().manual_seed(seed)
    coarse = torch.rand(images, labels, 4, 5, generator=stream, dtype=torch.float64)
    return (9 * F.interpolate(coarse, size, mode="bilinear")).softmax(dim=1)


def outcome(clips: int = 2, frames: int = 3, seed: int = 0, void: bool = False) -> Outcome:
    true_BHW = blobs(clips * frames, 4, seed).argmax(dim=1)
    if void:
        true_BHW[:, 3:6, 4:11] = -1
    masks_BKHW = blobs(clips * frames, 5, seed + 100)
    return Outcome(
        images_BCHW=torch.zeros(clips * frames, 3, *true_BHW.shape[1:]),
        true_BHW=true_BHW,
        predicted_BHW=masks_BKHW.argmax(dim=1),
        masks_BKHW=masks_BKHW,
        frames=frames,
    )


# --- DAVIS ---------------------------------------------------------------------------------


def contour(seg: np.ndarray) -> np.ndarray:
    """The challenge's map of contours: differs from the right, the lower, or the lower right neighbor."""
    east, south, both = np.zeros_like(seg), np.zeros_like(seg), np.zeros_like(seg)
    east[:, :-1], south[:-1], both[:-1, :-1] = seg[:, 1:], seg[1:], seg[1:, 1:]
    found = (seg ^ east) | (seg ^ south) | (seg ^ both)
    found[-1] = seg[-1] ^ east[-1]
    found[:, -1] = seg[:, -1] ^ south[:, -1]
    found[-1, -1] = False
    return found


def f_measure(mask: np.ndarray, truth: np.ndarray) -> float:
    radius = math.ceil(0.008 * np.linalg.norm(mask.shape))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = x**2 + y**2 <= radius**2
    fg, gt = contour(mask), contour(truth)
    if not fg.any() or not gt.any():
        return float(fg.any() == gt.any())
    precision = (fg & binary_dilation(gt, disk)).sum() / fg.sum()
    recall = (gt & binary_dilation(fg, disk)).sum() / gt.sum()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def jaccard(mask: np.ndarray, truth: np.ndarray) -> float:
    union = (mask | truth).sum()
    return 1.0 if union == 0 else (mask & truth).sum() / union


def davis(true: np.ndarray, predicted: np.ndarray) -> tuple[list[float], list[float]]:
    """J and F of each object of a clip."""
    kept = true >= 0
    names = [name for name in np.unique(true) if name > 0]
    slots = list(range(max(int(predicted.max()) + 1, len(names))))
    tables = np.zeros((2, len(slots), len(names), len(true)))
    for p, slot in enumerate(slots):
        for n, name in enumerate(names):
            for t in range(len(true)):
                mask, truth = (predicted[t] == slot) & kept[t], (true[t] == name) & kept[t]
                tables[:, p, n, t] = jaccard(mask, truth), f_measure(mask, truth)
    j, f = tables.mean(axis=3)
    row, column = linear_sum_assignment(-(j + f) / 2)
    return list(j[row, column]), list(f[row, column])


@pytest.mark.parametrize("void", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_j_and_f_are_those_of_the_challenge(seed: int, void: bool) -> None:
    clips = outcome(seed=seed, void=void)
    assert clips.true_BHW is not None
    assert clips.predicted_BHW is not None
    clips.true_BHW[clips.true_BHW == 3] = 2 + seed % 2  # once an object fewer
    clips.true_BHW[1][clips.true_BHW[1] == 1] = 0  # an object that is away in one frame
    found = {name: measure(name, metric(name), clips) for name in ("davis_j", "davis_f", "davis_jf")}
    for clip in range(2):
        part = slice(3 * clip, 3 * clip + 3)
        j, f = davis(clips.true_BHW[part].numpy(), clips.predicted_BHW[part].numpy())
        wanted = {"davis_j": np.mean(j), "davis_f": np.mean(f), "davis_jf": (np.mean(j) + np.mean(f)) / 2}
        for name, value in wanted.items():
            assert found[name].values[clip] == pytest.approx(value, abs=1e-12)
            assert found[name].weights is not None
            assert found[name].weights[clip] == len(j)


def test_fewer_segments_than_objects_leave_objects_without_a_partner() -> None:
    true = blobs(2, 5, 7).argmax(dim=1)
    clip = Outcome(
        images_BCHW=torch.zeros(2, 3, *true.shape[1:]),
        true_BHW=true,
        predicted_BHW=torch.zeros_like(true),
        frames=2,
    )
    j, f = davis(true.numpy(), np.zeros(true.shape, dtype=np.int64))
    assert measure("davis_j", metric("davis_j"), clip).values == pytest.approx([np.mean(j)], abs=1e-12)
    assert measure("davis_f", metric("davis_f"), clip).values == pytest.approx([np.mean(f)], abs=1e-12)


# --- SlotFormer ------------------------------------------------------------------------------


def ruled(masks: np.ndarray) -> np.ndarray:
    """The authors' labels of one picture, (K, H, W): the background's score becomes 1 where nothing is claimed."""
    masks = masks.copy()
    ground = masks.max(axis=(1, 2)).argmin()
    masks[ground][masks.max(axis=0) < 0.5] = 1.0
    return masks.argmax(axis=0)


def box(mask: np.ndarray) -> tuple[int, int, int, int]:
    y, x = mask.nonzero()
    return x.min(), y.min(), x.max(), y.max()


def iou_of(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    both = max(wide, 0) * max(high, 0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    union = sum(areas) - both
    return both / union if union else 0.0


def recall(true: np.ndarray, labels: np.ndarray) -> float:
    boxes = [box(labels == name) for name in np.unique(labels)]
    used: set[int] = set()
    names = [name for name in np.unique(true) if name > 0]
    for name in names:
        overlaps = [iou_of(box(true == name), one) for one in boxes]
        best = int(np.argmax(overlaps))
        if overlaps[best] >= 0.5 and best not in used:
            used.add(best)
    return len(used) / len(names)


def pairs_index(true: np.ndarray, labels: np.ndarray) -> float:
    inside = true > 0
    table = np.array(
        [
            [((true == c) & (labels == k) & inside).sum() for k in range(labels.max() + 1)]
            for c in np.unique(true[inside])
        ],
        dtype=np.float64,
    )
    a, b, n = table.sum(1), table.sum(0), table.sum()
    index, rows, columns = ((x * (x - 1)).sum() for x in (table, a, b))
    expected = rows * columns / (n * (n - 1))
    return float((index - expected) / ((rows + columns) / 2 - expected))


def matched(true: np.ndarray, labels: np.ndarray) -> float:
    names = [name for name in np.unique(true) if name > 0]
    table = np.array([[jaccard(labels == k, true == c) for k in range(labels.max() + 1)] for c in names])
    row, column = linear_sum_assignment(table, maximize=True)
    return float(table[row, column].sum() / len(names))


@pytest.mark.parametrize("seed", range(4))
def test_rollouts_are_measured_as_in_slotformers_code(seed: int) -> None:
    clips = outcome(seed=seed)
    assert clips.true_BHW is not None
    assert clips.masks_BKHW is not None
    wanted = {"slotformer_ar": recall, "slotformer_fg_ari": pairs_index, "slotformer_fg_miou": matched}
    claimed = 0
    for name, function in wanted.items():
        found = measure(name, metric(name), clips).by_frame
        assert found is not None
        values = [value for clip in found for value in clip]
        for value, true, masks in zip(values, clips.true_BHW.numpy(), clips.masks_BKHW.numpy(), strict=True):
            labels = ruled(masks)
            claimed += int((labels != masks.argmax(axis=0)).sum())
            assert value == pytest.approx(function(true, labels), abs=1e-9)
    assert claimed > 0, "the rule changed nothing in these masks"


def test_objects_apart_are_all_found_in_their_own_masks() -> None:
    true = torch.zeros(1, 20, 26, dtype=torch.int64)
    true[0, 2:7, 3:9], true[0, 10:18, 2:8], true[0, 5:15, 15:24] = 1, 2, 3
    masks = F.one_hot(true).permute(0, 3, 1, 2).double()
    own = Outcome(images_BCHW=torch.zeros(1, 3, 20, 26), true_BHW=true, predicted_BHW=true, masks_BKHW=masks)
    assert {name: measure(name, metric(name), own).values for name in NAMES} == {
        name: [1.0] for name in NAMES
    }


def test_a_dropped_slot_is_not_the_ground() -> None:
    masks = blobs(1, 3, 3) * 0.9
    masks = torch.cat([masks, torch.zeros_like(masks[:, :1])], dim=1)
    keep = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    assert (ruled_labels(masks) == 3).any()
    assert torch.equal(ruled_labels(masks, keep), ruled_labels(masks[:, :3]))


@pytest.mark.parametrize("name", NAMES)
def test_values_depend_neither_on_the_batch_nor_on_names_nor_on_void(name: str) -> None:
    whole, built = outcome(void=True), metric(name)
    assert whole.true_BHW is not None
    assert whole.predicted_BHW is not None
    assert whole.masks_BKHW is not None
    order = torch.tensor([2, 0, 4, 1, 3])
    other = Outcome(
        images_BCHW=whole.images_BCHW[3:],
        true_BHW=whole.true_BHW[3:],
        predicted_BHW=order.argsort()[whole.predicted_BHW[3:]],
        masks_BKHW=whole.masks_BKHW[3:, order],
        frames=3,
    )
    assert measure(name, built, other).values == measure(name, built, whole).values[1:]
    changed = whole.predicted_BHW.clone(), whole.masks_BKHW.clone()
    changed[0][whole.true_BHW == -1] = 4
    empty = Outcome(
        images_BCHW=whole.images_BCHW,
        true_BHW=torch.zeros_like(whole.true_BHW),
        predicted_BHW=whole.predicted_BHW,
        masks_BKHW=whole.masks_BKHW,
        frames=3,
    )
    assert all(math.isnan(value) for value in measure(name, built, empty).values)
    if name.startswith("davis"):
        void = Outcome(
            images_BCHW=whole.images_BCHW, true_BHW=whole.true_BHW, predicted_BHW=changed[0], frames=3
        )
        assert measure(name, built, void).values == measure(name, built, whole).values
