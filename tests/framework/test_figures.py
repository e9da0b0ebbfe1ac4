"""Figures: real PNG files, colors that can be told apart, and labels that match."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from slotlab.framework.contracts import Outcome
from slotlab.framework.figures import (
    Panel,
    color_labels,
    draw_learning_rate,
    draw_loss,
    draw_panels,
    match_labels,
    palette,
    panel_pictures,
)

Log = list[Mapping[str, Any]]


def picture(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.array(image.convert("RGB"))


def test_24_colors_can_be_told_apart() -> None:
    colors = palette(24).astype(int)
    assert colors.shape == (24, 3)
    distances = np.abs(colors[:, None] - colors[None]).sum(axis=2) + 1000 * np.eye(24, dtype=int)
    assert distances.min() >= 30
    assert np.array_equal(palette(30)[24:], palette(6))
    for size in range(1, 24):
        assert np.array_equal(palette(size), palette(24)[:size])


def test_each_label_has_its_color() -> None:
    labels = torch.tensor([[0, 1], [12, 3]])
    assert np.array_equal(color_labels(labels), palette(24)[labels.numpy()])


# --- matching ----------------------------------------------------------------------------


@pytest.mark.parametrize("segments", [3, 5, 9])
def test_segments_take_the_names_they_overlap(segments: int) -> None:
    true = torch.tensor([[0, 0, 0, 1, 1, 1, 2, 2, 2, 2]] * 4)
    names = torch.arange(segments).flip(0)  # segment k is called segments - 1 - k
    predicted = names[true].clone()
    if segments > 3:
        predicted[0, 0] = names[3]  # one segment more than there are labels, on one pixel
    matched = match_labels(predicted, true)
    same = predicted == names[true]
    assert torch.equal(matched[same], true[same])
    assert len(matched.unique()) == len(predicted.unique())
    assert not same.all() or torch.equal(matched, true)


def test_fewer_segments_than_labels() -> None:
    true = torch.tensor([[0, 1, 2, 3, 3, 3]])
    assert match_labels(torch.tensor([[1, 1, 1, 0, 0, 0]]), true)[0, 3:].tolist() == [3, 3, 3]


# --- files -------------------------------------------------------------------------------


def log() -> Log:
    train: Log = [
        {"kind": "train", "step": s, "phase": s // 5, "loss": 1.0 / s, "lr": 0.1 * (10 - s)}
        for s in range(1, 10)
    ]
    return [*train, {"kind": "validation", "step": 9, "epoch": 1, "loss": 0.2}]


@pytest.mark.parametrize("draw", [draw_loss, draw_learning_rate])
@pytest.mark.parametrize("lines", [log(), log()[:1], []])
def test_curves(draw: Any, lines: Log, tmp_path: Path) -> None:
    path = tmp_path / "figures" / "curve.png"
    draw(lines, path)
    pixels = picture(path)
    assert pixels.shape == (540, 900, 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10


def outcome(**changes: Any) -> Outcome:
    labels = torch.tensor([[[0, 1], [1, 2]]])
    images = torch.linspace(-1, 1, 12).view(1, 3, 2, 2)
    fields: dict[str, Any] = {"true_BHW": labels, "predicted_BHW": 2 - labels, "reconstructions_BCHW": images}
    return Outcome(images_BCHW=images, **{**fields, **changes})


def test_panel_pictures() -> None:
    found = panel_pictures(outcome(), 0, (-1.0, 1.0))
    assert list(found) == ["true mask", "predicted mask", "true image", "reconstruction"]
    assert np.array_equal(found["true mask"], found["predicted mask"])  # type: ignore[arg-type]
    assert found["true image"] is not None
    assert found["true image"].shape == (2, 2, 3)
    assert (found["true image"].min(), found["true image"].max()) == (0, 255)
    bare = panel_pictures(outcome(true_BHW=None, reconstructions_BCHW=None), 0, (-1.0, 1.0))
    assert bare["true mask"] is None
    assert bare["reconstruction"] is None
    assert bare["predicted mask"] is not None


def test_panels(tmp_path: Path) -> None:
    path = tmp_path / "panels.png"
    panels = [Panel("best", outcome()), Panel("worst", outcome(predicted_BHW=None))]
    draw_panels(panels, path, bounds=(-1.0, 1.0), title="tiny")
    assert picture(path).shape == (600, 1020, 3)
