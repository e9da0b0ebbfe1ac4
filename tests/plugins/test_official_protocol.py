"""`clevrtex-official` on rendered CLEVRTex: every number again, from the files, in plain PIL, NumPy and SciPy.

The definitions are those of `clevrtex_eval.py` (Karazija et al. 2021), written anew from their description.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from slotlab.framework.evaluation.conditions import EvaluationRequest, conditions
from slotlab.framework.jobs.evaluate import run_evaluations
from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.model.build import build_model

SHARED = Path(os.environ.get("SLOTLAB_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"
SAMPLE = SHARED / "clevrtex_sample"
SLOTS = 11
SETS = [
    f"data.dataset={{name: clevrtex, root: {SAMPLE}}}",
    "data.protocol=seed",
    f"model.slots={SLOTS}",
    "model.slot_dim=8",
    "model.encoder={name: cnn, channels: [8, 8], strides: [4, 2]}",
    "model.decoder={name: spatial_broadcast, broadcast_size: 16, channels: [8, 8, 8], strides: [2, 2, 2]}",
    "training.batch_size=4",
    "evaluation.batch_size=1",  # the same rounding of the model as here
    "training.phases=[{steps: 3, lr: 1e-2}]",
]
Table = NDArray[np.float64]


def crop(image: Image.Image) -> Image.Image:
    side = int(0.8 * min(image.size))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def scene(index: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The image in [0, 1], (3, 128, 128), and the true labels."""
    stem = SAMPLE / "clevrtex_full" / str(index // 1000) / f"CLEVRTEX_full_{index:06d}"
    image = crop(Image.open(f"{stem}.png").convert("RGB")).resize((128, 128), Image.Resampling.BILINEAR)
    mask = crop(Image.open(f"{stem}_flat.png")).resize((128, 128), Image.Resampling.NEAREST)
    return np.asarray(image, np.float32).transpose(2, 0, 1) / 255, np.asarray(mask)


def official(true: NDArray[Any], predicted: NDArray[Any]) -> dict[str, float]:
    """The evaluator's statistics of one image, from their description."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score

    size = max(int(true.max()) + 1, SLOTS)
    trues, preds = ([labels == k for k in range(size)] for labels in (true, predicted))
    both = np.array([[float((t & p).sum()) for p in preds] for t in trues])
    union = np.array([[float((t | p).sum()) for p in preds] for t in trues])
    iou = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    partner = linear_sum_assignment(iou.astype(np.float32), maximize=True)[1]
    matched = iou[np.arange(size), partner]
    seen_true, seen = [t.any() for t in trues], [p.any() for p in preds]
    pairs = sum(bool(seen_true[k] or seen[partner[k]]) for k in range(size))
    sums = np.array([trues[k].sum() + preds[partner[k]].sum() for k in range(size)], float)
    dice = np.divide(2 * both[np.arange(size), partner], sums, out=np.zeros(size), where=sums > 0)
    inside = true > 0
    return {
        "ari": adjusted_rand_score(true.ravel(), predicted.ravel()),
        "fg_ari": adjusted_rand_score(true[inside], predicted[inside]),
        "miou_official": matched[1:].sum() / (pairs - 1),
        "miou_pairs": matched.sum() / pairs,
        "miou_gt": matched.sum() / sum(seen_true),
        "dice_official": dice.sum() / pairs,
        "fg_dice_official": dice[1:].sum() / (pairs - 1),
        "object_count_accuracy": float(sum(seen_true) == sum(seen)),
        "msc_official": covering(true, renamed(predicted, partner)),
    }


def renamed(predicted: NDArray[Any], partner: NDArray[Any]) -> NDArray[Any]:
    names = np.empty(len(partner), int)
    names[partner] = np.arange(len(partner))
    return names[predicted]


def covering(true: NDArray[Any], named: NDArray[Any]) -> float:
    """With the evaluator's mistake: the last label of either side is never looked at."""
    score = norm = 0.0
    for t in range(true.max()):
        mine = true == t
        if not mine.any():
            continue
        others = [named == p for p in range(named.max()) if (named == p).any()]
        overlaps = [float((mine & other).sum() / (mine | other).sum()) for other in others]
        score += mine.sum() * max(overlaps, default=0.0)
        norm += mine.sum()
    return score / norm


@pytest.mark.slow
@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"the rendered CLEVRTex sample is not at {SAMPLE}")
def test_every_number_of_the_test_split_again_from_the_files(base: str, tmp_path: Path) -> None:
    """The model was trained on [-1, 1] under another protocol: it sees that range here too."""
    loaded = prepare("spec.yaml", sets=SETS).loaded
    run = run_training(loaded, tmp_path / "run", device=torch.device("cpu"), report=lambda progress: None)
    found = conditions(loaded, EvaluationRequest(protocols=["clevrtex-official"]))
    [summary] = run_evaluations(run, loaded, found, device=torch.device("cpu"), figures=False)
    assert (summary["images"], summary["protocol"], summary["split"]) == (24, "clevrtex-official", "test")

    model = build_model(loaded.spec).eval()
    model.load_state_dict(run.load_weights().model)
    every: list[dict[str, float]] = []
    ious: dict[str, list[float]] = {}
    for index in range(24):
        image_CHW, true = scene(index)
        signed = torch.from_numpy(image_CHW)[None] * 2 - 1
        stream = torch.Generator().manual_seed(loaded.spec.seed * 1_000_003 + index)
        with torch.no_grad():
            output = model(signed, generator=[stream])
        assert output.decoded.masks_BKHW is not None
        predicted = output.decoded.masks_BKHW[0].argmax(0).numpy()
        difference = (output.decoded.prediction_BCHW[0].numpy() + 1) / 2 - image_CHW
        every.append(
            official(true, predicted) | {"mse_official": float((difference.astype(float) ** 2).sum())}
        )
        for shape, value in objects(index, true, predicted):
            ious.setdefault(shape, []).append(value)
    means = summary["methods"]["model"]
    assert set(means) == set(every[0])
    for name in every[0]:
        expected = np.mean([values[name] for values in every])
        assert means[name]["mean"] == pytest.approx(expected, rel=1e-9, abs=1e-12), name
    by_shape = {group["group"]: group["object_iou"] for group in summary["breakdowns"]["shape"]}
    assert {shape: found["count"] for shape, found in by_shape.items()} == {
        s: len(v) for s, v in ious.items()
    }
    for shape, values in ious.items():
        assert by_shape[shape]["mean"] == pytest.approx(np.mean(values), abs=1e-9), shape


def objects(index: int, true: NDArray[Any], predicted: NDArray[Any]) -> list[tuple[str, float]]:
    """(shape, IoU) of each object that is seen, by the official pairing."""
    from scipy.optimize import linear_sum_assignment

    path = SAMPLE / "clevrtex_full" / str(index // 1000) / f"CLEVRTEX_full_{index:06d}.json"
    listed = json.loads(path.read_text())["objects"]
    size = max(int(true.max()) + 1, SLOTS)
    iou = np.zeros((size, size))
    for t in range(size):
        for p in range(size):
            union = int(((true == t) | (predicted == p)).sum())
            iou[t, p] = ((true == t) & (predicted == p)).sum() / union if union else 0
    partner = linear_sum_assignment(iou, maximize=True)[1]
    return [(one["shape"], iou[k, partner[k]]) for k, one in enumerate(listed, 1) if (true == k).any()]
