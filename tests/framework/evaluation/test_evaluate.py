"""Evaluation: rows that depend on no batch, summaries by hand, baselines, what is left out."""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from slotlab.framework.contracts import Batch, Outcome, Tokens
from slotlab.framework.data.loader import Loader
from slotlab.framework.evaluation.baselines import BASELINES
from slotlab.framework.evaluation.code_usage import CodeCounter
from slotlab.framework.evaluation.evaluate import baseline_outcome, evaluate
from slotlab.framework.evaluation.rows import (
    Evaluation,
    Ledger,
    count_objects,
    ranked,
    reasons,
    rows_of,
    summarize,
)
from slotlab.framework.metrics.builders import FunctionMetric
from slotlab.framework.model.build import build_metrics, build_model
from slotlab.framework.model.masks import masks_at
from slotlab.framework.runs.folder import MODEL
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError

Loaders = Callable[..., Loader]
Specs = Callable[..., ExperimentSpec]


def measured(spec: ExperimentSpec, loader: Loader, **options: Any) -> Evaluation:
    return evaluate(spec, build_model(spec), loader, build_metrics(spec), **options)


@pytest.mark.parametrize("source", ["decoder", "attention"])
@pytest.mark.parametrize("initializer", ["gaussian", "learnable"])
def test_batch_size_changes_nothing(
    tiny: Specs, noise_loader: Loaders, initializer: str, source: str
) -> None:
    spec = tiny(
        model={"initializer": initializer}, evaluation={"mask_source": source, "baselines": ["position_grid"]}
    )
    one, *others = (measured(spec, noise_loader(batch_size=size)).rows for size in (1, 2, 5))
    for other in others:
        for method, rows in one.items():
            for row, again in zip(rows, other[method], strict=True):
                assert again.pop("id") == row["id"]
                numbers = {name: value for name, value in row.items() if name != "id"}
                assert again == pytest.approx(numbers, rel=1e-5, nan_ok=True)


def test_evaluation_leaves_the_global_generator_alone(tiny: Specs, noise_loader: Loaders) -> None:
    spec = tiny()
    before = torch.get_rng_state()
    measured(spec, noise_loader())
    assert torch.equal(torch.get_rng_state(), before)


def test_rows_name_every_image(tiny: Specs, noise_loader: Loaders) -> None:
    loader = noise_loader(background=frozenset({1}))
    found = measured(tiny(evaluation={"baselines": ["one_segment"]}), loader)
    assert list(found.rows) == [MODEL, "one_segment"]
    assert [row["id"] for row in found.rows[MODEL]] == ["n0", "n1", "n2", "n3", "n4"]
    assert [row["objects"] for row in found.rows[MODEL]] == [3, 0, 3, 3, 3]
    assert list(found.rows[MODEL][0]) == ["id", "objects", "ari", "fg_ari", "mse"]
    assert list(found.rows["one_segment"][0]) == ["id", "objects", "ari", "fg_ari"]
    assert found.left_out == {}


def test_undefined_values_are_counted(tiny: Specs, noise_loader: Loaders) -> None:
    spec = tiny()
    found = measured(spec, noise_loader(background=frozenset({1, 4})))
    summary = found.summary(build_metrics(spec))[MODEL]
    assert (summary["fg_ari"]["count"], summary["fg_ari"]["undefined"]) == (3, 2)
    assert (summary["ari"]["count"], summary["ari"]["undefined"]) == (5, 0)
    defined = [row["fg_ari"] for row in found.rows[MODEL] if not math.isnan(row["fg_ari"])]
    assert summary["fg_ari"]["mean"] == pytest.approx(np.mean(defined))


def test_max_images_takes_the_first(tiny: Specs, noise_loader: Loaders) -> None:
    every = measured(tiny(), noise_loader()).rows[MODEL]
    calls: list[tuple[int, int]] = []
    some = measured(
        tiny(evaluation={"max_images": 3}),
        noise_loader(),
        report=lambda done, total: calls.append((done, total)),
    )
    assert [row["id"] for row in some.rows[MODEL]] == ["n0", "n1", "n2"]
    assert [row["mse"] for row in some.rows[MODEL]] == pytest.approx([row["mse"] for row in every[:3]])
    assert calls == [(2, 3), (3, 3)]
    assert len(measured(tiny(evaluation={"max_images": 99}), noise_loader()).rows[MODEL]) == 5


