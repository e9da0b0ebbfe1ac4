"""Laws of preparation and protocols: pixels worked out by hand, and each protocol's table of splits."""

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from slotlab.framework.contracts import VOID, DataError, Sample
from slotlab.framework.data.preparation import Preparation, count_labels
from slotlab.framework.spec.protocol import ProtocolConfig, describe_protocol
from slotlab.plugins import protocols
from slotlab.registry import Component

OFFICIAL = {"train": (10_000, 50_000), "val": (5_000, 10_000), "test": (0, 5_000), "all": (0, 50_000)}
WHOLE = dict.fromkeys(OFFICIAL, (0, 50_000))


def load(name: str) -> Component[ProtocolConfig]:
    module = importlib.import_module(f"slotlab.plugins.protocols.{name.replace('-', '_')}")
    [component] = module.slotlab_protocols()
    assert component.name == name
    assert component.complaints() == []
    return component  # type: ignore[no-any-return]


def config(name: str, **changes: Any) -> ProtocolConfig:
    return load(name).config.model_validate(changes)


BICUBIC = {
    "image_size": 224,
    "resize": "torch",
    "interpolation": "bicubic",
    "mask_resize": "nearest_exact",
    "value_range": "unit",
}
TABLE: dict[str, tuple[dict[str, Any], dict[str, tuple[int, int]]]] = {
    "clevrtex-official": ({"crop": 192, "value_range": "unit", "max_labels": 11}, OFFICIAL),
    "seed": ({"crop": 192, "max_labels": 11}, OFFICIAL),
    "isa": ({"crop": 192, "resize": "torch", "max_labels": 11}, OFFICIAL),
    "boqsa-nocrop": ({"max_labels": 11}, OFFICIAL),
    "slotdiffusion": ({"crop": 192, "resize": "torch", "filter_first": True, "max_labels": 11}, OFFICIAL),
    "slotdiffusion-shipped": ({"crop": 192, "resize": "torch", "max_labels": 11}, OFFICIAL),
    "slotdiffusion-coco": ({"image_size": 224, "fit": "cover", "resize": "torch"}, WHOLE),
    "spot-coco": ({"image_size": 224, "mask_size": 320, "fit": "cover", "value_range": "unit"}, WHOLE),
    "dinosaur-coco": ({"mask_size": 320, "fit": "cover", **BICUBIC}, WHOLE),
    "dinosaur-voc": ({"mask_size": 320, "fit": "cover", **BICUBIC}, WHOLE),
    "dinosaur-movi": ({"mask_size": 128, **BICUBIC}, WHOLE),
    "ft-dinosaur-clevrtex": ({"mask_size": 240, "crop": "square", "max_labels": 11, **BICUBIC}, OFFICIAL),
    "addtt": (
        {"crop": 192, "value_range": "unit", "max_labels": 11},
        {"train": (0, 40_000), "val": (40_000, 45_000), "test": (45_000, 50_000), "all": (0, 50_000)},
    ),
    "ocb-ood": ({"crop": "square", "image_size": 256, "max_labels": 11}, WHOLE),
    "lsd-movi": ({"image_size": 256, "max_labels": 24}, WHOLE),
    "lsd-per-object": ({"crop": "square", "image_size": 256, "max_labels": 11}, OFFICIAL),
    "adaslot-clevr": (
        {"crop": 192, "resize": "torch", "mask_resize": "nearest_exact"},
        {},
    ),
    "clevr6": ({"crop": (29, 64, 192, 192), "resize": "torch", "filter_first": True}, {}),
    "bench-small": ({"image_size": 32}, OFFICIAL),
    "bench-full": ({}, OFFICIAL),
    "whole": ({}, OFFICIAL),
}
"""What each protocol changes of: 128 pixels, no crop, PIL, [-1, 1], filtered after the split, any labels;
and from and up to which of 50,000 pictures its splits go."""
DEFAULTS = {
    "image_size": 128,
    "mask_size": None,
    "crop": None,
    "fit": "squash",
    "interpolation": "bilinear",
    "mask_resize": "nearest",
    "resize": "pil",
    "value_range": "signed",
    "filter_first": False,
    "max_labels": None,
}


