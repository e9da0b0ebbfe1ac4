"""The figures of a run, as PNG: curves of loss and learning rate, panels of images.

Slot colors are the same in every figure: slot k has color k of the palette of Okabe and
Ito (2008), made for color-blind readers, continued in lighter and duller tones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slotlab.framework.contracts import Outcome
from slotlab.framework.data import to_uint8

OKABE_ITO = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")


def palette(size: int) -> NDArray[np.uint8]:
    """Return RGB colors (size, 3): Okabe and Ito's eight, then lighter, then duller; from 24 on again."""
    base = np.array([[int(code[i : i + 2], 16) for i in (1, 3, 5)] for code in OKABE_ITO], dtype=np.float64)
    tones = [base, base * 0.5 + 127.5, base * 0.5 + 48.0]
    colors = np.concatenate([tones[i % 3] for i in range(-(-size // len(base)))])
    return colors[:size].round().astype(np.uint8)


def color_labels(labels_HW: Tensor) -> NDArray[np.uint8]:
    """Paint labels (H, W), int64 from 0, as an RGB image (H, W, 3)."""
    labels = labels_HW.cpu().numpy()
    painted: NDArray[np.uint8] = palette(max(int(labels.max()) + 1, 8))[labels]
    return painted


def match_labels(predicted_HW: Tensor, true_HW: Tensor) -> Tensor:
    """Rename predicted segments to the true segments they overlap most, one to one.

    Only for pictures, so that true and predicted masks of an object share a color.
    """
    from scipy.optimize import linear_sum_assignment

    size = int(max(predicted_HW.max(), true_HW.max())) + 1
    overlap = torch.bincount((predicted_HW * size + true_HW).flatten(), minlength=size * size).view(
        size, size
    )
    _, names = linear_sum_assignment(overlap.cpu().numpy(), maximize=True)
    return torch.from_numpy(names).to(predicted_HW.device)[predicted_HW]


@dataclass(frozen=True)
class Panel:
    """One row of the panel figure: position `index` of an outcome, and what to write beside it."""

    title: str
    outcome: Outcome
    index: int = 0


def draw_panels(panels: Sequence[Panel], path: Path, *, bounds: tuple[float, float], title: str) -> None:
    """Draw rows of true mask, predicted mask, true image and reconstruction."""
    columns = ("true mask", "predicted mask", "true image", "reconstruction")
    figure, axes = _grid(len(panels), len(columns))
    for row, panel in zip(axes, panels, strict=True):
        pictures = panel_pictures(panel.outcome, panel.index, bounds)
        for axis, name in zip(row, columns, strict=True):
            axis.set_xticks([])
            axis.set_yticks([])
            picture = pictures.get(name)
            if picture is None:
                axis.text(0.5, 0.5, "none", ha="center", va="center", color="gray", transform=axis.transAxes)
            else:
                axis.imshow(picture, interpolation="nearest")
        row[0].set_ylabel(panel.title, fontsize=9)
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(name, fontsize=10)
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


def panel_pictures(
    outcome: Outcome, index: int, bounds: tuple[float, float]
) -> Mapping[str, NDArray[np.uint8] | None]:
    """Return the pictures of one image by column; None for what the outcome lacks."""

    def picture(images_BCHW: Tensor | None) -> NDArray[np.uint8] | None:
        if images_BCHW is None:
            return None
        pixels: NDArray[np.uint8] = to_uint8(images_BCHW[index], bounds).permute(1, 2, 0).cpu().numpy()
        return pixels

    true_HW = None if outcome.true_BHW is None else outcome.true_BHW[index]
    predicted_HW = None if outcome.predicted_BHW is None else outcome.predicted_BHW[index]
    if true_HW is not None and predicted_HW is not None:
        predicted_HW = match_labels(predicted_HW, true_HW)
    return {
        "true mask": None if true_HW is None else color_labels(true_HW),
        "predicted mask": None if predicted_HW is None else color_labels(predicted_HW),
        "true image": picture(outcome.images_BCHW),
        "reconstruction": picture(outcome.reconstructions_BCHW),
    }


def draw_loss(log: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the training and validation loss over steps."""
    figure, axis = _axes("loss")
    for kind, color, marker in (("train", OKABE_ITO[5], ""), ("validation", OKABE_ITO[6], "o")):
        points = [(line["step"], line["loss"]) for line in log if line["kind"] == kind]
        if points:
            dots = marker if len(points) > 1 else "o"  # a line through one point shows nothing
            axis.plot(*zip(*points, strict=True), color=color, marker=dots, markersize=3, label=kind)
    axis.set_yscale("log")
    axis.legend(handles=axis.get_lines(), frameon=False)
    _save(figure, path)


def draw_learning_rate(log: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the learning rate over steps; phases begin at vertical lines."""
    figure, axis = _axes("learning rate")
    lines = [line for line in log if line["kind"] == "train"]
    dots = "" if len(lines) > 1 else "o"
    axis.plot(
        [line["step"] for line in lines], [line["lr"] for line in lines], color=OKABE_ITO[5], marker=dots
    )
    for before, after in pairwise(lines):
        if before["phase"] != after["phase"]:
            axis.axvline(before["step"], color="gray", linewidth=0.8, linestyle=":")
    axis.set_ylim(bottom=0)
    _save(figure, path)


def _axes(label: str) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axis = figure.add_subplot()
    axis.set_xlabel("step")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_ylabel(label)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    return figure, axis


def _grid(rows: int, columns: int) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.7 * columns, 1.75 * rows + 0.5), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
