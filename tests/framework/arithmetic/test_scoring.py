"""The functions behind the metrics: counting, exact sums, matching."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from slotlab.framework.arithmetic.boundaries import boundary_map, dilate
from slotlab.framework.arithmetic.boxes import box_iou, part_recalled
from slotlab.framework.arithmetic.contingency import CHUNK, adjusted_rand_index, contingency
from slotlab.framework.arithmetic.matching import NOTHING, match, of_partner
from slotlab.framework.arithmetic.sums import mean_of_each, sum_in_order, sum_of_each
from slotlab.registry import SlotlabError


def test_counts_equal_a_histogram() -> None:
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 5, (7, 30, 20)), rng.integers(0, 9, (7, 30, 20))
    true[3] = 0
    found = contingency(torch.from_numpy(true), torch.from_numpy(predicted))
    assert found.dtype == torch.float64
    for i in range(7):
        expected, *_ = np.histogram2d(true[i].ravel(), predicted[i].ravel(), bins=(range(6), range(10)))
        np.testing.assert_array_equal(found[i].numpy(), expected)


def test_images_are_counted_alike_in_one_go_and_in_many() -> None:
    images = 3 * CHUNK // 4096 + 1
    stream = torch.Generator().manual_seed(0)
    true = torch.randint(0, 7, (images, 64, 64), dtype=torch.uint8, generator=stream)
    predicted = true.flip(0)
    found = contingency(true, predicted)
    assert found.sum(dim=(1, 2)).tolist() == [4096] * images
    torch.testing.assert_close(found, found.flip(0).transpose(1, 2))
    # An image of more pixels than are counted in one go is still one image.
    large = torch.ones(2, 1, CHUNK + 5, dtype=torch.int64)
    assert contingency(large, large)[:, 1, 1].tolist() == [CHUNK + 5] * 2


def test_images_of_void_alone_have_no_pixel_of_any_segment() -> None:
    void = torch.full((2, 3, 3), -1)
    found = contingency(void, torch.ones_like(void))
    assert (found.shape, float(found.sum())) == ((2, 1, 2), 0.0)
    assert adjusted_rand_index(found).isnan().all()


@pytest.mark.parametrize("side", ["true", "predicted"])
def test_labels_below_zero(side: str) -> None:
    good, bad = torch.zeros(1, 2, 2, dtype=torch.int64), torch.tensor([[[0, 1], [-2, 2]]])
    with pytest.raises(SlotlabError) as error:
        contingency(*((bad, good) if side == "true" else (good, bad)))
    void = " (a true label of -1 is void)" if side == "true" else ""
    assert str(error.value) == f"segment labels start at 0{void}, got -2"


def test_labels_that_are_no_numbers_of_segments() -> None:
    colors = torch.tensor([[[0, 16711680], [255, 65280]]])
    with pytest.raises(SlotlabError) as error:
        contingency(colors, torch.zeros_like(colors))
    assert str(error.value) == (
        "segment labels go up to 16711680 (true) and 0 (predicted); number the segments of each image from 0"
    )
    most = torch.tensor([[[0, 2047]]])  # the largest table that is counted, and one row more
    assert contingency(most, most).shape == (1, 2048, 2048)
    with pytest.raises(SlotlabError):
        contingency(most + 1, most)


# --- ARI of many pixels ------------------------------------------------------------------


def exact_ari(table: list[list[int]]) -> Fraction:
    """The chance-corrected form, in whole numbers."""

    def pairs(counts: Any) -> int:
        return sum(int(c) * (int(c) - 1) for c in counts)

    rows, columns = [sum(row) for row in table], [sum(column) for column in zip(*table, strict=True)]
    total, together = pairs([sum(rows)]), pairs(c for row in table for c in row)
    chance = Fraction(pairs(rows) * pairs(columns), total)
    most = Fraction(pairs(rows) + pairs(columns), 2)
    return Fraction(1) if most == chance else (together - chance) / (most - chance)


counts = st.one_of(st.just(0), st.integers(1, 3), st.integers(1, 10**6))
tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(counts, min_size=width, max_size=width), min_size=1, max_size=4)
)


@settings(max_examples=300)
@given(tables)
def test_ari_is_exact_to_the_last_places_however_many_pixels(table: list[list[int]]) -> None:
    if sum(map(sum, table)) < 2:
        return
    found = adjusted_rand_index(torch.tensor([table], dtype=torch.float64)).item()
    assert abs(Fraction(found) - exact_ari(table)) < Fraction(1, 10**14)


def test_ari_of_tables_without_pixels_is_undefined() -> None:
    assert adjusted_rand_index(torch.zeros(2, 3, 4)).isnan().all()
    assert adjusted_rand_index(torch.zeros(2, 0, 4)).isnan().all()


# --- sums --------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 64, 1000, 12289])
def test_sums_are_right_and_alike_in_any_batch(length: int) -> None:
    values = torch.randn(5, length, generator=torch.Generator().manual_seed(length), dtype=torch.float64)
    found = sum_of_each(values)
    torch.testing.assert_close(found, values.sum(dim=1), rtol=1e-12, atol=1e-12)
    assert torch.equal(found, torch.cat([sum_of_each(values[i : i + 1]) for i in range(5)]))
    assert torch.equal(found[1:4], sum_of_each(values[1:4]))
    if length:
        assert torch.equal(mean_of_each(values), found / length)


def test_no_bit_of_a_sum_depends_on_the_number_of_threads() -> None:
    values = torch.randn(1, 300_001, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alone = sum_of_each(values)
    torch.set_num_threads(2)
    try:
        assert torch.equal(sum_of_each(values), alone)
        assert torch.equal(sum_of_each(values.expand(3, -1)), alone.expand(3))
    finally:
        torch.set_num_threads(1)
    assert not torch.equal(values.sum(dim=1), values.flip(1).sum(dim=1)), "these values show the order"


def test_zeros_at_the_end_of_a_sum_change_no_bit() -> None:
    values = torch.rand(500, 17, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    padded = torch.nn.functional.pad(values, (0, 23))
    assert torch.equal(sum_in_order(padded), sum_in_order(values))
    torch.testing.assert_close(sum_in_order(values), values.sum(dim=1))
    assert sum_in_order(values[:, :0]).tolist() == [0] * 500


# --- matching, boundaries ----------------------------------------------------------------


def test_only_segments_that_take_part_are_matched() -> None:
    scores = torch.tensor([[[0.9, 0.8, 0.1], [0.7, 0.1, 0.0], [5.0, 5.0, 5.0]]])
    rows, columns = torch.tensor([[True, True, False]]), torch.tensor([[True, True, True]])
    partner = match(scores, rows, columns)
    assert partner.tolist() == [[1, 0, NOTHING]]  # 0.8 + 0.7 is more than 0.9 + 0.1
    torch.testing.assert_close(of_partner(scores, partner), torch.tensor([[0.8, 0.7, 0.0]]))
    only_first = match(scores, rows, torch.tensor([[True, False, False]]))
    assert only_first.tolist() == [[0, NOTHING, NOTHING]]
    assert match(scores, rows, torch.zeros(1, 3, dtype=torch.bool)).tolist() == [[NOTHING] * 3]


def test_dilation_by_hand() -> None:
    dot = torch.zeros(1, 7, 7, dtype=torch.bool)
    dot[0, 3, 3] = True
    assert [int(dilate(dot, radius).sum()) for radius in (0, 1, 2)] == [1, 5, 13]
    corner = torch.zeros(1, 4, 4, dtype=torch.bool)
    corner[0, 0, 0] = True
    assert dilate(corner, 1).nonzero().tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_a_box_is_recalled_from_the_threshold_on_and_once() -> None:
    half_N4 = torch.tensor([[0, 0, 2, 1], [0, 0, 2, 2]]).double()
    iou_NM = box_iou(half_N4[:1], half_N4[1:])
    assert iou_NM.tolist() == [[0.5]]
    assert [part_recalled(iou_NM, threshold) for threshold in (0.5, 0.51)] == [1.0, 0.0]
    assert part_recalled(torch.tensor([[0.9, 0.1], [0.8, 0.7]]), 0.5) == 0.5, "a taken box is lost"


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 5, 8])
def test_near_is_within_the_distance_that_scipy_computes(radius: int) -> None:
    marked_BHW = torch.rand(3, 30, 23, generator=torch.Generator().manual_seed(radius)) < 0.01
    marked_BHW[:, 4, 7] = True
    distance = [ndimage.distance_transform_edt(~one) for one in marked_BHW.numpy()]
    np.testing.assert_array_equal(dilate(marked_BHW, radius).numpy(), np.stack(distance) <= radius)


@pytest.mark.parametrize("mirror", [(), (1,), (2,), (1, 2)])
def test_nothing_borders_on_what_is_not_scored(mirror: tuple[int, ...]) -> None:
    """A region that is not scored has no boundary on any side, whatever labels are in it."""
    stream = torch.Generator().manual_seed(0)
    scored_BHW = torch.ones(1, 12, 12, dtype=torch.bool)
    scored_BHW[:, 3:7, 5:9] = False
    labels_BHW = torch.where(scored_BHW, 0, torch.randint(1, 5, (1, 12, 12), generator=stream))
    scored_BHW, labels_BHW = scored_BHW.flip(mirror), labels_BHW.flip(mirror)
    assert boundary_map(labels_BHW).any()
    assert not boundary_map(labels_BHW, scored_BHW).any()


def test_boundaries_lie_before_a_change() -> None:
    labels = torch.tensor([[[1, 1, 2], [1, 1, 2], [3, 3, 3]]])
    assert boundary_map(labels).int().tolist() == [[[0, 1, 0], [1, 1, 1], [0, 0, 0]]]