def test_metrics_without_truth_are_left_out(tiny: Specs, noise_loader: Loaders) -> None:
    spec = tiny()
    found = measured(spec, noise_loader(unmasked=frozenset(range(5))))
    assert found.left_out == {"ari": "the data has no masks", "fg_ari": "the data has no masks"}
    assert list(found.rows[MODEL][0]) == ["id", "mse"]
    assert list(found.summary(build_metrics(spec))[MODEL]) == ["mse"]


def test_reasons_name_what_the_model_lacks(tiny: Specs) -> None:
    images, labels = torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64)
    full = Outcome(images_BCHW=images, true_BHW=labels, predicted_BHW=labels, reconstructions_BCHW=images)
    metrics = build_metrics(tiny())
    assert reasons(full, metrics) == {}
    assert reasons(replace(full, reconstructions_BCHW=None), metrics) == {"mse": "the prediction is no image"}
    no_masks = "the model has no masks from the chosen source"
    assert reasons(replace(full, predicted_BHW=None), metrics) == {"ari": no_masks, "fg_ari": no_masks}
    neither = replace(full, predicted_BHW=None, true_BHW=None)
    all_of_it = f"{no_masks}; the data has no masks"
    assert reasons(neither, metrics) == {"ari": all_of_it, "fg_ari": all_of_it}


def test_other_number_of_slots(tiny: Specs, noise_loader: Loaders) -> None:
    spec = tiny(evaluation={"slots": 5})
    model = build_model(spec)
    output = model(next(noise_loader().epoch()).images_BCHW, num_slots=5)
    assert output.decoded.masks_BKHW is not None
    assert output.decoded.masks_BKHW.shape[1] == 5
    assert len(measured(spec, noise_loader()).rows[MODEL]) == 5


def test_masks_are_brought_to_the_image(tiny: Specs, noise_loader: Loaders) -> None:
    model = build_model(tiny(model={"encoder": {"name": "cnn", "channels": [4], "strides": [2]}}))
    output = model.reconstruct(next(noise_loader().epoch()).images_BCHW)
    assert output.attention_BKHW.shape == (2, 3, 4, 4)
    masks = masks_at(output, "attention", (8, 8))
    assert masks is not None
    assert masks.shape == (2, 3, 8, 8)
    torch.testing.assert_close(masks.sum(dim=1), torch.ones(2, 8, 8))
    decoded = masks_at(output, "decoder", (8, 8))
    assert decoded is not None
    assert torch.equal(decoded, output.decoded.masks_BKHW)
    without = replace(output, decoded=replace(output.decoded, masks_BKHW=None))
    assert masks_at(without, "decoder", (8, 8)) is None


def test_masks_keep_their_share_of_the_image_when_it_is_a_multiple_of_their_grid(
    tiny: Specs, noise_loader: Loaders
) -> None:
    model = build_model(tiny(model={"encoder": {"name": "cnn", "channels": [4], "strides": [2]}}))
    output = model.reconstruct(next(noise_loader().epoch()).images_BCHW)
    for size in ((8, 8), (16, 12)):
        masks = masks_at(output, "attention", size)
        assert masks is not None
        torch.testing.assert_close(masks.mean(dim=(2, 3)), output.attention_BKHW.mean(dim=(2, 3)))


def test_a_metric_given_twice(tiny: Specs) -> None:
    with pytest.raises(SlotlabError) as error:
        build_metrics(tiny(evaluation={"metrics": ["ari", "mse", "ari"]}))
    assert str(error.value) == "evaluation.metrics.2: the metric 'ari' is given twice; keep one"


# --- numbers by hand ---------------------------------------------------------------------


def test_summary_by_hand() -> None:
    assert summarize([1.0, math.nan, 2.0, 6.0]) == {
        "mean": 3.0,
        "std": pytest.approx(math.sqrt((4 + 1 + 9) / 2)),
        "median": 2.0,
        "min": 1.0,
        "max": 6.0,
        "count": 3,
        "undefined": 1,
    }
    one = {"mean": 4.0, "std": None, "median": 4.0, "min": 4.0, "max": 4.0, "count": 1, "undefined": 0}
    assert summarize([4.0]) == one
    none = dict.fromkeys(("mean", "std", "median", "min", "max"))
    assert summarize([math.nan] * 2) == {**none, "count": 0, "undefined": 2}


