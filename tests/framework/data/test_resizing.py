"""Laws of resizing: pixels as torchvision makes them, sizes apart for images and masks, stores that keep both."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from torch import Generator, Tensor

from slotlab.framework.contracts import DataError, Sample
from slotlab.framework.data.preparation import Preparation, count_labels
from slotlab.framework.data.resizing import centered, covering
from slotlab.framework.data.sample_checks import BrokenPromise, check_size
from slotlab.framework.data.source import Source, open_source
from slotlab.framework.data.store.pack import pack
from slotlab.framework.data.store.reader import Store
from slotlab.framework.data.store.verify import verify
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.data import DataSpec
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.protocol import ProtocolConfig, describe_protocol
from slotlab.framework.spec.sides import in_pixels, pair

transforms: Any = pytest.importorskip("torchvision.transforms")
NEAREST = transforms.InterpolationMode.NEAREST
MODES = {name: transforms.InterpolationMode(name) for name in ("bilinear", "bicubic")}


def noise(rows: int, columns: int, seed: int = 0) -> Tensor:
    stream = Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, rows, columns), generator=stream).to(torch.uint8)


def labels(rows: int, columns: int, seed: int = 0) -> Tensor:
    stream = Generator().manual_seed(seed)
    coarse = torch.randint(0, 5, (1, 1, 5, 7), generator=stream).double()
    return torch.nn.functional.interpolate(coarse, (rows, columns))[0, 0].to(torch.uint8)


def picture(image_CHW: Tensor) -> Image.Image:
    return Image.fromarray(image_CHW.permute(1, 2, 0).numpy())


SHAPES = [(48, 64), (64, 48), (50, 50), (37, 91)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [28, 40, 80])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_cover_by_pil_is_torchvisions_resize_and_center_crop(
    shape: tuple[int, int], size: int, interpolation: Any
) -> None:
    image, mask = noise(*shape), labels(*shape)
    ours = Preparation(size=(size, size), fit="cover", interpolation=interpolation)
    crop = transforms.CenterCrop(size)
    theirs = crop(transforms.Resize(size, MODES[interpolation])(picture(image)))
    np.testing.assert_array_equal(ours.resize_image(image).permute(1, 2, 0).numpy(), np.array(theirs))
    small = crop(transforms.Resize(size, NEAREST)(Image.fromarray(mask.numpy())))
    np.testing.assert_array_equal(ours.resize_mask(mask).numpy(), np.array(small))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [28, 40, 80])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [False, True])
def test_cover_by_torch_is_torchvisions_on_tensors_clamped(
    shape: tuple[int, int], size: int, interpolation: Any, antialias: bool
) -> None:
    """As DINOSAUR's framework: to [0, 1], resize, clamp, center crop; then rounded to 8 bits."""
    image = noise(*shape)
    resize: Any = "torch_antialias" if antialias else "torch"
    ours = Preparation(size=(size, size), fit="cover", resize=resize, interpolation=interpolation)
    whole = transforms.Resize(size, MODES[interpolation], antialias=antialias)(image.float() / 255)
    theirs = transforms.CenterCrop(size)(whole.clamp(0, 1)) * 255
    assert torch.equal(ours.resize_image(image), theirs.round().to(torch.uint8))
    assert interpolation == "bilinear" or antialias or (whole.min() < 0) or (whole.max() > 1), (
        "clamping matters"
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [28, 40, 80])
@pytest.mark.parametrize("rule", ["nearest", "nearest_exact"])
def test_masks_by_torch_are_of_the_chosen_rule(shape: tuple[int, int], size: int, rule: Any) -> None:
    """The exact rule takes the label at the pixel's center, the plain one that at its upper left corner."""
    mask = labels(*shape)
    ours = Preparation(size=(size, size), fit="cover", resize="torch", mask_resize=rule).resize_mask(mask)
    wanted = covering(shape, (size, size))
    inside = 0.5 if rule == "nearest_exact" else 0.0
    rows, columns = (
        [int((i + inside) * np.float32(side / to)) for i in range(to)]
        for side, to in zip(shape, wanted, strict=True)
    )
    whole = mask[rows][:, columns]
    assert torch.equal(ours, transforms.CenterCrop(size)(whole))
    if rule == "nearest_exact":
        by_pil = Preparation(size=(size, size), fit="cover").resize_mask(mask)
        assert (ours == by_pil).float().mean() > 0.95, "ties at half pixels may differ"


