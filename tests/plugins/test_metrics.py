"""Metrics by hand, against scikit-learn, and against transcriptions of what others publish.

The official CLEVRTex definitions are in `test_official_metrics.py`, laws of all metrics in `test_laws.py`.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score  # noqa: TID253
from torch import Tensor

from slotlab.framework.contracts import MetricContext, Outcome, PooledMetric
from slotlab.framework.plugin_loading.discovery import load_registry

REGISTRY = load_registry()
Labels = NDArray[np.int64]


def build(name: str, value_range: tuple[float, float] = (-1.0, 1.0), **chosen: Any) -> Callable[..., Tensor]:
    item = REGISTRY.find("metric", name)
    assert item is not None
    config = item.component.config.model_validate(chosen)
    made: Callable[..., Tensor] = item.component.build(config, MetricContext(value_range=value_range))
    return made


ari, fg_ari, mbo = build("ari"), build("fg_ari"), build("mbo")


def outcome(true: Any, predicted: Any) -> Outcome:
    true_BHW, predicted_BHW = torch.as_tensor(true), torch.as_tensor(predicted)
    images = torch.zeros(len(true_BHW), 3, *true_BHW.shape[1:])
    return Outcome(images_BCHW=images, true_BHW=true_BHW, predicted_BHW=predicted_BHW)


def value(metric: Any, true: list[int], predicted: list[int]) -> float:
    found: Tensor = metric(outcome([[true]], [[predicted]]))
    return found.item()


def random_pairs(seed: int, images: int) -> tuple[Labels, Labels]:
    """Return masks of 1 to 12 segments, from unrelated to equal, single segments included."""
    rng = np.random.default_rng(seed)
    shape = (images, int(rng.integers(1, 12)), int(rng.integers(1, 12)))
    true, predicted = np.empty(shape, np.int64), np.empty(shape, np.int64)
    for i in range(images):
        true[i] = rng.integers(0, rng.integers(1, 13), shape[1:])
        noise = rng.integers(0, rng.integers(1, 13), shape[1:])
        predicted[i] = np.where(rng.random(shape[1:]) < rng.random(), true[i], noise)
    true[0], predicted[1], true[2] = 0, 3, 5
    return true, predicted


# --- ARI and FG-ARI against scikit-learn -------------------------------------------------


def sklearn_ari(true: Labels, predicted: Labels) -> float:
    if true.size == 0:
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn remarks on many labels in small images
        return float(adjusted_rand_score(true.ravel(), predicted.ravel()))


def check_ari(true: Labels, predicted: Labels) -> None:
    """Compare a batch with scikit-learn, image by image."""
    every = ari(outcome(true, predicted)).numpy()
    foreground = fg_ari(outcome(true, predicted)).numpy()
    pairs = list(zip(true, predicted, strict=True))
    np.testing.assert_allclose(every, [sklearn_ari(t, p) for t, p in pairs], rtol=0, atol=1e-12)
    expected = [sklearn_ari(t[t > 0], p[t > 0]) for t, p in pairs]
    np.testing.assert_allclose(foreground, expected, rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("seed", range(8))
def test_random_pairs_equal_scikit_learn(seed: int) -> None:
    check_ari(*random_pairs(seed, 50))


@pytest.mark.slow
def test_ten_thousand_random_pairs_equal_scikit_learn() -> None:
    for seed in range(200):
        check_ari(*random_pairs(1000 + seed, 50))


def test_whole_images_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 7, (4, 8, 8)).repeat(16, axis=1).repeat(16, axis=2)
    predicted = np.where(rng.random(blocks.shape) < 0.7, blocks, rng.integers(0, 11, blocks.shape))
    check_ari(blocks, predicted)


labels = st.lists(st.integers(0, 4), min_size=1, max_size=9)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_small_degenerate_pairs_equal_scikit_learn(data: Any) -> None:
    true = data.draw(labels)
    predicted = data.draw(st.lists(st.integers(0, 4), min_size=len(true), max_size=len(true)))
    check_ari(np.array(true)[None, None], np.array(predicted)[None, None])


def test_symmetric_in_both_segmentations() -> None:
    rng = np.random.default_rng(1)
    true, predicted = rng.integers(0, 5, (20, 6, 6)), rng.integers(0, 4, (20, 6, 6))
    torch.testing.assert_close(ari(outcome(true, predicted)), ari(outcome(predicted, true)))


def test_ari_by_hand() -> None:
    # Of 6 pairs of pixels 2 are together in both, 2 expected by chance: 1 (0 0), 1 (1 1); (2*2)/6 = 2/3.
    assert value(ari, [0, 0, 1, 1], [0, 0, 1, 1]) == 1.0
    # Together in truth: 2 pairs; in the prediction: 1; in both: 1; by chance 2*1/6 = 1/3.
    assert value(ari, [0, 0, 1, 1], [0, 0, 1, 2]) == pytest.approx((1 - 1 / 3) / (1.5 - 1 / 3))
    # Together in both: none; by chance 2*2/6.
    assert value(ari, [0, 0, 1, 1], [0, 1, 0, 1]) == pytest.approx((0 - 2 / 3) / (2 - 2 / 3))
    assert value(ari, [0, 0, 0, 0], [0, 0, 0, 0]) == 1.0
    assert value(ari, [0, 0, 0, 0], [0, 1, 2, 3]) == 0.0
    assert value(ari, [0, 1, 2, 3], [3, 2, 1, 0]) == 1.0
    assert value(ari, [0], [4]) == 1.0


def test_fg_ari_by_hand() -> None:
    # The two background pixels are left out; what the prediction says there does not matter.
    assert value(fg_ari, [0, 0, 1, 1, 2, 2], [1, 2, 0, 0, 3, 3]) == 1.0
    assert value(fg_ari, [0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 2]) == pytest.approx((1 - 1 / 3) / (1.5 - 1 / 3))
    assert value(fg_ari, [0, 1, 1, 1], [2, 0, 0, 0]) == 1.0  # one object in one segment
    assert value(fg_ari, [0, 1, 1, 1], [0, 0, 0, 1]) == 0.0  # one object in two
    assert math.isnan(value(fg_ari, [0, 0, 0], [0, 1, 2]))


# --- overlap -----------------------------------------------------------------------------

TRUE = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2]
MODEL = [0, 0, 0, 3, 3, 3, 4, 4, 4, 1]
"""IoU: ground 1/2 with 0 and with 3; object 1 is 2/3 of segment 4; object 2 1/4 of 4 and 1/2 of 1."""
BY_HAND = {
    "miou_pairs": (1 / 2 + 2 / 3 + 1 / 2) / 4,
    "miou_official": (2 / 3 + 1 / 2) / 3,
    "miou_gt": (1 / 2 + 2 / 3 + 1 / 2) / 3,
    "fg_miou_gt": (2 / 3 + 1 / 2) / 2,
    "miou_per_object": (2 / 3 + 1 / 2) / 2,
    "mbo": (2 / 3 + 1 / 2) / 2,
    "mbo_with_background": (1 / 2 + 2 / 3 + 1 / 2) / 3,
    "mbo_per_object": (2 / 3 + 1 / 2) / 2,
    "sc": (6 / 2 + 2 * 2 / 3 + 2 / 2) / 10,
    "fg_sc": (2 * 2 / 3 + 2 / 2) / 4,
    "msc": (1 / 2 + 2 / 3 + 1 / 2) / 3,
    "fg_msc": (2 / 3 + 1 / 2) / 2,
    "dice_official": (2 / 3 + 4 / 5 + 2 / 3) / 4,
    "fg_dice_official": (4 / 5 + 2 / 3) / 3,
    "object_count_accuracy": 0.0,
    "corloc": 1.0,
    "object_recovery": 1.0,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_overlap_by_hand(name: str) -> None:
    assert value(build(name), TRUE, MODEL) == pytest.approx(BY_HAND[name], rel=1e-15)


def test_the_official_covering_by_hand() -> None:
    # Pairs: ground with 0 (or 3), object 1 with 4, object 2 with 1, the other half of the ground last. The last true
    # segment, object 2, is no target, and the spare one is no candidate.
    assert value(build("msc_official"), TRUE, MODEL) == pytest.approx((6 / 2 + 2 * 2 / 3) / 8)


def test_a_merged_object_counts_once_where_partners_are_unique() -> None:
    true, predicted = [0, 0, 1, 1, 2, 2, 2], [0, 0, 1, 1, 1, 1, 1]
    assert value(build("fg_miou_gt"), true, predicted) == pytest.approx(3 / 5 / 2)
    assert value(mbo, true, predicted) == pytest.approx((2 / 5 + 3 / 5) / 2)
    assert value(build("miou_gt"), true, predicted) == pytest.approx((1 + 3 / 5) / 3)


def test_without_the_background_a_segment_is_free_for_an_object() -> None:
    # Segment 0 overlaps the ground most, but only objects are matched.
    true, predicted = [0, 0, 0, 0, 1, 2], [0, 0, 0, 0, 0, 1]
    assert value(build("fg_miou_gt"), true, predicted) == pytest.approx((1 / 5 + 1) / 2)
    assert value(build("miou_gt"), true, predicted) == pytest.approx((4 / 5 + 1) / 3)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.6, 0.7])
def test_thresholds_of_localization(threshold: float) -> None:
    found = sum(iou >= threshold for iou in (2 / 3, 1 / 2))
    assert value(build("object_recovery", threshold=threshold), TRUE, MODEL) == found / 2
    assert value(build("corloc", threshold=threshold), TRUE, MODEL) == (found > 0)


def test_an_object_at_the_threshold_is_found() -> None:
    for name in ("corloc", "object_recovery"):
        assert value(build(name, threshold=0.5), [0, 0, 1, 1], [0, 0, 0, 1]) == 1


@pytest.mark.parametrize("name", ["corloc", "object_recovery"])
@pytest.mark.parametrize("threshold", [0, -0.5, 1.5])
def test_thresholds_are_parts(name: str, threshold: float) -> None:
    with pytest.raises(ValidationError, match="threshold"):
        build(name, threshold=threshold)


@pytest.mark.parametrize(
    "name", [name for name in BY_HAND if name not in ("miou_official", "fg_dice_official")]
)
def test_images_without_objects(name: str) -> None:
    """The ground in one piece: metrics of objects are undefined, the others best."""
    of_objects = {"fg_miou_gt", "mbo", "fg_sc", "fg_msc", "corloc", "object_recovery"}
    of_objects |= {"miou_per_object", "mbo_per_object"}
    found = value(build(name), [0, 0, 0], [2, 2, 2])
    assert math.isnan(found) if name in of_objects else found == 1


@pytest.mark.parametrize("name", ["miou_official", "fg_dice_official"])
def test_official_foreground_needs_more_than_one_pair_and_a_ground(name: str) -> None:
    assert math.isnan(value(build(name), [0, 0, 0], [2, 2, 2]))
    assert value(build(name), [0, 0, 0], [2, 2, 1]) == 0
    assert math.isnan(value(build(name), [1, 1, 2], [0, 0, 1]))


@pytest.mark.parametrize(
    ("name", "same"), [("msc", "mbo_with_background"), ("fg_msc", "mbo"), ("mbo_per_object", "mbo")]
)
def test_two_names_of_one_definition(name: str, same: str) -> None:
    found = outcome(*random_pairs(5, 50))
    assert torch.equal(build(name)(found).nan_to_num(-1), build(same)(found).nan_to_num(-1))


def iou_of(true: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    return float((true & predicted).sum() / (true | predicted).sum())


def test_means_over_objects_equal_a_list_of_all_objects() -> None:
    """As Latent Slot Diffusion evaluates: matched by the cosine of masks, one list for all images."""
    true, predicted = random_pairs(7, 50)
    ious: list[float] = []
    bests: list[float] = []
    for t, p in zip(true, predicted, strict=True):
        objects = [t == label for label in np.unique(t) if label > 0]
        segments = [p == label for label in np.unique(p)]
        cosine = [[(o & s).sum() / math.sqrt(o.sum() * s.sum()) for s in segments] for o in objects]
        partner = (
            dict(
                zip(
                    *linear_sum_assignment(np.reshape(cosine, (len(objects), -1)), maximize=True), strict=True
                )
            )
            if objects
            else {}
        )
        ious += [iou_of(o, segments[partner[i]]) if i in partner else 0.0 for i, o in enumerate(objects)]
        bests += [max(iou_of(o, s) for s in segments) for o in objects]
    for name, expected in (("miou_per_object", ious), ("mbo_per_object", bests)):
        metric = build(name)
        assert isinstance(metric, PooledMetric)
        values, weights = metric(outcome(true, predicted)), metric.weights(outcome(true, predicted))
        assert weights.sum().item() == len(expected)
        total = (values.nan_to_num(0) * weights).sum() / weights.sum()
        assert total.item() == pytest.approx(np.mean(expected), rel=1e-12)


def test_matching_over_true_segments_equals_a_transcription() -> None:
    """As SlotDiffusion evaluates, label gaps aside."""
    true, predicted = random_pairs(9, 60)
    for first, name in ((0, "miou_gt"), (1, "fg_miou_gt")):
        found = build(name)(outcome(true, predicted)).tolist()
        for t, p, got in zip(true, predicted, found, strict=True):
            targets = [t == label for label in np.unique(t) if label >= first]
            segments = [p == label for label in np.unique(p)]
            if not targets:
                assert math.isnan(got)
                continue
            ious = np.array([[iou_of(a, b) for b in segments] for a in targets])
            best = ious[linear_sum_assignment(-ious)].sum() / len(targets)
            assert got == pytest.approx(best, abs=1e-12)


# --- boundaries --------------------------------------------------------------------------


def test_boundaries_by_hand() -> None:
    exact = build("boundary_f", tolerance=0)
    assert value(exact, [0, 0, 1, 1, 1, 2], [5, 5, 3, 3, 3, 0]) == 1
    # The true boundary is at pixels 1 and 4, the predicted one at 1 only: precision 1, recall 1/2.
    assert value(exact, [0, 0, 1, 1, 1, 2], [0, 0, 1, 1, 1, 1]) == pytest.approx(2 / 3)
    assert value(exact, [0, 0, 1, 1], [0, 1, 1, 1]) == 0
    assert value(build("boundary_f", tolerance=0.2), [0, 0, 1, 1], [0, 1, 1, 1]) == 1
    assert value(exact, [0, 0, 0], [0, 0, 0]) == 1
    assert value(exact, [0, 1, 1], [0, 0, 0]) == 0
    assert value(exact, [0, 0, 0], [0, 0, 1]) == 0


def f_by_distance(true: Labels, predicted: Labels, radius: int) -> float:
    sides = []
    for labels_HW in (true, predicted):
        edge = np.zeros(labels_HW.shape, dtype=bool)
        edge[:, :-1] |= np.diff(labels_HW, axis=1) != 0
        edge[:-1] |= np.diff(labels_HW, axis=0) != 0
        sides.append(edge)
    if not sides[0].any() or not sides[1].any():
        return float(sides[0].any() == sides[1].any())
    near = [distance_transform_edt(~edge) <= radius for edge in sides]
    precision, recall = near[0][sides[1]].mean(), near[1][sides[0]].mean()
    return float(2 * precision * recall / (precision + recall)) if precision and recall else 0.0


@pytest.mark.parametrize("tolerance", [0, 0.02, 0.1])
def test_boundaries_equal_distances(tolerance: float) -> None:
    rng = np.random.default_rng(3)
    true = rng.integers(0, 4, (12, 4, 5)).repeat(6, axis=1).repeat(5, axis=2)
    predicted = np.roll(true, (1, -2), axis=(1, 2))
    predicted[::3] = rng.integers(0, 2, (4, 2, 5)).repeat(12, axis=1).repeat(5, axis=2)
    found = build("boundary_f", tolerance=tolerance)(outcome(true, predicted))
    radius = math.ceil(tolerance * math.hypot(24, 25))
    expected = [f_by_distance(t, p, radius) for t, p in zip(true, predicted, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


# --- images ------------------------------------------------------------------------------


def pictures(images: Any, reconstructions: Any) -> Outcome:
    return Outcome(
        images_BCHW=torch.as_tensor(images),
        true_BHW=None,
        predicted_BHW=None,
        reconstructions_BCHW=torch.as_tensor(reconstructions),
    )


def test_squared_errors_by_hand() -> None:
    pair = pictures([[[[0.0, 1.0]]], [[[-1.0, 0.5]]]], [[[[0.5, 1.0]]], [[[1.0, -0.5]]]])
    assert build("mse")(pair).tolist() == [0.125, 2.5]
    assert build("mse_seed")(pair).tolist() == [0.125, 2.5]
    assert build("mse_unit")(pair).tolist() == [0.125 / 4, 2.5 / 4]
    assert build("mse_official")(pair).tolist() == [0.25 / 4, 5 / 4]
    assert build("mse_boqsa")(pair).tolist() == [0.25, 5.0]
    assert build("psnr")(pair).tolist() == pytest.approx([10 * math.log10(4 / m) for m in (0.125, 2.5)])


@pytest.mark.parametrize("name", ["mse_seed", "mse_unit", "mse_official", "mse_boqsa", "psnr", "ssim"])
def test_the_range_of_a_spec_does_not_matter(name: str) -> None:
    unit = torch.rand(2, 4, 3, 16, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    on_unit = build(name, (0.0, 1.0))(pictures(unit[0], unit[1]))
    signed = unit * 2 - 1
    on_signed = build(name, (-1.0, 1.0))(pictures(signed[0], signed[1]))
    torch.testing.assert_close(on_signed, on_unit, rtol=1e-10, atol=0)


def test_relations_of_squared_errors() -> None:
    pair = pictures(*torch.rand(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    seed, official = build("mse_seed")(pair), build("mse_official")(pair)
    torch.testing.assert_close(official, seed * 3 * 64 / 4)
    torch.testing.assert_close(build("mse_boqsa")(pair), official * 4 / 3)


def test_squared_errors_have_no_upper_bound() -> None:
    pair = pictures(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 10.0))
    for name in ("mse", "mse_seed", "mse_unit", "mse_official", "mse_boqsa"):
        metric: Any = build(name)
        assert 1 < metric(pair).item() < metric.bounds[1]


def ssim_by_filters(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Wang et al. 2004 with SciPy's Gaussian filter, channel by channel, without the border."""
    values = []
    for x, y in zip(first, second, strict=True):
        mean_x, mean_y, xx, yy, xy = (
            gaussian_filter(z, 1.5, truncate=3.5)[5:-5, 5:-5] for z in (x, y, x * x, y * y, x * y)
        )
        c1, c2 = 0.0001, 0.0009
        luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        structure = (2 * (xy - mean_x * mean_y) + c2) / (xx - mean_x**2 + yy - mean_y**2 + c2)
        values.append((luminance * structure).mean())
    return float(np.mean(values))


