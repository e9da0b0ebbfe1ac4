"""The page on Python and the notebook run as they stand, and the page tells what is printed."""

import contextlib
import io
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import slotlab

DOCS = Path(__file__).resolve().parents[2] / "docs"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.py"))


def test_the_page_on_python_runs_as_written_and_prints_what_it_says() -> None:
    names: dict[str, Any] = {}
    printed = ""
    blocks = FENCE.findall((DOCS / "tutorials" / "python.md").read_text())
    for language, text in blocks:
        if language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(text, "docs/tutorials/python.md", "exec"), names)
            printed = out.getvalue()
        else:
            assert text == printed
    assert len(blocks) > 10
    assert "<table>" in names["table"]._repr_html_()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_cells_show_something(path: Path) -> None:
    names = runpy.run_path(str(path))
    cells = path.read_text().split("# %%\n")[1:]
    shown = [last_expression(cell) for cell in cells]
    pictures = [eval(one, names) for one in shown if one.startswith(("found", "run.segment"))]
    assert pictures
    assert all(one._repr_png_().startswith(b"\x89PNG") for one in pictures)
    assert "table" in shown
    assert "<table>" in names["table"]._repr_html_()


def last_expression(cell: str) -> str:
    """Return the last line of a cell that is code."""
    lines = [line for line in cell.split("# %%")[0].splitlines() if line and not line.startswith("#")]
    return lines[-1]


def test_the_page_names_all_that_is_public() -> None:
    text = (DOCS / "tutorials" / "python.md").read_text()
    for name in slotlab.__all__:
        assert re.search(rf"\b{name}\b", text), name