@given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 400))
def test_the_covering_size_is_torchvisions(rows: int, columns: int, size: int) -> None:
    short, long = min(rows, columns), max(rows, columns)
    other = int(size * long / short)
    assert covering((rows, columns), (size, size)) == ((size, other) if rows <= columns else (other, size))


@given(*[st.integers(1, 300)] * 4)
def test_a_picture_covers_a_rectangle_and_one_side_fits(
    rows: int, columns: int, tall: int, wide: int
) -> None:
    found = covering((rows, columns), (tall, wide))
    assert found[0] >= tall
    assert found[1] >= wide
    assert found[0] == tall or found[1] == wide
    scale = max(tall / rows, wide / columns)
    assert abs(found[0] - rows * scale) <= 1
    assert abs(found[1] - columns * scale) <= 1


def test_a_square_fits_into_its_square_as_it_is() -> None:
    image = noise(20, 20)
    assert torch.equal(Preparation(size=(20, 20), fit="cover").resize_image(image), image)
    assert torch.equal(centered(image, (20, 20)), image)


# --- sizes of masks ----------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["squash", "cover"])
@pytest.mark.parametrize("crop", [None, 40, "square"])
def test_masks_are_as_at_an_image_of_their_size_and_images_as_without(fit: Any, crop: Any) -> None:
    sample = Sample(id="a", image_CHW=noise(48, 64), mask_HW=labels(48, 64))
    both = Preparation(size=(24, 24), mask_size=(36, 30), fit=fit, crop=crop)(sample).sample
    images = Preparation(size=(24, 24), fit=fit, crop=crop)(sample).sample
    masks = Preparation(size=(36, 30), fit=fit, crop=crop)(sample).sample
    assert torch.equal(both.image_CHW, images.image_CHW)
    assert both.mask_HW is not None
    assert masks.mask_HW is not None
    assert torch.equal(both.mask_HW, masks.mask_HW)
    assert both.mask_HW.is_contiguous()


def test_what_is_visible_is_what_every_crop_leaves() -> None:
    """Labels in the columns: those outside of the center that covers the square are not seen."""
    mask = (
        torch.arange(12).repeat_interleave(5).expand(20, 60).contiguous()
    )  # labels 4 to 7 in columns 20 to 39
    sample = Sample(id="a", image_CHW=noise(20, 60), mask_HW=mask)
    counts = Preparation(size=(10, 10), fit="cover")(sample).counts
    assert counts == {"metadata": None, "mask_colors": 11, "visible": 3}
    assert Preparation(size=(10, 10))(sample).counts["visible"] == 11
    assert count_labels(Preparation(size=(10, 30), fit="cover").seen(mask)) == 11, (
        "all of it, in its proportions"
    )


def test_a_mask_of_another_size_than_the_protocols_is_refused() -> None:
    sample = Sample(id="a", image_CHW=noise(8, 8), mask_HW=labels(12, 12))
    check_size(sample, (12, 12))
    with pytest.raises(BrokenPromise, match=r"the mask of a has shape \(12, 12\), and its image \(8, 8\)"):
        check_size(sample)
    with pytest.raises(BrokenPromise, match=r"shape \(12, 12\), and the protocol's masks have \(9, 9\)"):
        check_size(sample, (9, 9))


def test_drawn_pictures_have_masks_of_their_own_size() -> None:
    given = {"dataset": "scenes", "protocol": {"name": "whole", "image_size": 16, "mask_size": 32}}
    data = DataSpec.model_validate(given, context={"registry": load_registry()})
    with pytest.raises(PathProblem) as caught:
        open_source(data, "val")
    assert str(caught.value) == (
        "data.protocol.mask_size: 'scenes' draws its pictures and masks at the size of the images; leave it out, "
        "or write null"
    )
    same = {**given, "protocol": {"name": "whole", "image_size": 16, "mask_size": 16}}
    assert open_source(DataSpec.model_validate(same, context={"registry": load_registry()}), "val").listed


# --- packed stores -------------------------------------------------------------------------------


