"""Tables as Markdown, LaTeX and HTML, with all text of users escaped."""

import re
from collections.abc import Callable, Sequence
from html import escape

from slotlab.framework.compare.text_table import NONE, TextTable
from slotlab.framework.system.terminal import visible

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}


def escape_latex(text: str) -> str:
    """Return text escaped for LaTeX; line breaks become spaces."""
    return "".join(_LATEX.get(letter, letter) for letter in visible(" ".join(text.split())))


def escape_markdown(text: str) -> str:
    """Return text escaped for Markdown and the cells of its tables; line breaks become spaces."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", visible(" ".join(text.split())))


def markdown(tables: Sequence[TextTable], lines: Sequence[str]) -> str:
    """Return GitHub's Markdown: the tables, then the lines as a list."""
    parts = [f"### {escape_markdown(table.title)}\n\n{markdown_table(table)}" for table in tables]
    notes = "\n".join(f"* {escape_markdown(line)}" for line in lines)
    return "\n\n".join([*parts, notes]) + "\n"


def markdown_table(table: TextTable) -> str:
    """Return one table, with its columns aligned in the source too."""
    rows = [[escape_markdown(cell) for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    def align(row: Sequence[str]) -> list[str]:
        sides: list[Callable[[str, int], str]] = [
            str.ljust if i < table.texts else str.rjust for i in range(len(row))
        ]
        return [side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)]

    rule = ["-" * width if i < table.texts else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join([line(align(rows[0])), line(rule), *(line(align(row)) for row in rows[1:])])


def latex(tables: Sequence[TextTable], lines: Sequence[str]) -> str:
    """Return LaTeX with booktabs rules: one table environment per table, and the lines as comments."""
    parts = [r"% needs \usepackage{booktabs}", *(latex_table(table) for table in tables)]
    return "\n\n".join([*parts, "\n".join(f"% {visible(' '.join(line.split()))}" for line in lines)]) + "\n"


def latex_table(table: TextTable) -> str:
    """Return one table environment."""
    sides = "l" * table.texts + "r" * (len(table.columns) - table.texts)

    rows = [[_latex_cell(cell) for cell in row] for row in (table.columns, *table.rows)]

    def line(cells: Sequence[str]) -> str:
        return f"  {' & '.join(cells)} \\\\"

    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            f"  \\caption{{{escape_latex(table.title)}}}",
            f"  \\begin{{tabular}}{{{sides}}}",
            r"  \toprule",
            line(rows[0]),
            r"  \midrule",
            *(line(row) for row in rows[1:]),
            r"  \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
    )


def _latex_cell(cell: str) -> str:
    text = "--" if cell == NONE else re.sub(r"(?<!\w)-(?=\d)", "$-$", escape_latex(cell))
    # A cell that begins with [ would be read as the argument of the line break before it.
    return f"{{}}{text}" if text.startswith("[") else text


def html(tables: Sequence[TextTable], lines: Sequence[str]) -> str:
    """Return a piece of HTML, as notebooks show it: the tables, then the lines as a list."""
    items = "".join(f"<li>{escape(visible(line))}</li>" for line in lines)
    return "\n".join([*map(html_table, tables), f"<ul>{items}</ul>"])


def html_table(table: TextTable) -> str:
    """Return one table with its title as caption."""

    def line(cells: Sequence[str], kind: str) -> str:
        sides = ["left" if i < table.texts else "right" for i in range(len(cells))]
        found = (
            f'<{kind} style="text-align: {side}">{escape(visible(cell))}</{kind}>'
            for side, cell in zip(sides, cells, strict=True)
        )
        return f"<tr>{''.join(found)}</tr>"

    caption = f'<caption style="text-align: left"><b>{escape(visible(table.title))}</b></caption>'
    body = "".join(line(row, "td") for row in table.rows)
    return f"<table>{caption}<thead>{line(table.columns, 'th')}</thead><tbody>{body}</tbody></table>"