def test_structural_similarity_equals_a_transcription() -> None:
    rng = np.random.default_rng(0)
    images = rng.random((3, 3, 20, 31))
    others = np.stack([images[0] + 0.1, images[1] * 0.5, rng.random((3, 20, 31))])
    found = build("ssim")(pictures(images * 2 - 1, others * 2 - 1))
    expected = [ssim_by_filters(a, b) for a, b in zip(images, others, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)
    assert found[0] > found[1] > found[2]


def test_images_smaller_than_the_window_have_no_structural_similarity() -> None:
    assert build("ssim")(pictures(torch.zeros(2, 3, 10, 40), torch.zeros(2, 3, 10, 40))).isnan().all()
    assert build("ssim")(pictures(torch.zeros(2, 3, 11, 40), torch.zeros(2, 3, 11, 40))).tolist() == [1, 1]


# --- diagnoses ---------------------------------------------------------------------------


def soft(*masks: list[float]) -> Outcome:
    masks_BKHW = torch.tensor(masks)[None, :, None, :]
    images = torch.zeros(1, 3, *masks_BKHW.shape[2:])
    predicted = masks_BKHW.argmax(dim=1)
    return Outcome(images_BCHW=images, true_BHW=None, predicted_BHW=predicted, masks_BKHW=masks_BKHW)


def test_slots_in_use_by_hand() -> None:
    found = soft([0.6, 0.6, 0.6, 0.1], [0.4, 0.4, 0.4, 0.1], [0.0, 0.0, 0.0, 0.8])
    assert build("slot_usage")(found).item() == 2
    assert build("slot_usage", least_share=0.25)(found).item() == 2
    assert build("slot_usage", least_share=0.3)(found).item() == 1


def test_entropy_of_masks_by_hand() -> None:
    entropy = build("mask_entropy")
    assert entropy(soft([1.0, 0.0], [0.0, 1.0], [0.0, 0.0])).item() == 0
    assert entropy(soft([0.25, 0.25], [0.25, 0.25], [0.25, 0.25], [0.25, 0.25])).item() == 1
    assert entropy(soft([1.0, 0.5], [0.0, 0.5])).item() == pytest.approx(1 / 2)
    assert entropy(soft([1.0, 1.0])).item() == 0


def test_dropped_slots_count_neither_for_the_greatest_entropy_nor_for_what_is_undecided() -> None:
    entropy = build("mask_entropy")
    half = soft([0.5, 0.5], [0.5, 0.5], [0.0, 0.0], [0.0, 0.0])
    assert entropy(half).item() == pytest.approx(1 / 2)
    for keep, expected in (
        ([1.0, 1.0, 0.0, 0.0], 1.0),
        ([1.0, 1.0, 1.0, 0.0], math.log(2) / math.log(3)),
        ([1.0] * 4, 1 / 2),
    ):
        found = replace(half, keep_BK=torch.tensor([keep]))
        assert entropy(found).item() == pytest.approx(expected)
