"""Flow and depth go with the picture: wherever it is cut, resized and mirrored, each vector still leads home."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from slotlab.framework.contracts import Batch, DataError, Sample
from slotlab.framework.data.augmentation import Augment
from slotlab.framework.data.device_placement import Placement
from slotlab.framework.data.fields import read_field
from slotlab.framework.data.loaders import evaluation_loader, train_loader, with_fields
from slotlab.framework.data.preparation import Preparation
from slotlab.framework.data.sample_checks import BrokenPromise
from slotlab.framework.data.selection import Selection
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError

CPU = torch.device("cpu")
SIDES = st.tuples(st.integers(3, 9), st.integers(3, 9))
VIDEOS = {"name": "moving_scenes", "num_frames": 3, "num_train": 2, "num_val": 2, "min_objects": 2}


@given(SIDES, SIDES, st.sampled_from(["squash", "cover"]), st.sampled_from([None, "square", 3]))
def test_a_vector_leads_from_a_point_to_where_it_was(file: Any, size: Any, fit: Any, crop: Any) -> None:
    """For the places of the points themselves there is a function of its own (`moved`)."""
    preparation = Preparation(size=size, fit=fit, crop=crop)
    down, right = 1.25, -0.5
    flow = torch.tensor([down, right])[:, None, None].expand(2, *file)
    now, before = ((column, row) for column, row in ((1.5, 2.5), (1.5 - right, 2.5 - down)))
    (x, y), (x_before, y_before) = (preparation.moved(*point, file) for point in (now, before))
    found = preparation.resize_field("flow", flow)
    assert found.shape == (2, *size)
    wanted = torch.tensor([y - y_before, x - x_before])[:, None, None].expand_as(found)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_field_lies_where_the_picture_lies() -> None:
    """One that is a ramp of the picture's rows and columns is resized like the picture, but for rounding."""
    ramp = torch.arange(12.0 * 16).reshape(1, 12, 16)
    picture = ramp.expand(3, -1, -1).to(torch.uint8)
    for crop, size in ((None, (12, 16)), (8, (8, 8)), (None, (6, 8)), ((2, 3, 6, 8), (12, 16))):
        preparation = Preparation(size=size, crop=crop, resize="torch")
        sample = preparation(Sample(id="a", image_CHW=picture)).sample
        depth = preparation.resize_field("depth", preparation.cut(ramp) if crop is None else ramp)
        assert (depth - sample.image_CHW[:1]).abs().max() <= 0.5


@pytest.mark.parametrize("crop", [1.0, 0.5])
def test_augmented_fields_and_masks_are_those_of_the_augmented_images(crop: float) -> None:
    augment, positions = Augment(seed=3, flip=True, crop=crop), range(6)
    images = torch.arange(6 * 64).remainder(251).reshape(6, 1, 8, 8).expand(-1, 3, -1, -1).to(torch.uint8)
    seen = augment(images, positions, 1)
    depth = augment.field("depth", images[:, :1].float(), positions, 1)
    assert (depth - seen[:, :1]).abs().max() <= 0.5
    masks = augment.masks(images[:, 0].long(), positions, 1)
    if crop == 1:
        assert torch.equal(masks, seen[:, 0].long())
    else:  # each label is one that the picture's part shows, and appears in a square of 2 by 2
        assert torch.equal(masks[:, ::2, ::2], masks[:, 1::2, 1::2])
    flow = augment.field("flow", torch.tensor([1.0, 3.0])[:, None, None].expand(6, 2, 8, 8), positions, 1)
    signs = torch.where(augment.mirrored(positions, 1), -1.0, 1.0)
    assert set(signs.tolist()) == {-1.0, 1.0}
    wanted = torch.stack([torch.full((6,), 1 / crop), 3 * signs / crop], dim=1)
    assert torch.equal(flow, wanted[:, :, None, None].expand_as(flow))


