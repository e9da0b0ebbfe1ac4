"""Text on the terminal: consoles without markup, tables, and what is said on stderr while a job runs."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from slotlab.framework.system.processes import is_first
from slotlab.framework.system.terminal import visible

if TYPE_CHECKING:
    from slotlab.framework.compare.text_table import TextTable


class PlainConsole(Console):
    """A console on which every text is text: no markup, no emoji by name, no control characters."""

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return what is printed for a text, also for one in the cell of a table."""
        return super().render_str(visible(text), **options)


def error_console(*, quiet: bool = False) -> Console:
    """Return a console on stderr, for progress: stdout is free for results."""
    return PlainConsole(file=sys.stderr, quiet=quiet)


def print_whole(out: Console, table: Table) -> None:
    """Print a table without shortening or wrapping any cell, however long the lines get."""
    needed = Measurement.get(out, out.options.update(max_width=10_000), table).maximum
    if needed <= out.width:
        out.print(table)
    else:
        out.width = needed
        out.print(table, soft_wrap=True)


def grid_of(table: "TextTable") -> Table:
    """Return a table of text as it is printed: columns of text to the left, numbers to the right."""
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for i, head in enumerate(table.columns):
        grid.add_column(head, justify="left" if i < table.texts else "right")
    for row in table.rows:
        grid.add_row(*row)
    return grid


def styled(text: str, style: str) -> Text:
    """Return a text with a style, for the cells of tables."""
    return Text(visible(text), style=style)


def say(text: str) -> None:
    """Print a line on stderr."""
    print(visible(text), file=sys.stderr, flush=True)


def warn(warnings: Iterable[object]) -> None:
    """Print warnings on stderr, in the first of several processes."""
    for warning in warnings if is_first() else ():
        say(f"warning: {warning}")