@pytest.mark.parametrize("value", [0.0, 9.0, math.nan])
def test_what_weighs_nothing_is_undefined_whatever_its_value(value: float) -> None:
    without = summarize([1.0, 3.0], [1.0, 3.0])
    assert without["undefined"] == 0
    assert summarize([1.0, value, 3.0], [1.0, 0.0, 3.0]) == {**without, "undefined": 1}


def test_the_mean_of_a_pooled_metric_is_over_objects() -> None:
    class Pooled:
        higher_is_better, bounds, needs = True, (0.0, 1.0), frozenset({"true_BHW"})

        def __call__(self, outcome: Outcome) -> Tensor:
            return torch.tensor([0.5, math.nan, 1.0], dtype=torch.float64)

        def weights(self, outcome: Outcome) -> Tensor:
            return torch.tensor([6.0, 0.0, 2.0], dtype=torch.float64)

    labels = torch.zeros(3, 2, 2, dtype=torch.int64)
    outcome = Outcome(images_BCHW=torch.zeros(3, 3, 2, 2), true_BHW=labels, predicted_BHW=labels)
    batch = Batch(images_BCHW=outcome.images_BCHW, masks_BHW=labels, ids=("a", "b", "c"))
    rows = rows_of(outcome, batch.ids, {"pooled": Pooled()})
    assert [row["pooled_weight"] for row in rows] == [6, 0, 2]
    (summary,) = Evaluation({MODEL: rows}, {}).summary({"pooled": Pooled()}).values()
    assert summary["pooled"]["mean"] == (6 * 0.5 + 2 * 1.0) / 8
    assert (summary["pooled"]["median"], summary["pooled"]["undefined"]) == (0.75, 1)


@pytest.mark.parametrize(
    ("given", "what"),
    [(0.5, "a float"), (torch.tensor(0.5), "one of shape ()"), (torch.zeros(3), "one of shape (3,)")],
)
def test_a_metric_that_gives_no_number_an_image(given: Any, what: str) -> None:
    metric = FunctionMetric(
        function=lambda outcome: given, higher_is_better=True, bounds=(0.0, 1.0), needs=frozenset()
    )
    outcome = Outcome(images_BCHW=torch.zeros(2, 3, 2, 2), true_BHW=None, predicted_BHW=None)
    with pytest.raises(SlotlabError) as caught:
        rows_of(outcome, ["a", "b"], {"mine": metric})
    expected = f"metric 'mine': it must give a float64 tensor of shape (2,), and gave {what}"
    assert str(caught.value) == expected


def test_ranking() -> None:
    rows = [{"m": value} for value in (0.5, math.nan, 0.9, 0.1, 0.5)]
    assert ranked(rows, "m", higher_is_better=True) == [2, 0, 4, 3]
    assert ranked(rows, "m", higher_is_better=False) == [3, 0, 4, 2]


def test_csv_holds_every_row() -> None:
    rows = {"model": [{"id": "a", "ari": 0.5, "mse": 2.0}], "one_segment": [{"id": "a", "ari": math.nan}]}
    text = Evaluation(rows, {}).to_csv()
    assert text.splitlines()[0] == "method,id,ari,mse"
    assert list(csv.DictReader(io.StringIO(text))) == [
        {"method": "model", "id": "a", "ari": "0.5", "mse": "2.0"},
        {"method": "one_segment", "id": "a", "ari": "nan", "mse": ""},
    ]


def test_objects_are_counted_without_the_background() -> None:
    true = torch.tensor([[[0, 3], [3, 9]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]])
    images = torch.zeros(3, 3, 2, 2)
    for predicted in (None, torch.zeros_like(true), true):
        found = Outcome(images_BCHW=images, true_BHW=true, predicted_BHW=predicted)
        assert count_objects(found) == [2, 0, 1]


# --- baselines ---------------------------------------------------------------------------