def videos(tiny: Callable[..., ExperimentSpec], **data: Any) -> ExperimentSpec:
    return tiny(data={"dataset": VIDEOS, "clip": {"frames": 2, "start": "all"}, **data})


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_has_the_fields_of_its_frames(tiny: Callable[..., ExperimentSpec], workers: int) -> None:
    spec = videos(tiny, workers=workers)
    loader = with_fields(train_loader(spec, Placement(CPU)), ("flow", "depth"))
    batch = next(iter(loader.epoch([1, 3])))
    assert loader.selection.source is not None
    dataset: Any = loader.selection.source.dataset
    frames = [1, 2, 4, 5]  # of clips 1 and 3: frames 1, 2 of each video
    flow = torch.stack([dataset.flow(index).float().movedim(-1, 0) for index in frames])
    depth = torch.stack([dataset.depth(index).float()[None] for index in frames])
    assert torch.equal(batch.fields["flow"], flow)
    assert torch.equal(batch.fields["depth"], depth)
    parts = batch.chunk(2)
    assert torch.equal(torch.cat([part.fields["flow"] for part in parts]), flow)
    plain = next(iter(replace(loader, fields=()).epoch([1, 3])))
    assert plain.fields == {}
    assert torch.equal(plain.images_BCHW, batch.images_BCHW)


def test_evaluated_clips_have_them_too(tiny: Callable[..., ExperimentSpec]) -> None:
    loader = with_fields(evaluation_loader(videos(tiny), Placement(CPU)), ("depth",))
    [(_, batch)] = list(loader.share([0, 1]))
    assert isinstance(batch, Batch)
    assert batch.fields.keys() == {"depth"}
    assert batch.fields["depth"].shape == (6, 1, 8, 8)


def test_data_without_a_field_is_told_at_the_objective(tiny: Callable[..., ExperimentSpec]) -> None:
    loader = train_loader(tiny(data={"dataset": {"name": "scenes", "num_train": 2}}), Placement(CPU))
    with pytest.raises(PathProblem) as caught:
        with_fields(loader, ("flow",))
    assert caught.value.path == ("objective",)
    text = "its target is made of flow, and the dataset 'scenes' has none (no method 'flow'); take data that"
    assert caught.value.text.startswith(text)
    assert with_fields(loader, ()).fields == ()
    bare = replace(loader, dataset=Selection(loader.selection.base, [0]))
    with pytest.raises(SlotlabError, match="flow and depth are read through a spec's data alone"):
        with_fields(bare, ("flow",))


@dataclass
class Given:
    """A dataset that gives what it is told to."""

    found: Any

    def flow(self, index: int) -> Any:
        return self.found

    depth = flow


@pytest.mark.parametrize(
    ("name", "found", "text"),
    [
        ("flow", None, "the flow of sample 3 is NoneType; a dataset gives floats (H, W, 2)"),
        ("flow", torch.zeros(4, 4, 2, dtype=torch.int64), "is torch.int64; a dataset gives floats (H, W, 2)"),
        ("flow", torch.zeros(2, 4, 4), "has shape (2, 4, 4); a dataset gives (H, W, 2)"),
        ("depth", torch.zeros(4, 4, 1), "the depth of sample 3 has shape (4, 4, 1); a dataset gives (H, W)"),
    ],
)
def test_broken_promises_are_named(name: Any, found: Any, text: str) -> None:
    dataset: Any = Given(found)
    with pytest.raises(BrokenPromise) as caught:
        read_field(dataset, name, 3)
    assert text in str(caught.value)


def test_numbers_that_are_not_finite_are_a_problem_of_the_data() -> None:
    depth: Tensor = torch.zeros(2, 2)
    depth[0, 1] = torch.inf
    dataset: Any = Given(depth)
    with pytest.raises(DataError, match="sample 3: its depth has numbers that are not finite"):
        read_field(dataset, "depth", 3)
