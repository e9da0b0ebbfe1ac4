"""The model zoo: the shipped specs, as their headers describe them, with what was measured."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from page import Page, block, code, escaped

INTRODUCTION = """# Model zoo

The experiments that come with slotlab. Each is a spec: `slotlab train slotlab:NAME` trains it, `extends:
slotlab:NAME` begins another one with it, `slotlab show slotlab:NAME` prints all its settings, and `slotlab
estimate slotlab:NAME` says how long it would take on the machine at hand. What is
*expected* was published or measured by those whom it names; what was *measured* was trained with slotlab,
and the page of its results says how. No weights are offered for download.
"""
PARTS = ("Question", "Source", "Expected", "Cost", "Traps")
NAMED = re.compile(r"experiments/((?:ablations/)?\w+)\.yaml")
"""A shipped spec, as it is named in a checkout."""
PART = re.compile(rf"({'|'.join(PARTS)}): ")


@dataclass(frozen=True)
class Header:
    """The comment that a shipped spec begins with."""

    parts: dict[str, str]
    """Question, Source, Expected, Cost and Traps, as far as it has them."""
    commands: str
    """The commands that it shows."""
    notes: str
    """What else it says."""


def header_of(text: str) -> Header:
    """Read the comment at the beginning of a spec."""
    parts: dict[str, list[str]] = {}
    commands: list[str] = []
    notes: list[str] = []
    into = notes
    for raw in text.splitlines():
        if not raw.startswith("#"):
            break
        words = raw[1:].removeprefix(" ")
        if words.startswith("yaml-language-server"):
            continue
        found = PART.match(words)
        if found:
            into = parts.setdefault(found[1], [])
            words = words[found.end() :]
        if words.startswith("  "):
            commands.append(words.strip())
        elif not words.strip():
            into = notes
        else:
            into.append(words.strip())
    joined = {name: " ".join(lines) for name, lines in parts.items()}
    return Header(joined, "\n".join(commands), " ".join(notes))


def pages(root: Path) -> Iterator[Page]:
    """Yield the page of the zoo."""
    specs = sorted((root / "experiments").glob("*.yaml"))
    ablations = sorted((root / "experiments" / "ablations").glob("*.yaml"))
    small = [path for path in specs if path.stem == "demo" or path.stem.endswith("_demo")]
    large = [path for path in specs if path not in small]
    measured = tables(root / "docs" / "results")
    parts = [INTRODUCTION]
    for title, group in (
        ("Small, on generated scenes", small),
        ("At their authors' sizes", large),
        ("Ablations", ablations),
    ):
        parts.append(f"## {title}\n")
        for path in group:
            parts += entry(path, root, measured)
    yield Page("zoo.md", "\n".join(parts))


def entry(path: Path, root: Path, measured: dict[str, list[tuple[str, list[str]]]]) -> Iterator[str]:
    """Yield the parts of a spec's section."""
    header = header_of(path.read_text())
    place = path.relative_to(root).as_posix()
    yield f"### {path.stem}\n"
    yield f"[{code(place)}](files/{place}.md)\n"
    for name in PARTS:
        if name in header.parts:
            yield f"**{name}:** {linked(header.parts[name])}\n"
    if header.notes:
        yield f"{linked(header.notes)}\n"
    if header.commands:
        yield block(NAMED.sub(r"slotlab:\1", header.commands), "text")
    for page, rows in measured.get(path.stem, []):
        yield f"**Measured** ([how](results/{page}.md)):\n"
        yield "\n".join(rows) + "\n"


def linked(text: str) -> str:
    """Return a text in which pages of the documentation are links."""
    return re.sub(r"docs/([\w/]+\.md)", r"[\1](\1)", escaped(text))


def tables(folder: Path) -> dict[str, list[tuple[str, list[str]]]]:
    """Return, by spec, the rows of the pages of results that begin with its name, under their headers."""
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for page in sorted(folder.glob("*.md")):
        for table in re.findall(r"(?:^ *\|.*\n)+", page.read_text(), re.MULTILINE):
            header, rule, *rows = [row.strip() for row in table.splitlines()]
            by_spec: dict[str, list[str]] = {}
            for row in rows:
                named = re.match(r"\| *\**`(\w+)`", row)
                if named:
                    by_spec.setdefault(named[1], []).append(row)
            for name, own in by_spec.items():
                found.setdefault(name, []).append((page.stem, [header, rule, *own]))
    return found