def noise(batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, 12, 18, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("segments", [1, 2, 3, 7, 11])
@pytest.mark.parametrize("name", list(BASELINES))
def test_baselines_are_segmentations(name: str, segments: int) -> None:
    labels = BASELINES[name](noise(), segments)
    assert labels.shape == (2, 12, 18)
    assert labels.dtype == torch.int64
    assert labels.min() >= 0
    assert labels.max() < segments
    assert torch.equal(labels, BASELINES[name](noise(), segments))
    assert torch.equal(labels[1:], BASELINES[name](noise()[1:], segments))


@pytest.mark.parametrize(("segments", "tiles"), [(1, 1), (4, 4), (6, 6), (7, 6), (9, 9)])
def test_position_grid_tiles_the_image(segments: int, tiles: int) -> None:
    labels = BASELINES["position_grid"](noise(1), segments)[0]
    names, counts = labels.unique(return_counts=True)
    assert names.tolist() == list(range(tiles))
    assert set(counts.tolist()) == {12 * 18 // tiles}
    for name in names:
        rows, columns = (labels == name).nonzero().unbind(dim=1)
        area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert area == (labels == name).sum(), "each tile is a rectangle"


@pytest.mark.parametrize(("slots", "segments"), [(None, 3), (4, 4)])
def test_a_baseline_has_as_many_segments_as_there_are_slots(
    tiny: Specs, noise_loader: Loaders, slots: int | None, segments: int
) -> None:
    batch = next(noise_loader().epoch())
    outcome = baseline_outcome("position_grid", tiny(evaluation={"slots": slots}), batch)
    assert outcome.predicted_BHW is not None
    assert torch.equal(outcome.predicted_BHW, BASELINES["position_grid"](batch.images_BCHW, segments))


def test_one_segment_and_kmeans() -> None:
    assert not BASELINES["one_segment"](noise(), 5).any()
    halves = torch.full((1, 3, 12, 12), -1.0)
    halves[..., 6:] = 1.0
    labels = BASELINES["color_kmeans"](halves, 2)[0]
    assert len(labels[:, :6].unique()) == len(labels[:, 6:].unique()) == 1
    assert labels[0, 0] != labels[0, -1]


@pytest.mark.parametrize("size", [(6, 18), (18, 6), (5, 9)])
def test_kmeans_of_one_color_makes_segments_without_gaps(size: tuple[int, int]) -> None:
    """Only the place counts then, and what is nearest to a center has no hole in any row or column."""
    labels = BASELINES["color_kmeans"](torch.zeros(1, 3, *size), 4)[0]
    assert len(labels.unique()) == 4
    for lines in (labels, labels.T):
        for line in lines.tolist():
            assert len(list(groupby(line))) == len(set(line))


def test_codes_are_counted_over_all_batches_and_processes() -> None:
    counter = CodeCounter()
    for tokens in ([[0, 1], [1, 3]], [[3, 3], [3, 3]]):
        counter.add(Tokens(torch.tensor([tokens]), 4))
    counter.add(None)
    alone = counter.close(list)
    assert alone is not None
    assert list(alone.counts) == [1, 2, 0, 5]
    both = counter.close(lambda mine: [*mine, [0, 0, 7, 1]])
    assert both is not None
    assert (list(both.counts), both.facts["tokens"], both.facts["dead"]) == ([1, 2, 7, 6], 16, 0)
    assert CodeCounter().close(lambda mine: [*mine, [1, 2]]) is not None, (
        "a process without a share of the images"
    )
    assert CodeCounter().close(list) is None


def test_rows_of_several_processes_stand_in_the_order_of_the_images() -> None:
    """Each has every other image, and their lists are joined one behind the other."""

    def row(position: int) -> tuple[int, Any]:
        return position, ({"id": f"n{position}", "ari": 0.1 * position}, {})

    ledger = Ledger({}, {MODEL: [row(0), row(2), row(4)]}, objects=[(0, ["a"]), (2, []), (4, ["e"])])  # type: ignore[list-item]
    found = ledger.close(
        lambda mine: [*mine, *([(1, ["b", "c"]), (3, ["d"])] if mine[0][1] == ["a"] else [row(1), row(3)])]
    )
    assert [one["id"] for one in found.rows[MODEL]] == ["n0", "n1", "n2", "n3", "n4"]
    assert list(found.objects) == ["a", "b", "c", "d", "e"]
