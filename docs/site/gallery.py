"""The gallery: the pictures of the documentation, each with what is said of it where it is shown."""

import re
from collections.abc import Iterator
from pathlib import Path

from page import Page

INTRODUCTION = """# Gallery

Pictures of slotlab's figures, pages and results, each with a link to what explains it.
"""
SHOWN = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")


def pages(root: Path) -> Iterator[Page]:
    """Yield the page of all pictures under `docs/`, and of where each is explained."""
    docs = root / "docs"
    said: dict[Path, tuple[str, Path]] = {}
    for page in sorted(docs.rglob("*.md")):
        for text, target in SHOWN.findall(page.read_text()):
            said.setdefault((page.parent / target).resolve(), (text, page))
    parts = [INTRODUCTION]
    for folder, title in (("images", "What slotlab draws"), ("results", "Results")):
        parts.append(f"## {title}\n")
        for path in sorted((docs / folder).glob("*.png")):
            parts.append(figure(path.relative_to(docs), said.get(path.resolve()), docs))
    yield Page("gallery.md", "\n".join(parts))


def figure(path: Path, said: tuple[str, Path] | None, docs: Path) -> str:
    """Return a picture with what is seen on it, and a link to the page where it stands.

    Raises:
        ValueError: if no page shows it, or says no more of it than its file's name.
    """
    text = "" if said is None else said[0]
    if said is None or " " not in text or path.name in text:
        raise ValueError(
            f"docs/{path}: a page must show it, and say in words what is seen (![...]({path.name}))"
        )
    page = said[1].relative_to(docs).as_posix()
    title = said[1].read_text().partition("\n")[0].removeprefix("# ")
    return f"![{text}]({path.as_posix()})\n\n{text[0].upper()}{text[1:]}. From [{title}]({page}).\n"
