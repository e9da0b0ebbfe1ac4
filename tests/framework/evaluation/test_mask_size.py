"""Scores at a protocol's size of masks, computed a second time by a plain reading of the definition."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from slotlab.framework.contracts import Sample
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.preparation import Preparation
from slotlab.framework.evaluation.evaluate import evaluate, outcomes_of, reconstruct
from slotlab.framework.evaluation.rows import Evaluation
from slotlab.framework.figures.image_view import view_images
from slotlab.framework.model.build import build_metrics, build_model
from slotlab.framework.runs.folder import MODEL
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError

Specs = Callable[..., ExperimentSpec]
SEEN, SCORED = (8, 8), (12, 15)


class Pictures:
    """Five pictures of 20 x 26 pixels with masks of four labels, and void in a corner, as a protocol prepares them."""

    def __init__(self, preparation: Preparation):
        self.preparation = preparation

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Sample:
        stream = torch.Generator().manual_seed(index)
        image = torch.randint(0, 256, (3, 20, 26), generator=stream).to(torch.uint8)
        coarse = torch.randint(0, 4, (1, 1, 4, 5), generator=stream).double()
        mask = torch.nn.functional.interpolate(coarse, (20, 26))[0, 0].long()
        mask[:5, :5] = -1
        return self.preparation(Sample(id=f"p{index}", image_CHW=image, mask_HW=mask)).sample


def loader(mask_size: tuple[int, int] | None) -> Loader:
    prepared = Pictures(Preparation(size=SEEN, mask_size=mask_size))
    return Loader(prepared, 2, torch.device("cpu"), (-1.0, 1.0), mask_size=mask_size)


def enlarged(masks_KHW: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Bilinear interpolation by its definition, pixel by pixel: centers at half, borders repeated."""
    found = np.zeros((len(masks_KHW), *size))
    rows, columns = masks_KHW.shape[1:]
    for y, x in np.ndindex(*size):
        v = min(max((y + 0.5) * rows / size[0] - 0.5, 0), rows - 1)
        u = min(max((x + 0.5) * columns / size[1] - 0.5, 0), columns - 1)
        top, left = int(v), int(u)
        low, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
        a, b = v - top, u - left
        found[:, y, x] = (1 - a) * ((1 - b) * masks_KHW[:, top, left] + b * masks_KHW[:, top, right])
        found[:, y, x] += a * ((1 - b) * masks_KHW[:, low, left] + b * masks_KHW[:, low, right])
    return found


def best_overlap(true_HW: NDArray[Any], predicted_HW: NDArray[Any]) -> float:
    known = true_HW >= 0
    scores = []
    for label in sorted(set(true_HW[true_HW > 0].tolist())):
        one = (true_HW == label) & known
        others = [(predicted_HW == slot) & known for slot in range(3)]
        scores.append(max((one & other).sum() / (one | other).sum() for other in others))
    return float(np.mean(scores))


def measured(spec: ExperimentSpec, data: Loader, **options: Any) -> Evaluation:
    return evaluate(spec, build_model(spec), data, build_metrics(spec), **options)


@pytest.mark.parametrize("source", ["decoder", "attention"])
def test_masks_are_scored_at_their_size(tiny: Specs, source: Any) -> None:
    from sklearn.metrics import adjusted_rand_score

    metrics = ["ari", "fg_ari", "mbo", "mse", "psnr"]
    spec = tiny(evaluation={"mask_source": source, "metrics": metrics})
    found = measured(spec, loader(SCORED)).rows[MODEL]
    model, data = build_model(spec), Pictures(Preparation(size=SCORED))
    for index, row in enumerate(found):
        batch = next(loader(SCORED).epoch([index]))
        made = reconstruct(spec, model, batch, [index])
        assert made.decoded is not None
        masks = made.decoded.masks_BKHW if source == "decoder" else made.attention_BKHW
        assert masks is not None
        predicted = enlarged(masks[0].double().numpy(), SCORED).argmax(axis=0)
        mask = data[index].mask_HW
        assert mask is not None
        true = mask.numpy()
        known, objects = true >= 0, true > 0
        assert row["ari"] == pytest.approx(adjusted_rand_score(true[known], predicted[known]))
        assert row["fg_ari"] == pytest.approx(adjusted_rand_score(true[objects], predicted[objects]))
        assert row["mbo"] == pytest.approx(best_overlap(true, predicted))


def test_pictures_are_compared_at_their_own_size(tiny: Specs) -> None:
    spec = tiny(evaluation={"metrics": ["mse", "psnr"]})
    plain, other = (measured(spec, loader(size)).rows[MODEL] for size in (None, SCORED))
    assert [(row["mse"], row["psnr"]) for row in plain] == [(row["mse"], row["psnr"]) for row in other]


def test_the_size_of_the_images_changes_nothing(tiny: Specs) -> None:
    spec = tiny(evaluation={"baselines": ["one_segment", "position_grid"]})
    assert measured(spec, loader(SEEN)).to_csv() == measured(spec, loader(None)).to_csv()


def test_baselines_are_brought_to_the_size_as_a_model_is(tiny: Specs) -> None:
    """Two halves stay two halves; one segment stays one, so that its mbo is the largest object's part."""
    spec = tiny(
        model={"slots": 2}, evaluation={"metrics": ["mbo"], "baselines": ["one_segment", "position_grid"]}
    )
    found = measured(spec, loader((16, 16))).rows
    data = Pictures(Preparation(size=(16, 16)))
    halves = np.zeros((16, 16), int)
    halves[:, 8:] = 1
    for index in range(5):
        mask = data[index].mask_HW
        assert mask is not None
        true = mask.numpy()
        assert found["one_segment"][index]["mbo"] == pytest.approx(
            best_overlap(true, np.zeros((16, 16), int))
        )
        assert found["position_grid"][index]["mbo"] == pytest.approx(best_overlap(true, halves))


def test_what_is_shown_of_masks_has_their_size(tiny: Specs) -> None:
    spec = tiny()
    view = view_images(spec, build_model(spec), loader(SCORED), [1])[1]
    assert view.true_HW is not None
    assert view.predicted_HW is not None
    assert view.masks_KHW is not None
    assert (view.true_HW.shape, view.predicted_HW.shape) == (SCORED, SCORED)
    assert (view.image_HWC.shape, view.masks_KHW.shape[1:]) == ((8, 8, 3), SEEN)


def test_without_true_masks_those_of_a_model_have_the_size_of_images(tiny: Specs) -> None:
    spec = tiny()
    batch = replace(next(loader(SCORED).epoch([0])), masks_BHW=None)
    made = reconstruct(spec, build_model(spec), batch, [0])
    assert outcomes_of(spec, made, batch, ("decoder",))["decoder"].predicted_BHW.shape == (1, *SEEN)  # type: ignore[union-attr]


def test_a_loader_that_was_told_of_no_other_size_refuses_it(tiny: Specs) -> None:
    with pytest.raises(SlotlabError, match="the mask of p0 has shape"):
        measured(tiny(), replace(loader(SCORED), mask_size=None))
