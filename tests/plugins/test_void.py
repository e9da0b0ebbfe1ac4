"""The law of void: whatever lies in void pixels changes no metric of masks, no count of objects and no group."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from slotlab.framework.contracts import VOID, MeasuresClips, MetricContext, Outcome, PooledMetric, Sample
from slotlab.framework.data.preparation import Preparation
from slotlab.framework.evaluation.breakdown import object_rows
from slotlab.framework.evaluation.rows import count_objects
from slotlab.framework.figures.contact_sheet import paint
from slotlab.framework.figures.mask_colors import paint_truth, pair
from slotlab.framework.jobs.saved_masks import gray_labels
from slotlab.framework.laws.metric import OfPictures
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.registry import Registered, SlotlabError

REGISTRY = load_registry()
OF_MASKS = {"true_BHW", "predicted_BHW", "masks_BKHW"}


def make(item: Registered, **chosen: Any) -> Any:
    config = item.component.config.model_validate(chosen)
    built = item.component.build(config, MetricContext(value_range=(-1.0, 1.0)))
    return OfPictures(built) if isinstance(built, MeasuresClips) else built


METRICS = [
    item
    for item in REGISTRY.all("metric")
    if item.component.name != "lpips" and make(item).needs & OF_MASKS  # lpips needs files, and no masks
]
"""Metrics of masks. Those of pictures count all pixels: void says that a label is not known, the color is."""


def every_mask_metric() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("item", METRICS, ids=[item.component.name for item in METRICS])


def outcome(seed: int = 0, shape: tuple[int, int] = (24, 20)) -> Outcome:
    """Return six images with void in random places; one has no void, one nothing else, one no background."""
    stream = Generator().manual_seed(seed)
    true = torch.randint(0, 4, (6, *shape), generator=stream)
    masks = torch.randn(6, 5, *shape, generator=stream).softmax(dim=1)
    void = torch.rand(6, *shape, generator=stream) < 0.3
    void[1], void[2] = False, True
    true[3] += 1
    true[4] = true[4].clamp(max=1)
    true[void] = VOID
    images = torch.zeros(6, 3, *shape)
    predicted = masks.argmax(dim=1)
    kinds = [{"index": label, "category": f"kind {label % 2}"} for label in range(1, 5)]
    return Outcome(
        images_BCHW=images,
        true_BHW=true,
        predicted_BHW=predicted,
        masks_BKHW=masks,
        attributes=({"objects": kinds},) * 6,
    )


def other_predictions_in_void(found: Outcome, seed: int = 5) -> Outcome:
    assert found.true_BHW is not None
    assert found.masks_BKHW is not None
    stream = Generator().manual_seed(seed)
    masks = torch.randn(found.masks_BKHW.shape, generator=stream).softmax(dim=1)
    void = found.true_BHW == VOID
    mixed = torch.where(void[:, None], masks, found.masks_BKHW)
    return replace(found, predicted_BHW=mixed.argmax(dim=1), masks_BKHW=mixed)


def same_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.nan_to_num(-9), b.nan_to_num(-9))


@every_mask_metric()
def test_no_prediction_in_void_changes_a_bit_of_a_metric(item: Registered) -> None:
    metric, found = make(item), outcome()
    values = metric(found)
    for seed in range(3):
        other = other_predictions_in_void(found, seed)
        assert same_bits(metric(other), values)
        if isinstance(metric, PooledMetric):
            assert same_bits(metric.weights(other), metric.weights(found))
    assert values[2].isnan()
    assert values[[0, 1, 4, 5]].isfinite().all()


def test_the_law_would_catch_a_metric_that_scores_void() -> None:
    found = outcome()
    assert found.true_BHW is not None
    scored = replace(found, true_BHW=found.true_BHW.clamp(min=0))
    changed = [
        item.component.name
        for item in METRICS
        if not same_bits(
            make(item)(scored),
            make(item)(replace(other_predictions_in_void(found), true_BHW=scored.true_BHW)),
        )
    ]
    assert {"ari", "mbo", "miou_official", "boundary_f", "mask_entropy"} <= set(changed)


@every_mask_metric()
def test_void_is_as_if_it_were_cut_away(item: Registered) -> None:
    """A frame of void scores as the picture without the frame; boundaries by a tolerance of no pixel."""
    if item.component.name.startswith("davis_"):
        pytest.skip("DAVIS draws contours along void, too, with the tolerance of the whole picture")
    settings = {"boundary_f": {"tolerance": 0.0}, "slot_usage": {"least_share": 0.2}}
    metric, whole = make(item, **settings.get(item.component.name, {})), outcome(3)
    assert whole.true_BHW is not None
    framed = whole.true_BHW.clamp(min=0)
    framed[:, :3], framed[:, -2:], framed[:, :, :4], framed[:, :, -1:] = VOID, VOID, VOID, VOID

    def cut(tensor: Any) -> Any:
        return tensor[..., 3:-2, 4:-1] if isinstance(tensor, Tensor) else tensor

    marked = replace(whole, true_BHW=framed)
    inner = Outcome(**{field.name: cut(getattr(marked, field.name)) for field in fields(marked)})
    assert inner.scored_BHW is None
    torch.testing.assert_close(metric(marked), metric(inner), rtol=0, atol=1e-12, equal_nan=True)


@every_mask_metric()
def test_every_image_scores_alone_as_beside_others(item: Registered) -> None:
    """Also one of void alone, or without any, whose batch then has nothing else."""
    metric, found = make(item), outcome()
    values = metric(found)
    for image in range(6):
        part = slice(image, image + 1)
        alone = Outcome(
            **{
                field.name: value[part]
                if isinstance(value := getattr(found, field.name), Tensor | tuple)
                else value
                for field in fields(found)
            }
        )
        assert same_bits(metric(alone), values[part])
        if isinstance(metric, PooledMetric):
            assert same_bits(metric.weights(alone), metric.weights(found)[part])


def test_objects_and_groups_know_no_void() -> None:
    found = outcome()
    assert found.true_BHW is not None
    wanted = [len(set(one.unique().tolist()) - {VOID, 0}) for one in found.true_BHW]
    assert count_objects(found) == wanted
    assert count_objects(replace(found, predicted_BHW=None)) == wanted
    ids = [str(number) for number in range(6)]
    rows = object_rows(found, ids)
    assert rows == object_rows(other_predictions_in_void(found), ids)
    assert [len(row) for row in rows] == wanted
    assert rows[2] == []


@pytest.mark.parametrize("resize", ["pil", "torch", "torch_antialias"])
@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_void_goes_through_preparation(resize: Any, dtype: torch.dtype) -> None:
    mask = torch.zeros(40, 40, dtype=dtype)
    mask[:, :20], mask[:10], mask[30:, 30:] = 3, VOID, 7
    sample = Sample(id="a", image_CHW=torch.zeros(3, 40, 40, dtype=torch.uint8), mask_HW=mask)
    prepared = Preparation(size=(10, 10), crop=20, resize=resize)(sample)
    assert prepared.counts == {"metadata": None, "mask_colors": 2, "visible": 1}
    small = prepared.sample.mask_HW
    assert small is not None
    assert small.dtype == dtype
    assert set(small.unique().tolist()) == {0, 3}
    whole = Preparation(size=(20, 20), resize=resize, max_labels=3)(sample).sample.mask_HW
    assert whole is not None
    assert torch.equal(whole, mask[::2, ::2])
    nothing = replace(sample, mask_HW=torch.full((40, 40), VOID, dtype=dtype))
    assert Preparation(size=(10, 10))(nothing).counts["mask_colors"] == 0


def test_void_is_white_in_pictures() -> None:
    mask = np.array([[VOID, 0, 1, 2]])
    assert paint_truth(mask)[0, :2].tolist() == [[255, 255, 255], [0, 0, 0]]
    assert paint(mask)[0, :2].tolist() == [[255, 255, 255], [0, 0, 0]]
    slots = np.array([[4, 1, 2, 3]])
    assert paint_truth(mask, slots)[0, 0].tolist() == [255, 255, 255]
    assert pair(mask, slots) == pair(mask[:, 1:], slots[:, 1:])
    every = paint_truth(mask)[0].tolist()
    assert len({tuple(color) for color in every}) == 4


def test_void_is_written_as_255_and_read_again(tmp_path: Path) -> None:
    labels = np.array([[VOID, 0, 3, 254]])
    assert gray_labels(labels).tolist() == [[255, 0, 3, 254]]
    assert gray_labels(labels).dtype == np.uint8
    wide = gray_labels(np.array([[VOID, 0, 255, 300]]))
    assert (wide.tolist(), wide.dtype) == ([[255, 0, 256, 301]], np.uint16)
    assert gray_labels(np.array([[0, 255]])).tolist() == [[0, 255]]


def test_other_negative_labels_are_refused() -> None:
    bad = replace(outcome(), true_BHW=torch.full((6, 24, 20), -2))
    with pytest.raises(SlotlabError) as error:
        bad.counts_BTP  # noqa: B018
    assert str(error.value) == "segment labels start at 0 (a true label of -1 is void), got -2"


# --- packed stores -------------------------------------------------------------------------


class Masked:
    """Samples of which those at some positions have void."""

    def __init__(self, void: set[int]):
        self.void = void

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Sample:
        if index >= 6:
            raise IndexError(index)
        stream = Generator().manual_seed(index)
        mask = torch.randint(0, 3, (8, 8), generator=stream)
        if index in self.void:
            mask[:3] = VOID
        image = torch.randint(0, 256, (3, 8, 8), generator=stream).to(torch.uint8)
        return Sample(id=f"m{index}", image_CHW=image, mask_HW=mask)

    def fingerprint(self) -> str:
        return str(sorted(self.void))


@pytest.mark.parametrize("void", [set(), {0}, {4}, {0, 1, 2, 3, 4, 5}])
def test_void_comes_back_from_a_store(tmp_path: Path, void: set[int]) -> None:
    from slotlab.framework.data.selection import FileSamples
    from slotlab.framework.data.source import Source
    from slotlab.framework.data.store.pack import pack

    source = Source("masked", "all", Masked(void), Preparation(size=(4, 4)), {})
    said: list[str] = []
    store = pack(source, tmp_path, workers=0, say=said.append)
    assert store.manifest.mask == ("int32" if void else "uint8")
    anew = "a mask has labels above 255, or void, which need more than 8 bits: packing starts anew with 32"
    assert said == ([anew] if void and 0 not in void else [])
    files = FileSamples(source)
    for index in range(6):
        mask, expected = store[index].mask_HW, files[index].mask_HW
        assert mask is not None
        assert expected is not None
        assert torch.equal(mask.long(), expected.long())
        assert bool((mask == VOID).any()) == (index in void)
    batch = store.resident(torch.device("cpu")).batch(range(6), torch.device("cpu"))
    assert batch.masks_BHW is not None
    assert bool((batch.masks_BHW == VOID).any()) == bool(void)
    assert store.counts("mask_colors").tolist() == [source.item(i).counts["mask_colors"] for i in range(6)]


def test_other_negative_labels_are_not_packed(tmp_path: Path) -> None:
    from slotlab.framework.data.source import Source
    from slotlab.framework.data.store.pack import pack

    class Bad(Masked):
        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            assert sample.mask_HW is not None
            return replace(sample, mask_HW=sample.mask_HW - 2)

    source = Source("bad", "all", Bad(set()), Preparation(size=(4, 4)), {})
    with pytest.raises(SlotlabError, match="its mask has the label -2; labels start at 0, and -1 is void"):
        pack(source, tmp_path, workers=0)
