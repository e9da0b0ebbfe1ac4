"""Random windows: parts of the picture as it was resized, anew in every epoch, whoever reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from slotlab.framework.contracts import Sample
from slotlab.framework.data.augmentation import Windows
from slotlab.framework.data.device_placement import Placement
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.loaders import evaluation_loader, train_loader
from slotlab.framework.data.preparation import Preparation
from slotlab.framework.data.resizing import cut_at
from slotlab.framework.spec.schema import ExperimentSpec

Specs = Callable[..., ExperimentSpec]
CPU = Placement(torch.device("cpu"), torch.contiguous_format, 0, 1)


def ramp(rows: int, columns: int) -> Tensor:
    """A picture whose pixels tell their row and column."""
    row_H, column_W = torch.arange(rows), torch.arange(columns)
    channels = torch.broadcast_tensors(torch.zeros(1, 1), row_H[:, None], column_W)
    return torch.stack(channels).to(torch.uint8)


@pytest.mark.parametrize("shape", [(8, 20), (20, 8)])
def test_windows_are_parts_of_the_resized_picture_and_reach_its_edges(shape: tuple[int, int]) -> None:
    sample = Sample(id="a", image_CHW=ramp(*shape), mask_HW=ramp(*shape)[1] * 20 + ramp(*shape)[2])
    prepare = Preparation(size=(8, 8), fit="cover")
    firsts = set()
    for window in Windows(seed=0)(range(300), 0):
        cut = prepare(sample, window).sample
        top, left = cut.image_CHW[1:, 0, 0].tolist()
        assert torch.equal(cut.image_CHW, sample.image_CHW[:, top : top + 8, left : left + 8])
        assert cut.mask_HW is not None
        assert sample.mask_HW is not None
        assert torch.equal(cut.mask_HW, sample.mask_HW[top : top + 8, left : left + 8]), "the mask goes along"
        firsts.add((top, left))
    assert firsts == {(0, at) if shape == (8, 20) else (at, 0) for at in range(13)}


def test_a_window_may_lie_anywhere_if_both_sides_are_longer() -> None:
    whole = ramp(10, 12)
    cut = [cut_at(whole, (8, 8), window)[1:, 0, 0].tolist() for window in Windows(seed=0)(range(400), 0)]
    assert {tuple(corner) for corner in cut} == {(top, left) for top in range(3) for left in range(5)}
    assert cut_at(whole, (8, 8), (0.999, 0.0))[1:, 0, 0].tolist() == [2, 0]
    assert cut_at(whole, (8, 8), (0.0, 0.999))[1:, 0, 0].tolist() == [0, 4]


def test_seed_epoch_and_position_all_count_and_the_batch_does_not() -> None:
    draw = Windows(seed=3)
    assert draw([4, 9, 2], 1) == [draw([position], 1)[0] for position in (4, 9, 2)]
    assert draw([4], 1) != draw([4], 2)
    assert draw([4], 1) != draw([5], 1)
    assert draw([4], 1) != Windows(seed=4)([4], 1)
    assert all(0 <= value < 1 for window in draw(range(50), 0) for value in window)


@pytest.fixture
def spec(tiny: Specs, tmp_path: Path) -> Callable[..., ExperimentSpec]:
    """Six pictures of 12 x 30 pixels, seen at 8 x 8."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(6):
        picture = np.random.default_rng(number).integers(0, 256, (12, 30, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"{number}.png")

    def make(**data: Any) -> ExperimentSpec:
        whole = {"train": (0.0, 1.0), "val": (0.0, 1.0)}
        protocol = {"name": "whole", "image_size": 8, "fit": "cover", "splits": whole}
        given = {"dataset": {"name": "image_folder", "images": str(folder)}, "protocol": protocol}
        return tiny(data=given | data)

    return make


def images(loader: Loader, epoch: int) -> Tensor:
    return torch.cat([batch.images_BCHW for batch in loader.epoch(epoch=epoch)])


@pytest.mark.parametrize("workers", [0, 2])
def test_training_sees_other_parts_in_every_epoch_and_evaluation_the_center(
    spec: Callable[..., ExperimentSpec], workers: int
) -> None:
    chosen = spec(augmentation={"window": "random"}, workers=workers)
    loader = train_loader(chosen, CPU)
    first, second = images(loader, 0), images(loader, 1)
    assert torch.equal(first, images(loader, 0)), "the same epoch shows the same"
    assert not torch.equal(first, second)
    center = images(train_loader(spec(), CPU), 0)
    assert torch.equal(images(evaluation_loader(chosen, CPU), 0), center)
    one = torch.cat([batch.images_BCHW for batch in loader.epoch([3], epoch=1)])
    assert torch.equal(one[0], second[3]), "whatever the order"


@pytest.mark.parametrize("augmentation", [{"window": "random"}, {"flip": True, "crop": 0.5}])
def test_the_seed_of_the_training_draws_and_that_of_the_data_does_not(
    spec: Callable[..., ExperimentSpec], augmentation: dict[str, Any]
) -> None:
    first = spec(augmentation=augmentation)
    seen = images(train_loader(first, CPU), 0)
    assert torch.equal(seen, images(train_loader(spec(augmentation=augmentation, seed=1), CPU), 0))
    assert not torch.equal(seen, images(train_loader(first.model_copy(update={"seed": 1}), CPU), 0))


def test_what_cannot_be(spec: Callable[..., ExperimentSpec]) -> None:
    wanted = {"augmentation": {"window": "random"}}
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"protocol": {"name": "whole", "image_size": 8}}, "a protocol with 'fit: cover', and data"),
        ({"dataset": {"name": "scenes"}, "protocol": {"name": "whole", "fit": "cover"}}, "read from files"),
        ({"store": "required"}, "random reads files; write 'store: auto'"),
    )
    for given, text in cases:
        with pytest.raises(ValidationError, match=text):
            spec(**wanted, **given)
