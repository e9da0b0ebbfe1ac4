"""Shows the examples of docstrings as code: lines from `>>>` to the next empty one become a block."""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^( *)(>>> (?:.*\n?)(?:\1.*\S.*\n?)*)", re.MULTILINE)


class Doctests(griffe.Extension):
    """Fences the examples of every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object that was loaded."""
        if obj.docstring is not None and ">>>" in obj.docstring.value:
            obj.docstring.value = EXAMPLE.sub(fenced, obj.docstring.value)


def fenced(found: re.Match[str]) -> str:
    """Return an example as a block, indented as it was."""
    margin = found[1]
    return f"{margin}```pycon\n{found[0].rstrip()}\n{margin}```\n"
