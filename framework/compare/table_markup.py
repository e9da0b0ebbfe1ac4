"""Tables as Markdown, LaTeX and HTML, with all text of users escaped."""

import re
from collections.abc import Callable, Sequence
from html import escape

from slotlab.framework.compare.text_table import NONE, TextTable
from slotlab.framework.system.terminal import visible

MOST_ROWS = 40
"""Rows of a table on one page of LaTeX."""
LONGEST_LABEL = 48
"""Most characters of a table's label in LaTeX, which ends with a whole word."""
_PREAMBLE = r"""% needs \usepackage{booktabs,adjustbox,longtable}
% A table as wide as the text is made smaller; one over several pages is not: where it is too wide, put it
% between \begin{landscape} and \end{landscape} (\usepackage{pdflscape})."""
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
    """Return LaTeX with booktabs rules: an environment with a label per table, and the lines as comments.

    A table is made as narrow as the text; one with more rows than a page has goes over several pages.
    """
    labels = _labels([table.title for table in tables])
    made = [latex_table(table, label) for table, label in zip(tables, labels, strict=True)]
    comments = "\n".join(f"% {visible(' '.join(line.split()))}" for line in lines)
    return "\n\n".join([_PREAMBLE, *made, comments]) + "\n"


def latex_table(table: TextTable, label: str) -> str:
    """Return one environment: `table`, or `longtable` for more than `MOST_ROWS` rows."""
    sides = "l" * table.texts + "r" * (len(table.columns) - table.texts)
    caption = escape_latex(f"{table.title}. {table.note}" if table.note else table.title)

    def line(cells: Sequence[str]) -> str:
        return f"  {' & '.join(cells)} \\\\"

    head = line([_latex_cell(cell) for cell in table.columns])
    rows = [
        line([_latex_cell(cell, bold=(i, j) in table.best) for j, cell in enumerate(row)])
        for i, row in enumerate(table.rows)
    ]
    if len(rows) > MOST_ROWS:
        return "\n".join(_over_pages(sides, caption, label, head, rows))
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"  \centering",
            f"  \\caption{{{caption}}}",
            f"  \\label{{{label}}}",
            r"  \begin{adjustbox}{max width=\linewidth}",
            f"  \\begin{{tabular}}{{{sides}}}",
            r"  \toprule",
            head,
            r"  \midrule",
            *rows,
            r"  \bottomrule",
            r"  \end{tabular}",
            r"  \end{adjustbox}",
            r"\end{table}",
        ]
    )


def _over_pages(sides: str, caption: str, label: str, head: str, rows: Sequence[str]) -> list[str]:
    """Return the lines of a table over several pages, with its head on each."""
    return [
        r"{\scriptsize",
        f"\\begin{{longtable}}{{{sides}}}",
        f"  \\caption{{{caption}}}",
        f"  \\label{{{label}}} \\\\",
        *(r"  \toprule", head, r"  \midrule", r"  \endfirsthead"),
        *(r"  \toprule", head, r"  \midrule", r"  \endhead"),
        *(r"  \bottomrule", r"  \endfoot"),
        *rows,
        r"\end{longtable}",
        "}",
    ]


def _labels(titles: Sequence[str]) -> list[str]:
    """Return a label for each title, such as `tab:ari-over-seeds`; no two are the same."""
    found: list[str] = []
    for title in titles:
        words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        if len(words) > LONGEST_LABEL:  # cut between words, unless the first one alone is longer
            words = words[: LONGEST_LABEL + 1].rpartition("-")[0] or words[:LONGEST_LABEL]
        label, number = f"tab:{words}", 1
        while label in found:
            number += 1
            label = f"tab:{words}-{number}"
        found.append(label)
    return found


def _latex_cell(cell: str, *, bold: bool = False) -> str:
    text = "--" if cell == NONE else re.sub(r"(?<!\w)-(?=\d)", "$-$", escape_latex(cell))
    # A cell that begins with [ would be read as the argument of the line break before it.
    if bold:  # as \\textbf does not reach into mathematics
        return f"\\textbf{{\\boldmath {text}}}"
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
