"""The pages of the Python API: what is public, shown by mkdocstrings from signatures and docstrings."""

import importlib
from collections.abc import Iterator

from page import Page

import slotlab

MODULES = ("contracts", "hooks", "metrics", "images", "composition", "data", "results")
FOLDER = "reference/python"


def pages() -> Iterator[Page]:
    """Yield the page of the package itself, and of each public module."""
    own = [name for name in slotlab.__all__ if name not in MODULES]
    yield page("slotlab", own)
    for name in MODULES:
        yield page(f"slotlab.{name}", list(importlib.import_module(f"slotlab.{name}").__all__))


def page(module: str, names: list[str]) -> Page:
    """Return the page of a module: its own text, and a section for each public name."""
    hidden = "{members: false, show_root_toc_entry: false, show_root_heading: false}"
    about = f"::: {module}\n    options: {hidden}\n"
    parts = [f"# `{module}`\n", about, *(f"::: {module}.{name}\n" for name in sorted(names))]
    return Page(f"{FOLDER}/{module.rpartition('.')[2]}.md", "\n".join(parts))
