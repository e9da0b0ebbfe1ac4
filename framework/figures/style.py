"""The style of figures: fonts, sizes, and how figures are written. `slot_colors` has the colors of slots."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from slotlab.framework.system.atomic import write_output
from slotlab.framework.system.terminal import visible

TRAIN, VALIDATION = "#0072B2", "#D55E00"
INK, FAINT = "#222222", "#8A8A8A"
CURVE_SIZE = (6.0, 3.6)
"""Width and height in inches."""
TILE = 1.35
"""Size of one picture in a grid, in inches."""
DPI = 200
"""Dots per inch of the PNG, and of pictures in the PDF."""
_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.titlesize": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "lines.linewidth": 1.4,
    "lines.markersize": 3,
    "legend.frameon": False,
    "image.interpolation": "nearest",
    "pdf.fonttype": 42,  # fonts as text, which can be searched and edited
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in this style while the block runs, and restore matplotlib's settings afterwards."""
    import matplotlib

    with matplotlib.rc_context(_RC):
        yield


def new_curve(x_label: str, y_label: str) -> tuple[Any, Any]:
    """Return a figure and its axis for curves over steps; call it within `styled`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=CURVE_SIZE, layout="constrained")
    axis = figure.add_subplot()
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid()
    return figure, axis


def new_grid(rows: int, columns: int, *, title: str) -> tuple[Any, Any]:
    """Return a figure and its axes (rows, columns) without ticks, for pictures; call it within `styled`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(TILE * columns + 0.4, TILE * 1.06 * rows + 0.65), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    # A long title is broken into lines as wide as the figure (a letter is about 0.075 inches wide).
    figure.suptitle(fold(title, width=int((TILE * columns + 0.4) / 0.077)))
    return figure, axes


def plain(text: str) -> str:
    """Return text that matplotlib writes literally; it would read `$` as mathematics."""
    return visible(text).replace("$", r"\$")


def fold(text: str, *, width: int) -> str:
    """Break a text at spaces into lines of at most `width` letters, which matplotlib writes literally."""
    import textwrap

    return plain("\n".join(textwrap.wrap(text, max(width, 1), break_long_words=False)))


def frame(axis: Any, color: str) -> None:
    """Draw a colored frame around a picture."""
    axis.spines[:].set(visible=True, color=color, linewidth=2.5)


def show(axis: Any, picture: NDArray[Any] | None) -> None:
    """Show a picture, uint8 (H, W, 3) or gray (H, W) in [0, 1]; for None, write "none"."""
    if picture is None:
        axis.text(0.5, 0.5, "none", ha="center", va="center", color=FAINT, transform=axis.transAxes)
        axis.set_aspect("equal")
    else:
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1)


def save(figure: Any, stem: Path) -> None:
    """Write a figure as `stem`.png and `stem`.pdf; call it within `styled`."""
    for ending, metadata in (
        ("png", {}),
        ("pdf", {"CreationDate": None}),
    ):  # without the time, the same figure gives the same file
        buffer = io.BytesIO()
        figure.savefig(buffer, format=ending, dpi=DPI, metadata=metadata)
        write_output(stem.with_name(f"{stem.name}.{ending}"), buffer.getvalue())
        figure.set_layout_engine("none")  # the second file reuses the layout, which takes a third of the time