def test_every_protocol_is_in_the_table() -> None:
    files = Path(protocols.__path__[0]).glob("[!_]*.py")
    assert {path.stem.replace("_", "-") for path in files} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_settings_and_splits_of_each_protocol(name: str) -> None:
    changes, splits = TABLE[name]
    found = config(name)
    assert {key: getattr(found, key) for key in DEFAULTS} == DEFAULTS | changes
    assert found.bounds == ((0.0, 1.0) if found.value_range == "unit" else (-1.0, 1.0))
    parts = {split: (found.part(split, 50_000)[0], found.part(split, 50_000)[-1] + 1) for split in splits}
    assert parts == splits
    assert load(name).build(found, None) is found
    assert describe_protocol(name, found) == name


def test_clevr6_is_split_by_position() -> None:
    found = config("clevr6")
    parts = {split: found.part(split, 100_000) for split in found.splits}
    assert parts == {
        "train": range(70_000),
        "val": range(70_000, 70_320),
        "test": range(70_000, 70_320),
        "all": range(100_000),
    }
    assert found.part("val", 70_000) == range(0)
    assert found.part("train", 5_000) == range(5_000)


@given(st.integers(0, 100_000))
def test_official_splits_are_apart_and_are_all(total: int) -> None:
    found = ProtocolConfig()
    parts = [found.part(split, total) for split in ("test", "val", "train")]
    assert [i for part in parts for i in (part.start, part.stop)] == [
        0,
        int(0.1 * total),
        int(0.1 * total),
        int(0.2 * total),
        int(0.2 * total),
        total,
    ]


def stripes(columns: int, values: tuple[int, ...], rows: int = 240) -> torch.Tensor:
    """A picture whose columns repeat `values`."""
    one = torch.tensor([values[x % len(values)] for x in range(columns)], dtype=torch.uint8)
    return one.expand(3, rows, columns).contiguous()


def framed(top: int, *, upright: bool) -> torch.Tensor:
    """A picture of stripes in rows `top` to `top` + 191 and columns 64 to 255, and of 250 around them."""
    image = torch.full((3, 240, 320), 250, dtype=torch.uint8)
    inside = stripes(192, (72, 144, 0), rows=192)
    image[:, top : top + 192, 64:256] = inside if upright else inside.transpose(1, 2)
    return image


def prepare(name: str, image_CHW: torch.Tensor, mask_HW: torch.Tensor | None = None) -> Sample:
    return Preparation.of(config(name))(Sample(id="x", image_CHW=image_CHW, mask_HW=mask_HW)).sample


def row(image: torch.Tensor) -> list[int]:
    """The one row of which all rows and colors are copies."""
    assert torch.equal(image, image[:1, :1].expand_as(image))
    return [int(value) for value in image[0, 0]]


# From 192 to 128 three columns a, b, c become two. PIL's bilinear is a triangle of three columns' width:
# (5a + 3b + c') / 9 and (a' + 3b + 5c) / 9, with c' the column before and a' the one after; at an edge
# these are not there, and 8 is divided by. Plain interpolation takes the two nearest columns alone:
# (3a + b) / 4 and (b + 3c) / 4. Here a, b, c = 72, 144, 0.
PIL_ROW = [99, *[56, 88] * 63, 54]
TORCH_ROW = [90, 36] * 64


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize(
    ("name", "top", "expected"),
    [
        ("clevrtex-official", 24, PIL_ROW),
        ("seed", 24, PIL_ROW),
        ("addtt", 24, PIL_ROW),
        ("isa", 24, TORCH_ROW),
        ("slotdiffusion", 24, TORCH_ROW),
        ("clevr6", 29, TORCH_ROW),
    ],
)
def test_pixels_of_crops_of_192(name: str, top: int, expected: list[int], upright: bool) -> None:
    sample = prepare(name, framed(top, upright=upright))
    image = sample.image_CHW if upright else sample.image_CHW.transpose(1, 2)
    assert image.shape == (3, 128, 128)
    assert row(image) == expected


