"""Shows docstrings on pages: lines from `>>>` to the next empty one become a block, named pages are links."""

import re
from typing import Any

import griffe
from page import led_to_pages  # build.py puts this folder on the path

EXAMPLE = re.compile(r"^( *)(>>> (?:.*\n?)(?:\1.*\S.*\n?)*)", re.MULTILINE)


class Doctests(griffe.Extension):
    """Fences the examples of every docstring, and makes links of the pages that it names."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object that was loaded."""
        if obj.docstring is not None and ">>>" in obj.docstring.value:
            obj.docstring.value = EXAMPLE.sub(fenced, obj.docstring.value)
        if obj.docstring is not None:  # pages of the API lie in reference/python/
            obj.docstring.value = led_to_pages(obj.docstring.value, "../../")


def fenced(found: re.Match[str]) -> str:
    """Return an example as a block, indented as it was."""
    margin = found[1]
    return f"{margin}```pycon\n{found[0].rstrip()}\n{margin}```\n"
