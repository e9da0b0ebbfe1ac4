"""ARI, FG-ARI and mIoU of many masks: batched as in an evaluation, against one image at a time.

python benchmarks/metrics.py [--images 1000] [--size 128] [--slots 11] [--batch 50]

The baseline does what the official CLEVRTex evaluator does for each image: scikit-learn's
`adjusted_rand_score` over all pixels and over the foreground, IoU of each pair of masks, and
SciPy's `linear_sum_assignment`. The other side builds slotlab's metrics and gives them one `Outcome`
per batch. Both get the same masks, take turns, and must agree; the best turn counts.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.plugin_loading.discovery import load_registry

NAMES = ("ari", "fg_ari", "miou_official")


def scenes(images, size, slots, seed=0):
    """Return true masks, rectangles on a background, and predicted ones: noisy, with permuted labels."""
    generator = torch.Generator().manual_seed(seed)
    true_BHW = torch.zeros(images, size, size, dtype=torch.int64)
    corners = torch.randint(size, (images, slots - 1, 2), generator=generator)
    sides = torch.randint(size // 8, size // 3, (images, slots - 1, 2), generator=generator)
    for image in range(images):
        for label in range(1, slots):
            (top, left), (height, width) = corners[image, label - 1], sides[image, label - 1]
            true_BHW[image, top : top + height, left : left + width] = label
    names_BK = torch.stack([torch.randperm(slots, generator=generator) for _ in range(images)])
    predicted_BHW = names_BK.gather(1, true_BHW.flatten(1)).view_as(true_BHW)
    noise_BHW = torch.randint(slots, true_BHW.shape, generator=generator)
    noisy_BHW = torch.rand(true_BHW.shape, generator=generator) < 0.2
    return true_BHW, torch.where(noisy_BHW, noise_BHW, predicted_BHW)


def one_by_one(true_BHW, predicted_BHW, slots):
    rows = []
    for true, predicted in zip(true_BHW.numpy(), predicted_BHW.numpy(), strict=True):
        ari = adjusted_rand_score(true.ravel(), predicted.ravel())
        fg_ari = adjusted_rand_score(true[true > 0], predicted[true > 0])
        masks, guesses = (labels == np.arange(slots)[:, None, None] for labels in (true, predicted))
        iou = np.zeros((slots, slots))
        for guess in range(slots):
            intersection = (guesses[guess] & masks).sum(axis=(1, 2))
            union = (guesses[guess] | masks).sum(axis=(1, 2))
            iou[:, guess] = np.where(intersection > 0, intersection / np.maximum(union, 1), 0)
        rows_K, columns_K = linear_sum_assignment(iou, maximize=True)
        pairs = (masks.any(axis=(1, 2)) | guesses[columns_K].any(axis=(1, 2))).sum()
        rows.append((ari, fg_ari, iou[rows_K, columns_K][1:].sum() / (pairs - 1)))
    return np.array(rows)


def batched(true_BHW, predicted_BHW, metrics, batch):
    rows = []
    for start in range(0, len(true_BHW), batch):
        true, predicted = true_BHW[start : start + batch], predicted_BHW[start : start + batch]
        nothing = torch.empty(len(true), 3, 0, 0)
        outcome = Outcome(images_BCHW=nothing, true_BHW=true, predicted_BHW=predicted)
        rows.append(torch.stack([metric(outcome) for metric in metrics], dim=1))
    return torch.cat(rows).numpy()


def status(key):
    """Return the memory of this process on Linux in MiB: `VmRSS` (now) or `VmHWM` (peak)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:"))


def forget_peak():
    """Reset the peak memory of this process; return the memory held now, in MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--slots", type=int, default=11)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    registry = load_registry()
    metrics = []
    for name in NAMES:
        component = registry.find("metric", name).component
        metrics.append(component.build(component.config(), MetricContext(value_range=(0.0, 1.0))))
    true_BHW, predicted_BHW = scenes(options.images, options.size, options.slots)
    sides = {
        "image by image": lambda: one_by_one(true_BHW, predicted_BHW, options.slots),
        "batched": lambda: batched(true_BHW, predicted_BHW, metrics, options.batch),
    }
    seconds, values = dict.fromkeys(sides, np.inf), {}
    batched(true_BHW[:50], predicted_BHW[:50], metrics, options.batch)  # imports SciPy
    for _ in range(options.turns):
        for side, function in sides.items():
            before = forget_peak()
            started = time.perf_counter()
            values[side] = function()
            took = time.perf_counter() - started
            seconds[side] = min(seconds[side], took)
            print(
                f"  {side:15} {took:8.3f} s, peak memory {status('VmHWM') - before:.0f} MiB above that before"
            )
    difference = np.abs(values["batched"] - values["image by image"]).max()
    assert difference < 1e-12, difference
    size = f"{options.size}x{options.size}"
    print(f"{options.images} images of {size}, {options.slots} segments: {', '.join(NAMES)}")
    print(f"threads {torch.get_num_threads()}, largest difference {difference:.1e}")
    for side, took in seconds.items():
        print(f"{side:15} {took:8.3f} s  {seconds['image by image'] / took:6.1f}x")


if __name__ == "__main__":
    main()
