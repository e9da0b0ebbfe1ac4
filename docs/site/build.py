"""Builds the documentation site: `python docs/site/build.py`, or `make docs`.

The pages are those of `docs/`, and what is generated from the code, the shipped specs and the pictures. All
of it is written to `build/docs/pages`, from which Zensical makes `build/docs/site`. A link that leads
nowhere ends the build.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import commands
import errors
import gallery
import kinds
import laws
import python_api
import spec_keys
import yaml
import zoo
from files import Files
from page import Page

from slotlab.framework.plugin_loading.discovery import load_registry

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NOT_PAGES = ("site", "notebooks")
"""Folders of `docs/` without pages."""


def generated(root: Path) -> Iterator[Page]:
    """Yield all pages that are made from something else."""
    registry = load_registry([], strict=True)
    yield from commands.pages()
    yield from kinds.pages(registry, root / "docs")
    yield from spec_keys.pages(registry)
    yield from laws.pages()
    yield from errors.pages(root)
    yield from python_api.pages()
    yield from zoo.pages(root)
    yield from gallery.pages(root)


def write_pages(root: Path, folder: Path) -> set[str]:
    """Write all pages and pictures into an empty folder; return the names of the pages."""
    docs, files = root / "docs", Files(root)
    written = set()
    for path in sorted(docs.rglob("*")):
        place = path.relative_to(docs)
        if not path.is_file() or place.parts[0] in NOT_PAGES:
            continue
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(files.turn(PurePosixPath(place.as_posix()), path.read_text(), path.parent))
            written.add(place.as_posix())
        else:
            shutil.copyfile(path, target)
    pages = list(generated(root))
    files.wanted |= {found for page in pages for found in leads_to_files(page)}
    for page in (*pages, *files.pages()):
        if page.path in written:
            raise FileExistsError(f"docs/{page.path} is generated, and must not be written by hand")
        target = folder / page.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page.text)
        written.add(page.path)
    shutil.copytree(HERE / "assets", folder / "assets")
    return written


def leads_to_files(page: Page) -> Iterator[str]:
    """Yield the files outside of `docs/` that a generated page leads to."""
    for target in re.findall(r"\]\((?:\.\./)*files/([^)#\s]+)\)", page.text):
        yield target if (ROOT / target).is_file() else target.removesuffix(".md")


def navigation(entries: list[Any], written: set[str]) -> list[Any]:
    """Return the navigation with the pages of each named folder (`reference/errors/`), `index.md` first.

    A folder stands for those of its pages that are named nowhere else, and for none of its folders.
    """
    taken = set(named(entries))

    def filled(items: list[Any]) -> Iterator[Any]:
        for entry in items:
            if isinstance(entry, dict):
                ((title, below),) = entry.items()
                yield {title: list(filled(below)) if isinstance(below, list) else below}
            elif entry.endswith("/"):
                inside = {page for page in written - taken if str(PurePosixPath(page).parent) == entry[:-1]}
                yield from sorted(inside, key=lambda page: (not page.endswith("/index.md"), page))
            else:
                yield entry

    return list(filled(entries))


def named(entries: list[Any]) -> Iterator[str]:
    """Yield the pages that a navigation names."""
    for entry in entries:
        below = next(iter(entry.values())) if isinstance(entry, dict) else entry
        yield from named(below) if isinstance(below, list) else (below,)


def build(root: Path, out: Path) -> int:
    """Build the site into `out/site`; return 0, or how the generator ended."""
    shutil.rmtree(out, ignore_errors=True)
    written = write_pages(root, out / "pages")
    config = yaml.safe_load((HERE / "site.yaml").read_text())
    config["nav"] = navigation(config["nav"], written)
    lost = {page for page in written if not page.startswith("files/")} - set(named(config["nav"]))
    if lost:
        print(f"error: docs/site/site.yaml leads to no {', '.join(sorted(lost))}", file=sys.stderr)
        return 1
    python = config["plugins"][-1]["mkdocstrings"]["handlers"]["python"]
    python["paths"] = [str(root / ".typing")]  # there slotlab is whole, as an installed package is
    python["options"]["extensions"] = [str(HERE / name) for name in python["options"]["extensions"]]
    (out / "mkdocs.yml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    command = [
        sys.executable,
        "-m",
        "zensical",
        "build",
        "--strict",
        "--clean",
        "-f",
        str(out / "mkdocs.yml"),
    ]
    paths = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    env = os.environ | {"PYTHONPATH": paths}  # doctests.py, which griffe loads by its file, imports page.py
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    (out / "site" / "404.html").unlink(
        missing_ok=True
    )  # its addresses begin at a host's root, and lead nowhere
    report = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    if done.returncode or "Warning" in report:
        print(report, file=sys.stderr)
        return done.returncode or 1
    print(f"{out / 'site' / 'index.html'}")
    return 0


def main() -> None:
    """Build the site as the command line says."""
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs", help="a folder; it is emptied")
    sys.exit(build(ROOT, parser.parse_args().out.resolve()))


if __name__ == "__main__":
    main()
