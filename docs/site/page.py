"""What a generated page is, and how Markdown is written."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """A page of the site that is made at build."""

    path: str
    """Where it lies among the pages, such as `reference/commands/train.md`."""
    text: str
    """Markdown."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; an empty string if there are no rows."""
    lines = [line(row) for row in rows]
    return "\n".join([line(header), line(["---"] * len(header)), *lines]) + "\n" if lines else ""


def line(cells: Sequence[str]) -> str:
    """Return a row; line breaks become blanks, since a cell is one line."""
    return "| " + " | ".join(re.sub(r"\s*\n\s*", " ", cell).replace("|", "\\|") for cell in cells) + " |"


def code(text: object) -> str:
    """Return text as code within a line, whatever backticks it holds itself."""
    plain = re.sub(r"\s*\n\s*", " ", str(text))
    if "`" not in plain:
        return f"`{plain}`"
    fence = "`" * (max(len(run) for run in re.findall("`+", plain)) + 1)
    return f"{fence} {plain} {fence}"


def block(text: str, language: str = "text") -> str:
    """Return a fenced block."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def prose(text: str | None) -> str:
    """Return a docstring as Markdown: indented paragraphs, which would become code, are fenced."""
    parts: list[str] = []
    for paragraph in re.split(r"\n\s*\n", (text or "").strip("\n")):
        lines = paragraph.splitlines()
        if not all(line.startswith("    ") for line in lines):
            parts.append(escaped(paragraph))
        elif parts and parts[-1].startswith("```"):  # an empty line within a block
            parts[-1] = block(
                parts[-1].split("\n", 1)[1].removesuffix("\n```") + f"\n\n{undented(lines)}"
            ).rstrip()
        else:
            parts.append(block(undented(lines)).rstrip())
    return "\n\n".join(parts) + "\n" if text else ""


NAMED_PAGE = re.compile(r"(?<![\w/`])(`?)docs/([\w/\\]+)\.md\1")
"""A page, as docstrings and specs name it: `docs/how_to/sharing.md`; backslashes are those of `escaped`."""


def led_to_pages(text: str, up: str = "") -> str:
    """Return text, escaped or not, in which pages that it names (`docs/zoo.md`) are links.

    `up` leads from the page to the site's root: `../` for one in a folder.
    """

    def link(found: re.Match[str]) -> str:
        return f"[{found[2]}]({up}{found[2].replace(chr(92), '')}.md)"

    return NAMED_PAGE.sub(link, text)


def undented(lines: Sequence[str]) -> str:
    """Return the lines of an indented paragraph without their first indent."""
    return "\n".join(line[4:] for line in lines)


def escaped(text: str) -> str:
    """Return text with what Markdown would take for HTML or emphasis written out, but for its code."""
    parts = re.split(r"(`+[^`]*`+)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([<\[*_])", r"\\\1", part) for part in parts)