class Wide:
    """Pictures of 12 x 20 pixels."""

    def __len__(self) -> int:
        return 5

    def fingerprint(self) -> str:
        return "one"

    def __getitem__(self, index: int) -> Sample:
        if index == 3:
            raise DataError()
        return Sample(id=f"w{index}", image_CHW=noise(12, 20, index), mask_HW=labels(12, 20, index))


def test_a_store_keeps_masks_of_another_size(tmp_path: Any) -> None:
    preparation = Preparation(size=(6, 8), mask_size=(9, 11))
    source = Source(
        "wide", "all", Wide(), preparation, {"pixels": json.loads(json.dumps(preparation.identity()))}
    )
    store = pack(source, tmp_path, workers=0, on_error="skip")
    assert verify(store) == []
    again = Store.open(store.path)
    for index in (0, 1, 2, 4):
        expected, found = source.item(index).sample, again[index]
        assert torch.equal(found.image_CHW, expected.image_CHW)
        assert found.mask_HW is not None
        assert expected.mask_HW is not None
        assert torch.equal(found.mask_HW, expected.mask_HW)
        assert found.mask_HW.shape == (9, 11)
    batch = again.resident(torch.device("cpu")).batch([4, 0], torch.device("cpu"))
    assert batch.masks_BHW is not None
    assert batch.masks_BHW.shape == (2, 9, 11)


def test_preparations_of_before_keep_the_names_of_their_stores() -> None:
    """The identity without the settings that came later is the old one, key by key."""
    usual = Preparation(size=(128, 128), crop=192, resize="torch", max_labels=11)
    old = {"size": (128, 128), "crop": 192, "resize": "torch", "max_labels": 11}
    assert usual.identity() == old
    assert Preparation.of(ProtocolConfig(crop=192, resize="torch", max_labels=11)) == usual
    for change in ({"mask_size": (9, 9)}, {"interpolation": "bicubic"}, {"fit": "cover"}):
        changed = Preparation(**(asdict(usual) | change))
        assert changed.identity() == old | change


# --- sizes in specs ------------------------------------------------------------------------------


def test_a_size_is_a_number_or_rows_and_columns() -> None:
    assert ProtocolConfig(image_size=[32, 32]) == ProtocolConfig(image_size=32)  # type: ignore[arg-type]
    wide = ProtocolConfig.model_validate({"image_size": [24, 32], "mask_size": "48"})
    assert (wide.size, wide.other_mask_size) == ((24, 32), (48, 48))
    assert ProtocolConfig(image_size=32, mask_size=32).other_mask_size is None
    assert describe_protocol("mine", wide) == "mine (image_size [24, 32], mask_size 48)"
    assert (pair(5), pair([5, 6]), in_pixels(5), in_pixels((24, 32))) == ((5, 5), (5, 6), "5", "32x24")


@pytest.mark.parametrize("value", [0, -3, [3], [3, 0], [1, 2, 3], "big", 1.5, [1, "x"]])
def test_other_sizes_are_refused_in_one_line(value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        ProtocolConfig(image_size=value)
    [error] = caught.value.errors()
    shown = repr(value) if isinstance(value, str) else value
    assert error["loc"] == ("image_size",)
    assert error["msg"] == f"expected a whole number above 0, or [rows, columns], got {shown}"


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 9), st.integers(0, 9))
def test_the_middle_is_torchvisions_center_crop(rows: int, columns: int, more: int, over: int) -> None:
    """An odd difference leaves a row more above or below, by rounding to even."""
    image = noise(rows + more, columns + over)
    assert torch.equal(centered(image, (rows, columns)), transforms.CenterCrop((rows, columns))(image))


@given(*[st.integers(1, 90)] * 4)
def test_what_is_seen_of_a_covering_picture_is_the_nearest_whole_part_of_its_shape(
    rows: int, columns: int, tall: int, wide: int
) -> None:
    """Of one side all is seen, and of the other as much as has the shape of what is shown."""
    found = (
        Preparation(size=(tall, wide), fit="cover").seen(torch.zeros(rows, columns, dtype=torch.uint8)).shape
    )
    exact = (min(rows, columns * tall / wide), min(columns, rows * wide / tall))
    assert all(abs(side - one) <= 0.5 + 1e-9 for side, one in zip(found, exact, strict=True))
    assert found[0] == rows or found[1] == columns
