"""The CLEVRTex evaluator's numbers, against a transcription of its formulas mask by mask.

The transcription works on one-hot masks with numpy and SciPy and shares nothing with slotlab. It is
compared on random masks of many kinds and, where they are, on masks of rendered CLEVRTex.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.plugin_loading.discovery import load_registry

SHARED = Path(os.environ.get("SLOTLAB_SHARED", Path(__file__).resolve().parents[3] / "shared"))
SAMPLE = SHARED / "data" / "clevrtex_sample"
REGISTRY = load_registry()
Labels = NDArray[np.int64]
Masks = NDArray[np.bool_]
NAMES = {
    "miou_official": "mIoU_fg",
    "miou_pairs": "mIoU",
    "miou_gt": "mIoU_gt",
    "msc_official": "mSC",
    "dice_official": "DICE",
    "fg_dice_official": "DICE_FG",
    "object_count_accuracy": "acc",
    "mse_official": "MSE",
}


def build(name: str, value_range: tuple[float, float] = (0.0, 1.0)) -> Callable[[Outcome], Tensor]:
    item = REGISTRY.find("metric", name)
    assert item is not None
    made: Callable[[Outcome], Tensor] = item.component.build(
        item.component.config(), MetricContext(value_range=value_range)
    )
    return made


def one_hot(labels: Labels, number: int) -> Masks:
    return np.stack([labels == label for label in range(number)])


def overlap(true: Masks, predicted: Masks) -> float:
    union = (true | predicted).sum()
    return float((true & predicted).sum() / union) if true.any() and predicted.any() else 0.0


def covering_without_the_last(true: Masks, predicted: Masks) -> float:
    """Go over labels below the largest on both sides."""
    true_labels, predicted_labels = true.argmax(axis=0), predicted.argmax(axis=0)
    score = pixels = 0.0
    for t in range(true_labels.max()):
        mask = true_labels == t
        best = max((overlap(mask, predicted_labels == p) for p in range(predicted_labels.max())), default=0.0)
        score += mask.sum() * best
        pixels += mask.sum()
    return float(score / pixels) if pixels else math.nan


def evaluator(
    true_labels: Labels, slot: Labels, slots: int, image: NDArray[Any], reconstruction: NDArray[Any]
) -> dict[str, float]:
    """Return what the evaluator computes for one image of [0, 1]."""
    number = max(int(true_labels.max()) + 1, slots)
    true, predicted = one_hot(true_labels, number), one_hot(slot, number)
    ious = np.array([[overlap(t, p) for p in predicted] for t in true], dtype=np.float32)
    rows, columns = linear_sum_assignment(ious, maximize=True)
    predicted = predicted[columns]
    matched = np.array([overlap(t, p) for t, p in zip(true, predicted, strict=True)])
    seen = true.any(axis=(1, 2)) | predicted.any(axis=(1, 2))
    sizes = true.sum(axis=(1, 2)) + predicted.sum(axis=(1, 2))
    dices = 2 * (true & predicted).sum(axis=(1, 2)) / np.maximum(sizes, 1)
    others = seen.sum() - 1
    foreground = others > 0 and (true_labels == 0).any()
    assert (rows == np.arange(number)).all()
    return {
        "mIoU": matched.sum() / seen.sum(),
        "mIoU_fg": matched[1:].sum() / others if foreground else math.nan,
        "mIoU_gt": matched.sum() / true.any(axis=(1, 2)).sum(),
        "mSC": covering_without_the_last(true, predicted),
        "DICE": dices.sum() / seen.sum(),
        "DICE_FG": dices[1:].sum() / others if foreground else math.nan,
        "acc": float(true.any(axis=(1, 2)).sum() == predicted.any(axis=(1, 2)).sum()),
        "MSE": ((reconstruction - image) ** 2).sum(),
    }


def compare(true: Labels, slot: Labels, slots: int, rng: np.random.Generator) -> None:
    """Compare a batch with the transcription, image by image."""
    images, reconstructions = rng.random((2, len(true), 3, *true.shape[1:]))
    found = Outcome(
        images_BCHW=torch.from_numpy(images * 2 - 1),
        true_BHW=torch.from_numpy(true),
        predicted_BHW=torch.from_numpy(slot),
        reconstructions_BCHW=torch.from_numpy(reconstructions * 2 - 1),
    )
    everything = zip(true, slot, images, reconstructions, strict=True)
    expected = [evaluator(t, s, slots, image, other) for t, s, image, other in everything]
    for name, official in NAMES.items():
        values = build(name, (-1.0, 1.0))(found).numpy()
        wanted = [row[official] for row in expected]
        np.testing.assert_allclose(values, wanted, rtol=1e-12, atol=1e-12, err_msg=name)


def blocks(rng: np.random.Generator, images: int, labels: int, cells: int, size: int) -> Labels:
    """Return masks of squares with random labels."""
    small = rng.integers(0, labels, (images, cells, cells))
    return small.repeat(size // cells, axis=1).repeat(size // cells, axis=2)


@pytest.mark.parametrize("seed", range(12))
def test_random_masks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slots = int(rng.integers(1, 12))
    true = blocks(rng, 12, int(rng.integers(1, 12)), 8, 16)
    slot = blocks(rng, 12, slots, int(rng.choice([2, 4, 16])), 16)
    # Half of the images are as a model makes them: the truth under other names, some objects merged.
    names = rng.integers(0, slots, (12, true.max() + 1))
    for image in range(0, 12, 2):
        slot[image] = names[image][true[image]]
    true[1], slot[3] = 0, 0
    compare(true, slot, slots, rng)
    compare(true, slot, slots + 5, rng)  # slots that are always empty


@pytest.mark.parametrize("seed", range(4))
def test_random_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true, slot = rng.integers(0, 7, (8, 12, 12)), rng.integers(0, 11, (8, 12, 12))
    compare(true, slot, 11, rng)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"no sample of CLEVRTex at {SAMPLE}; set SLOTLAB_SHARED")
def test_masks_of_rendered_scenes() -> None:
    paths = sorted(SAMPLE.rglob("*_flat.png"))[:24]
    assert paths
    whole = [
        Image.open(path).crop((64, 29, 256, 221)).resize((64, 64), Image.Resampling.NEAREST) for path in paths
    ]
    true = np.stack([np.asarray(mask, dtype=np.int64) for mask in whole])
    assert true.max() >= 3
    rng = np.random.default_rng(0)
    # Slots as a trained model leaves them: shifted, merged, cut in two, and with spare ones.
    names = np.stack([rng.permutation(11) for _ in paths])
    slot = np.take_along_axis(names, np.roll(true, (2, -3), axis=(1, 2)).reshape(len(true), -1), axis=1)
    slot = slot.reshape(true.shape)
    slot[::2, :, :20] = names[::2, 10:, None]
    slot[::3][slot[::3] == 4] = 7
    compare(true, slot, 11, rng)


def test_which_spare_slot_is_paired_is_decided_by_the_order_of_slots() -> None:
    """A quirk of the evaluator, so of the metric: the same segmentation, in two orders of slots."""
    true = np.zeros((1, 4, 8), dtype=np.int64)
    true[0, :, 4:6], true[0, :, 6:] = 1, 2
    merged = np.zeros_like(true)
    merged[0, 2:], merged[0, :, 4:] = 1, 2  # ground in two slots, both objects in one, a fourth slot empty
    values = set()
    for order in ([0, 1, 2, 3], [0, 3, 2, 1], [3, 1, 2, 0], [1, 0, 3, 2], [3, 2, 1, 0]):
        slot = np.array(order)[merged]
        compare(true, slot, 4, np.random.default_rng(0))
        images, labels = torch.zeros(1, 3, 4, 8), torch.from_numpy(true)
        found = Outcome(images_BCHW=images, true_BHW=labels, predicted_BHW=torch.from_numpy(slot))
        values.add(round(build("miou_official")(found).item(), 12))
    assert values == {0.25, round(0.5 / 3, 12)}