@pytest.mark.parametrize("name", ["boqsa-nocrop", "whole"])
def test_no_crop_squashes_320_columns(name: str) -> None:
    # Five columns become two. The triangle is 5 wide: with centers at 1.25 and 3.75 of each five its
    # weights are .3 .7 .9 .5 .1 from the column before the first on, and the mirror image.
    image = stripes(320, (50, 0, 0, 100, 0))
    even, odd = (0.3 * 0 + 0.7 * 50 + 0.1 * 100) / 2.5, (0.1 * 0 + 0.5 * 0 + 0.9 * 100 + 0.3 * 50) / 2.5
    first, last = (0.7 * 50 + 0.1 * 100) / 2.2, 0.9 * 100 / 2.2
    assert (even, odd, round(first), round(last)) == (18, 42, 20, 41)
    assert row(prepare(name, image).image_CHW) == [20, *[42, 18] * 63, 41]


def test_the_largest_square_is_enlarged() -> None:
    # 15 columns become 16: column i has its center at 15/16 (i + 1/2) - 1/2, between two columns.
    image = torch.zeros((3, 240, 320), dtype=torch.uint8)
    ramp = np.arange(240, dtype=np.float64)
    image[:, :, 40:280] = torch.from_numpy(ramp.astype(np.uint8))
    centers = np.clip((np.arange(256) + 0.5) * 240 / 256 - 0.5, 0, 239)
    found = np.array(row(prepare("ocb-ood", image).image_CHW))
    assert found.shape == (256,)
    np.testing.assert_allclose(found, centers, atol=0.51)
    assert found[:8].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert found[8:16].tolist() == [7, 8, 9, 10, 11, 12, 13, 14]


@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("clevrtex-official", [64, 66, 67, 69, 70]),  # floor(1.5 (i + 1/2))
        ("seed", [64, 66, 67, 69, 70]),
        ("addtt", [64, 66, 67, 69, 70]),
        ("isa", [64, 65, 67, 68, 70]),  # floor(1.5 i)
        ("slotdiffusion", [64, 65, 67, 68, 70]),
        ("clevr6", [64, 65, 67, 68, 70]),
        ("boqsa-nocrop", [1, 3, 6, 8, 11]),  # floor(2.5 (i + 1/2))
        ("whole", [1, 3, 6, 8, 11]),
        ("ocb-ood", [40, 41, 42, 43, 44]),  # floor(15/16 (i + 1/2))
    ],
)
def test_nearest_column_of_each_protocol(name: str, starts: list[int]) -> None:
    columns = torch.arange(320, dtype=torch.int32).expand(240, 320).contiguous()
    settings = {"max_labels": None}
    small = Preparation.of(config(name, **settings)).resize_mask(Preparation.of(config(name)).cut(columns))
    assert small.dtype == torch.int32
    assert small[0, :5].tolist() == starts
    assert torch.equal(small, small[:1].expand_as(small))


def test_nearest_row_of_the_crops() -> None:
    rows = torch.arange(240, dtype=torch.int32)[:, None].expand(240, 320).contiguous()
    for name, starts in (("clevrtex-official", [24, 26, 27, 29]), ("clevr6", [29, 30, 32, 33])):
        prepared = Preparation.of(config(name))
        assert prepared.resize_mask(prepared.cut(rows))[:4, 0].tolist() == starts


@pytest.mark.parametrize("resize", ["pil", "torch", "torch_antialias"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_no_label_is_invented(resize: Any, dtype: torch.dtype) -> None:
    values = torch.tensor([0, 1, 7, 100], dtype=dtype)
    mask = values[torch.randint(0, 4, (30, 40), generator=torch.Generator().manual_seed(0))]
    small = Preparation(size=(17, 23), resize=resize).resize_mask(mask)
    assert (small.dtype, tuple(small.shape)) == (dtype, (17, 23))
    assert set(small.unique().tolist()) <= {0, 1, 7, 100}


@pytest.mark.parametrize("resize", ["pil", "torch", "torch_antialias"])
@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
def test_labels_past_a_byte_are_kept(resize: Any, dtype: torch.dtype) -> None:
    mask = torch.tensor([[0, 255, 256], [300, 511, 32767]], dtype=dtype)
    kept = Preparation(size=(4, 6), resize=resize).resize_mask(mask)
    assert torch.equal(kept, mask.repeat_interleave(2, 0).repeat_interleave(2, 1))


@pytest.mark.parametrize("resize", ["pil", "torch", "torch_antialias"])
def test_pixels_are_kept_at_their_size_and_rounded_at_another(resize: Any) -> None:
    every = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).repeat(3, 1, 1)
    assert torch.equal(Preparation(size=(16, 16), resize=resize).resize_image(every), every)
    ends = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2).repeat(3, 2, 1)
    between = Preparation(size=(2, 4), resize=resize).resize_image(ends)  # 63.75 and 191.25 are rounded
    assert between[0, 0].tolist() == [0, 64, 191, 255]


