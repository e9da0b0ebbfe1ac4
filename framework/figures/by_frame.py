"""How metrics change over the frames of clips: the model beside the baselines."""

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path

from slotlab.framework.figures.style import CURVE_SIZE, fold, plain, save, styled
from slotlab.registry import SlotlabError

COLUMNS = 3
"""The most curves in a row."""
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
LINES = ("-", "--", ":")
"""Methods after the last color have the same ones again, and other lines."""
Means = Mapping[str, Mapping[str, Sequence[float | None]]]
"""For each method and metric, the mean at each frame."""


def draw_by_frame(means: Means, stem: Path, *, title: str, first: int = 0) -> None:
    """Draw a curve of each metric over the frames, as `stem`.png and .pdf.

    Args:
        means: of `Evaluation.by_frame`.
        stem: the path without ending.
        title: of the figure.
        first: the number of the first frame that was measured.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = list(dict.fromkeys(name for found in means.values() for name in found))
    if not names:
        raise SlotlabError("no metric has a value for single frames")
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    width, height = CURVE_SIZE[0] * 0.55 * columns, CURVE_SIZE[1] * 0.75 * rows
    with styled():
        figure = Figure(figsize=(width, height + 0.9), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis, name in zip(axes.flat, names, strict=False):
            for number, (method, found) in enumerate(means.items()):
                again, place = divmod(number, len(COLORS))
                look = {"color": COLORS[place], "linestyle": LINES[again % len(LINES)]}
                values = [nan if value is None else value for value in found.get(name, ())]
                frames = range(first, first + len(values))
                axis.plot(frames, values, marker="o", label=plain(method), **look)
            axis.set_title(plain(name))
            axis.set_xlabel("frame")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.grid()
        for axis in axes.flat[len(names) :]:
            axis.set_visible(False)
        lines = axes.flat[0].get_lines()
        figure.legend(handles=lines, loc="outside lower center", ncols=min(len(lines), 2 * columns))
        figure.suptitle(fold(title, width=int(width / 0.077)))
        save(figure, stem)
