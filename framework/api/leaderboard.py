"""Leaderboards of studies: what `slotlab.leaderboard` returns, and what `slotlab bench table` writes."""

import io
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from slotlab.framework.api.comparison import WIDTH, compare
from slotlab.framework.api.console import PlainConsole, grid_of, print_whole, styled
from slotlab.framework.api.frames import as_frame
from slotlab.framework.api.given import paths_of
from slotlab.framework.compare.leaderboard import Board, board_of
from slotlab.framework.compare.leaderboard_page import boards_json, findings, leaderboard_table, page
from slotlab.framework.compare.table_markup import html
from slotlab.framework.compare.tables import facts
from slotlab.framework.study.folder import StudyFolder
from slotlab.framework.system.atomic import write_output
from slotlab.framework.system.privacy import nameless
from slotlab.registry import SlotlabError

if TYPE_CHECKING:
    from pandas import DataFrame

TITLE = "Leaderboard"
ENDING = ".md"


@dataclass(frozen=True, repr=False)
class Leaderboard:
    """Leaderboards of one or several studies. Shows itself as tables, in a notebook as HTML."""

    boards: tuple[Board, ...]
    """One for each study, by their names."""

    def frame(self) -> "DataFrame":
        """Return one row for each study, arm and metric: places, mean, interval, runs, failures, cost.

        Raises:
            SlotlabError: if pandas is not installed.
        """
        return as_frame([row for board in self.boards for row in rows_of(board)])

    def write(self, file: str | Path, *, title: str = TITLE) -> Path:
        """Write the page as Markdown, and the numbers beside it as JSON; return its path.

        Raises:
            SlotlabError: for a file whose name does not end in `.md`.
        """
        place = page_place(Path(file))
        write_output(place, page(self.boards, title=title, command=command_of(self.boards, place)).encode())
        text = json.dumps(boards_json(self.boards), indent=2, allow_nan=False) + "\n"
        write_output(place.with_suffix(".json"), text.encode())
        return place

    def __repr__(self) -> str:
        text = io.StringIO()
        show_boards(PlainConsole(file=text, width=WIDTH, color_system=None), self.boards)
        return text.getvalue().rstrip("\n")

    def _repr_html_(self) -> str:
        lines = [line for board in self.boards for line in (*findings(board), *facts(board.comparison))]
        return html([leaderboard_table(board) for board in self.boards], lines)


def leaderboard(*studies: Any) -> Leaderboard:
    """Return the leaderboards of studies: means and places, binding rates, baselines, cost, failures.

    >>> import slotlab
    >>> try:
    ...     slotlab.leaderboard("nowhere").write("bench.md")
    ... except slotlab.SlotlabError as error:
    ...     print(str(error).split(" ")[0])
    nowhere

    Args:
        studies: folders of studies, what `slotlab.bench` and `slotlab.ablate` returned, or lists of these.

    Raises:
        SlotlabError: for a folder that is no study, and for a study without a measured run.
    """
    folders = paths_of(studies, "a study")
    if not folders:
        raise SlotlabError("name at least one study")
    named: dict[str, Path] = {}
    for folder in folders:
        name = StudyFolder.open(folder).read_plan().name
        other = named.setdefault(name, folder)
        if other.resolve() != folder.resolve():
            raise SlotlabError(
                f"{other} and {folder} are both called '{name}'; give one of them another name"
            )
    return Leaderboard(tuple(board_of(compare(folder).comparison) for _, folder in sorted(named.items())))


def page_place(file: Path) -> Path:
    """Return the file of a page.

    Raises:
        SlotlabError: for a folder, or a name that is not that of a page.
    """
    if file.is_dir() or file.suffix != ENDING:
        what = "is a folder" if file.is_dir() else f"does not end in {ENDING}"
        raise SlotlabError(f"--out {file} {what}; name a page, such as bench.md")
    return file


def command_of(boards: Sequence[Board], place: Path) -> str:
    """Return the command that writes the page again, without the folders of its author."""
    studies = [f"studies/{nameless(board.comparison.title)}" for board in boards]
    return shlex.join(["slotlab", "bench", "table", *studies, "--out", place.name])


def rows_of(board: Board) -> list[dict[str, Any]]:
    """Return the rows of a data frame of one leaderboard."""
    found = []
    for one in board.standings:
        first, last = one.places or (None, None)
        for metric in board.comparison.metrics:
            numbers = one.arm.statistics[metric.name]
            found.append(
                {
                    "study": board.comparison.title,
                    "arm": one.arm.name,
                    "metric": metric.name,
                    "first_place": first,
                    "last_place": last,
                    "seeds": numbers.count,
                    "failed": len(one.arm.failed),
                    "bound": None if one.arm.binding is None else one.arm.binding.bound,
                    "mean": numbers.mean,
                    "low": None if numbers.interval is None else numbers.interval.low,
                    "high": None if numbers.interval is None else numbers.interval.high,
                    "parameters": one.arm.cost.parameters,
                    "seconds": one.arm.cost.seconds,
                    "flops": one.arm.cost.flops,
                }
            )
    return found


def show_boards(out: Console, boards: Sequence[Board]) -> None:
    """Print the leaderboards, and under each what its numbers bear."""
    for board in boards:
        table = leaderboard_table(board)
        out.print(styled(table.title, "bold"), soft_wrap=True)
        print_whole(out, grid_of(table))
        for line in (*findings(board), *board.notes):
            out.print(line, soft_wrap=True)
        for line in facts(board.comparison):
            out.print(styled(line, "dim"), soft_wrap=True)
        out.print()