def test_antialiasing_is_near_pil_and_plain_interpolation_is_not() -> None:
    noise = torch.randint(0, 256, (3, 60, 80), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    images = [
        Preparation(size=(20, 20), resize=resize).resize_image(noise).int()
        for resize in ("pil", "torch_antialias", "torch")
    ]
    assert int((images[0] - images[1]).abs().max()) <= 1
    assert int((images[0] - images[2]).abs().max()) > 30


@pytest.mark.parametrize("rows", [240, 241])
@pytest.mark.parametrize("columns", [320, 321])
@pytest.mark.parametrize("crop", [191, 192])
def test_the_centered_square_is_rounded_as_the_official_one(rows: int, columns: int, crop: int) -> None:
    image = torch.randint(0, 256, (3, rows, columns), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    left, top = (columns - crop) // 2, (rows - crop) // 2
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).crop((left, top, left + crop, top + crop))
    kept = Preparation(size=(8, 8), crop=crop).cut(image)
    np.testing.assert_array_equal(kept.permute(1, 2, 0).numpy(), np.array(picture))


def test_counts_are_of_the_data_the_whole_mask_and_the_crop() -> None:
    mask = torch.zeros((240, 320), dtype=torch.uint8)
    mask[100, 10], mask[100, 70], mask[30, 100] = 1, 2, 5  # the first is outside of the crop
    sample = Sample(id="x", image_CHW=stripes(320, (1,)), mask_HW=mask, attributes={"num_objects": 9})
    counts = Preparation.of(config("clevrtex-official"))(sample).counts
    assert counts == {"metadata": 9, "mask_colors": 3, "visible": 2}
    bare = Sample(id="x", image_CHW=stripes(320, (1,)))
    assert Preparation.of(config("whole"))(bare).counts == {
        "metadata": None,
        "mask_colors": None,
        "visible": None,
    }


@given(st.lists(st.integers(0, 255), min_size=1), st.sampled_from([torch.uint8, torch.int32, torch.int64]))
def test_labels_are_counted_alike_in_every_type(values: list[int], dtype: torch.dtype) -> None:
    assert count_labels(torch.tensor([values], dtype=dtype)) == len(set(values)) - 1


def complaint(name: str, sample: Sample, **changes: Any) -> str:
    with pytest.raises(DataError) as caught:
        Preparation.of(config(name, **changes))(sample)
    return str(caught.value)


def test_what_does_not_fit_is_said_with_the_file() -> None:
    image = stripes(320, (1,), rows=180)
    sample = Sample(id="x", image_CHW=image, path="a.png")
    assert complaint("seed", sample) == "a.png: it has 320x180 pixels, too few for a crop of 192"
    assert (
        complaint("clevr6", Sample(id="x", image_CHW=image))
        == "x: it has 320x180 pixels, too few for a crop of [29, 64, 192, 192]"
    )
    for box in ([0, 0, 181, 320], [0, 0, 180, 321], [1, 0, 180, 320], [0, 1, 180, 320]):
        reason = f"it has 320x180 pixels, too few for a crop of {box}"
        assert complaint("whole", Sample(id="x", image_CHW=image), crop=box) == f"x: {reason}"
    shifted = Sample(id="x", image_CHW=image, mask_HW=torch.zeros((180, 300), dtype=torch.uint8))
    assert complaint("whole", shifted) == "x: its mask has 300x180 pixels, its picture 320x180"
    turned = Sample(id="x", image_CHW=shifted.image_CHW, mask_HW=torch.zeros(320, 180, dtype=torch.uint8))
    assert complaint("whole", turned) == (
        "x: its mask has 180x320 pixels, its picture 320x180: is one of them turned by its EXIF orientation, "
        "and the other not?"
    )
    many = torch.arange(12, dtype=torch.uint8).repeat(240, 20)
    sample = Sample(id="x", image_CHW=stripes(240, (1,)), mask_HW=many)
    assert complaint("seed", sample) == "x: its mask has 12 values, the protocol allows 11"
    assert Preparation.of(config("seed", max_labels=12))(sample).counts["mask_colors"] == 11


@pytest.mark.parametrize(
    ("splits", "text"),
    [
        ({"train": (0.0, 1.5)}, "Value error, train: parts go from 0.0 to 1.0, got [0.0, 1.5]"),
        ({"val": (5, 5)}, "Value error, val: from 5 up to 5 there is nothing"),
        ({"val": (0.5, 0.2)}, "Value error, val: from 0.5 up to 0.2 there is nothing"),
    ],
)
def test_impossible_splits_are_refused(splits: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ProtocolConfig.model_validate({"splits": splits})
    assert [problem["msg"] for problem in caught.value.errors()] == [text]


def test_a_changed_protocol_says_so() -> None:
    assert describe_protocol("seed", config("seed", image_size=64)) == "seed (image_size 64)"
    assert describe_protocol("seed", config("seed", crop=None)) == "seed (crop None)"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("squash", {}),
        ("crop", {"crop": 30}),
        ("box", {"crop": (4, 2, 26, 33)}),
        ("square", {"crop": "square"}),
        ("cover", {"fit": "cover"}),
        ("crop and cover", {"crop": (2, 3, 20, 36), "fit": "cover"}),
    ],
)
@pytest.mark.parametrize("size", [(40, 56), (56, 40)])
def test_a_point_moves_with_the_picture(name: str, settings: dict[str, Any], size: tuple[int, int]) -> None:
    """A bright square is found where its middle was said to come to lie."""
    preparation = Preparation(size=(24, 28), resize="torch_antialias", **settings)
    for row, column in ((15, 27), (20, 24), (12, 30)):
        image_CHW = torch.zeros(3, *size, dtype=torch.uint8)
        image_CHW[:, row - 3 : row + 4, column - 3 : column + 4] = 255
        small_HW = preparation.resize_image(preparation.cut(image_CHW))[0].double()
        if not small_HW.any() or small_HW[[0, -1]].any() or small_HW[:, [0, -1]].any():
            continue  # cut at the border
        down, right = (
            (small_HW.sum(dim=1 - axis) * (torch.arange(small_HW.shape[axis]) + 0.5)).sum() / small_HW.sum()
            for axis in (0, 1)
        )
        found = preparation.moved(column + 0.5, row + 0.5, size)
        assert found == pytest.approx((float(right), float(down)), abs=0.3)
        break
    else:
        pytest.fail("no square lies whole in the picture")


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("void", [False, True])
@pytest.mark.parametrize("labels", [(0,), (0, 3), (0, 1, 2, 900), (4, 7)])
def test_void_is_no_object(labels: tuple[int, ...], void: bool, dtype: torch.dtype) -> None:
    mask_HW = torch.tensor([*labels, *labels], dtype=dtype)[None]
    if void:
        mask_HW = torch.cat([mask_HW, torch.full((1, 2 * len(labels)), VOID, dtype=dtype)])
    assert count_labels(mask_HW) == len(labels) - 1
    assert count_labels(torch.full((2, 2), VOID, dtype=dtype)) == 0


@pytest.mark.parametrize("size", [(11, 8), (8, 11), (13, 10), (9, 9)])
def test_the_corner_of_a_centered_square_is_rounded_down(size: tuple[int, int]) -> None:
    """As in the official loader: half of an odd difference is never rounded up."""
    row_H, column_W = torch.arange(size[0])[:, None], torch.arange(size[1])
    pixels_3HW = torch.stack([(row_H + 0 * column_W), (0 * row_H + column_W), 0 * row_H + 0 * column_W])
    for crop in (8, "square"):
        side = 8 if crop == 8 else min(size)
        cut = Preparation(size=(8, 8), crop=crop).cut(pixels_3HW)  # type: ignore[arg-type]
        assert cut.shape == (3, side, side)
        assert cut[:2, 0, 0].tolist() == [math.floor((one - side) / 2) for one in size]
