"""Links that lead out of `docs/` become pages of the site, which show the file."""

import os
import re
from pathlib import Path, PurePosixPath

from page import Page, block

LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)(#[^)\s]*)?\)")
CODE = re.compile(
    r"(?<!\[)`((?:benchmarks|experiments|framework|plugins|registry|tests)/[\w/]+\.(?:py|yaml))`"
)
"""A file of the source tree that a page names: readers of the site need not have it."""
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json", ".toml": "toml"}
FENCE = re.compile(r"^(```|~~~)")
NAMED = re.compile(r"^```(\w+) file=(\S+)$")
"""The first line of a block that is a file, as the tests read it."""


class Files:
    """Files outside of `docs/` that pages lead to."""

    def __init__(self, root: Path):
        self.root, self.docs = root, root / "docs"
        self.wanted: set[str] = set()

    def turn(self, page: PurePosixPath, text: str, home: Path) -> str:
        """Return a page's text: links out of `docs/`, and names of files, lead to pages that show the files.

        Blocks that are files have titles.

        `page` is where it lies among the pages, `home` the folder that its links start from.
        """
        lines, inside = [], False
        for line in text.split("\n"):
            inside ^= bool(FENCE.match(line))
            if inside:
                lines.append(NAMED.sub(r'```\1 title="\2"', line))
            else:
                linked = LINK.sub(lambda found: self._link(found, page, home), line)
                lines.append(CODE.sub(lambda found: self._named(found, page), linked))
        return "\n".join(lines)

    def _link(self, found: re.Match[str], page: PurePosixPath, home: Path) -> str:
        before, target, anchor = found[1], found[2], found[3] or ""
        if "://" in target or target.startswith("mailto:"):
            return found[0]
        path = Path(os.path.normpath(home / target))
        if path.is_relative_to(self.docs) and path.suffix != ".py":
            there = path.relative_to(self.docs).as_posix()
        else:
            there = self._place(path.relative_to(self.root).as_posix())
        return f"{before}{os.path.relpath(there, page.parent)}{anchor})"

    def _named(self, found: re.Match[str], page: PurePosixPath) -> str:
        if not (self.root / found[1]).is_file():
            return found[0]
        return f"[{found[0]}]({os.path.relpath(self._place(found[1]), page.parent)})"

    def _place(self, name: str) -> str:
        if (self.root / name).is_dir():
            raise FileNotFoundError(f"a page leads to the folder {name}; lead to a file or a page")
        self.wanted.add(name)
        return place_of(name)

    def pages(self) -> list[Page]:
        """Return the pages of the files that were asked for; Markdown as it is, other text in a block."""
        made: dict[str, Page] = {}
        while missing := sorted(self.wanted - made.keys()):
            for name in missing:
                path = self.root / name
                text = path.read_text()
                if path.suffix == ".md":
                    text = self.turn(PurePosixPath(place_of(name)), text, path.parent)
                else:
                    text = f"# `{name}`\n\n{block(text, LANGUAGES.get(path.suffix, 'text'))}"
                made[name] = Page(place_of(name), text)
        return list(made.values())


def place_of(name: str) -> str:
    """Return where the page of a file lies."""
    return f"files/{name}" if name.endswith(".md") else f"files/{name}.md"
