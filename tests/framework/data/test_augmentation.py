"""Augmentation: one image's fate depends on seed, epoch and position, and nothing is invented."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from slotlab.framework.data.augmentation import Augment, Windows
from slotlab.framework.randomness.seeds import mix, streams


def ramp(count: int, side: int = 8) -> Tensor:
    """Images whose every pixel tells its image, row and column."""
    image_B, row_H, column_W = torch.arange(count), torch.arange(side), torch.arange(side)
    channels = torch.broadcast_tensors(image_B[:, None, None], row_H[:, None], column_W)
    return torch.stack(channels, dim=1).to(torch.uint8)


def test_images_do_not_depend_on_the_batch_they_are_in() -> None:
    augment = Augment(seed=3, flip=True, crop=0.5)
    images_BCHW, positions = ramp(6), [9, 4, 7, 0, 2, 5]
    together = augment(images_BCHW, positions, 2)
    alone = [augment(images_BCHW[i : i + 1], positions[i : i + 1], 2) for i in range(6)]
    assert torch.equal(together, torch.cat(alone))
    backward = augment(images_BCHW.flip(0), positions[::-1], 2)
    assert torch.equal(together, backward.flip(0))


def test_seed_epoch_and_position_all_count() -> None:
    def corners(seed: int, epoch: int, positions: Sequence[int]) -> list[list[int]]:
        changed_BCHW = Augment(seed=seed, flip=True, crop=0.5)(ramp(30, side=32), positions, epoch)
        return changed_BCHW[:, 1:, 0, 0].tolist()

    base = corners(0, 0, range(30))
    assert base == corners(0, 0, range(30))
    assert base != corners(1, 0, range(30))
    assert base != corners(0, 1, range(30))
    assert base != corners(0, 0, range(30, 60))


def test_a_flip_mirrors_about_half_of_the_images_and_changes_nothing_else() -> None:
    images_BCHW = ramp(400)
    flipped_BCHW = Augment(seed=0, flip=True)(images_BCHW, range(400), 0)
    mirrored_B = (flipped_BCHW == images_BCHW.flip(3)).flatten(1).all(dim=1)
    same_B = (flipped_BCHW == images_BCHW).flatten(1).all(dim=1)
    assert bool((mirrored_B ^ same_B).all())
    assert 150 < int(mirrored_B.sum()) < 250


def test_crops_are_squares_of_the_picture_and_reach_its_edges() -> None:
    images_BCHW = ramp(300, side=16)
    cut_BCHW = Augment(seed=0, crop=0.75)(images_BCHW, range(300), 0)
    assert cut_BCHW.shape == images_BCHW.shape
    assert cut_BCHW.dtype == torch.uint8
    assert cut_BCHW.is_contiguous(memory_format=torch.channels_last)
    rows, columns = cut_BCHW[:, 1].float(), cut_BCHW[:, 2].float()
    for first_B, last_B in ((rows[:, 0, 0], rows[:, -1, 0]), (columns[:, 0, 0], columns[:, 0, -1])):
        assert set((last_B - first_B).tolist()) == {11.0}  # 12 of 16 rows, whose ends keep their value
        assert first_B.unique().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_crop_of_a_rectangle_has_its_shape_and_lies_anywhere_in_it() -> None:
    """Rows and columns are drawn apart; what is between two pixels is rounded and not cut off."""
    row_H, column_W = torch.arange(8), torch.arange(12)
    noise_BHW = torch.randint(0, 256, (400, 8, 12), generator=torch.Generator().manual_seed(0))
    ramps = torch.broadcast_tensors(noise_BHW, row_H[:, None], column_W)
    images_BCHW = torch.stack(ramps, dim=1).to(torch.uint8)
    cut_BCHW = Augment(seed=0, crop=0.75)(images_BCHW, range(400), 0)
    corners = cut_BCHW[:, 1:, 0, 0].tolist()
    assert {tuple(corner) for corner in corners} == {(top, left) for top in range(3) for left in range(4)}
    for before_CHW, after_CHW, (top, left) in zip(images_BCHW, cut_BCHW, corners, strict=True):
        part_CHW = before_CHW[:, top : top + 6, left : left + 9].float()
        wanted = F.interpolate(part_CHW[None], (8, 12), mode="bilinear", align_corners=False)[0]
        assert torch.equal(after_CHW, wanted.round().to(torch.uint8))


def test_windows_crops_and_the_order_of_images_are_drawn_from_streams_of_their_own() -> None:
    """All follow from the training's seed, the epoch and the position, and none tells anything of another."""
    epoch, positions, images_BCHW = 2, range(40), ramp(40, side=200)
    corners_B2 = Augment(seed=3, crop=0.5)(images_BCHW, positions, epoch)[:, 1:, 0, 0]
    found = [(int(down * 101), int(right * 101)) for down, right in Windows(seed=3)(positions, epoch)]
    assert sum(tuple(one) == other for one, other in zip(corners_B2.tolist(), found, strict=True)) < 3
    plain = streams(mix(3, epoch), positions, torch.device("cpu"))
    other = [tuple((torch.rand(2, generator=one) * 101).long().tolist()) for one in plain]
    assert sum(tuple(one) == two for one, two in zip(corners_B2.tolist(), other, strict=True)) < 3


def test_no_augmentation_returns_the_images() -> None:
    images_BCHW = ramp(5)
    assert torch.equal(Augment(seed=0)(images_BCHW, range(5), 0), images_BCHW)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("crop", [1.0, 0.75])
def test_what_is_mirrored_is_told_without_the_images(flip: bool, crop: float) -> None:
    """Stored features of a mirrored image are read where it is mirrored, and nowhere else."""
    augment, positions = Augment(seed=5, flip=flip, crop=crop), range(40, 80)
    cut_BCHW = augment(ramp(40), positions, 3)
    falls_B = cut_BCHW[:, 2, 0, 0] > cut_BCHW[:, 2, 0, -1]
    assert torch.equal(augment.mirrored(positions, 3), falls_B)
    assert bool(falls_B.any()) is flip


@pytest.mark.parametrize("crop", [0.5, 0.55, 0.8])
def test_a_mask_has_the_label_under_the_middle_of_each_pixel(crop: float) -> None:
    side, kept = 20, round(crop * 20)
    labels_BHW = torch.arange(side**2).reshape(1, side, side).expand(8, -1, -1)
    found_BHW = Augment(seed=1, crop=crop).masks(labels_BHW, range(8), 0)
    middle_H = ((torch.arange(side) + 0.5) * kept / side).floor().long()
    rows_BHW, columns_BHW = found_BHW // side, found_BHW % side
    assert torch.equal(
        rows_BHW - rows_BHW[:, :1], (middle_H - middle_H[0])[None, :, None].expand(8, -1, side)
    )
    assert torch.equal(columns_BHW - columns_BHW[:, :, :1], (middle_H - middle_H[0]).expand(8, side, -1))
