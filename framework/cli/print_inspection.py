"""How the result of `slotlab data inspect` is printed."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from rich.table import Table

from slotlab.framework.cli.output import console
from slotlab.framework.cli.units import counted

_HEADINGS = {"metadata": "in the metadata", "mask_colors": "in the mask", "visible": "visible"}
"""How objects are counted, in words."""
_CHANNELS = ("red", "green", "blue")
_WHOLE, _NAMED = 3, 3
"""How many problems of one kind are printed whole, and how many more are named by their files."""
_OWN = re.compile(r"'[^']*'|\d+(?:\.\d+)?")
"""What differs between problems of one kind: quoted words and numbers."""


def print_inspection(result: dict[str, Any]) -> None:
    """Print the statistics of the data as tables, then each problem on a line."""
    out = console()
    rows, columns = result["image_size"]
    out.print(f"{result['dataset']} under protocol {result['protocol']}", style="bold", soft_wrap=True)
    out.print(f"images of {columns}x{rows} pixels; {result['filter'] or 'any number of objects'}")
    listed = ", ".join(f"{name} {number}" for name, number in result["listed"].items())
    out.print(f"listed: {listed}", soft_wrap=True)
    if "listed_videos" in result:
        videos = ", ".join(f"{name} {_videos(one)}" for name, one in result["listed_videos"].items())
        out.print(f"videos: {videos}", soft_wrap=True)
    out.print(_facts(result["splits"]))
    for name, part in result["splits"].items():
        out.print(f"\nobjects in {name}", style="bold")
        out.print(_histograms(part["objects"]))
    for text in result["cautions"]:
        out.print(f"caution: {text}", soft_wrap=True)
    if "sheet" in result:
        out.print(f"contact sheet: {result['sheet']}", soft_wrap=True)
    for line in _problems(result["problems"]):
        out.print(line, soft_wrap=True)
    out.print(_conclusion(len(result["problems"]), len(result["cautions"])))


def _problems(problems: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each problem; those of one kind that repeat are folded into one line."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for problem in problems:
        kinds.setdefault(_kind(problem), []).append(problem)
    for alike in kinds.values():
        for problem in alike[:_WHOLE]:
            yield f"problem: {problem['path']}: {problem['reason']}"
        if rest := alike[_WHOLE:]:
            names = ", ".join(PurePath(problem["path"]).name for problem in rest[:_NAMED])
            yield f"... and {len(rest)} more like it: {names}{', ...' if len(rest) > _NAMED else ''}"
    if any(len(alike) > _WHOLE + _NAMED for alike in kinds.values()):
        yield "(--json lists all)"


def _kind(problem: Mapping[str, Any]) -> str:
    """Return a problem's reason without what names its file, and without its numbers and quoted words."""
    path = PurePath(problem["path"])
    names = [name for name in (str(path), path.name, path.stem) if len(name) > 2]  # 'a' is also a word
    own = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names)
    return _OWN.sub("#", re.sub(own, "#", problem["reason"]) if own else problem["reason"])


def _conclusion(problems: int, cautions: int) -> str:
    """Return the last line, which is what one reads: it does not hide cautions above it."""
    minded = f"; {counted(cautions, 'caution')} above" if cautions else ""
    return (f"{counted(problems, 'problem')} found" if problems else "no problems found") + minded


def _facts(splits: dict[str, dict[str, Any]]) -> Table:
    table = Table("", *splits, box=None, pad_edge=False, header_style="bold")
    videos = [_videos(part["videos"]) if "videos" in part else "-" for part in splits.values()]
    rows = {
        **({} if all(cell == "-" for cell in videos) else {"videos": videos}),
        "images": [str(part["images"]) for part in splits.values()],
        "broken": [str(part["broken"]) for part in splits.values()],
        "image sizes": [_sizes(part["sizes"]) for part in splits.values()],
        "most labels per mask": [_cell(part["most_labels"]) for part in splits.values()],
        **{
            f"mean, {c}": [_channel(part["mean"], i) for part in splits.values()]
            for i, c in enumerate(_CHANNELS)
        },
        **{
            f"std, {c}": [_channel(part["deviation"], i) for part in splits.values()]
            for i, c in enumerate(_CHANNELS)
        },
        "checksum": [part["checksum"] for part in splits.values()],
        "fingerprint": [_cell(part["fingerprint"]) for part in splits.values()],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def _histograms(objects: dict[str, dict[str, int]]) -> Table:
    numbers = dict.fromkeys(number for found in objects.values() for number in found)
    order = sorted(numbers, key=lambda number: (not number.isdecimal(), number.zfill(9)))
    table = Table("number of objects", *order, box=None, pad_edge=False, header_style="bold")
    for counting, found in objects.items():
        table.add_row(_HEADINGS[counting], *(str(found.get(number, "-")) for number in order))
    return table


def _sizes(sizes: dict[str, int]) -> str:
    shown = [f"{number} x {size}" if len(sizes) > 1 else size for size, number in list(sizes.items())[:3]]
    more = [f"{len(sizes) - 3} more"] if len(sizes) > 3 else []
    return ", ".join([*shown, *more]) or "-"


def _videos(videos: Mapping[str, Any]) -> str:
    if videos["frames"] is None:
        return "0"
    fewest, most = videos["frames"]
    span = str(fewest) if fewest == most else f"{fewest} to {most}"
    return f"{videos['count']} of {span} frames"


def _channel(values: Sequence[float] | None, channel: int) -> str:
    return "-" if values is None else f"{values[channel]:.6f}"


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)
