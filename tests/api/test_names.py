"""What is public: light to import, complete, documented, and enough for plugins and docs."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import slotlab
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.system import cores

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("composition", "contracts", "data", "hooks", "images", "metrics", "results")
INSIDE = re.compile(r"(?:from|import|-m|--) slotlab\.(?:framework|plugins|registry)\b")


def test_importing_slotlab_loads_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "pydantic", "rich", "PIL", "slotlab.registry", "slotlab.framework")
    code = f"import sys, slotlab; dir(slotlab); print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_every_name_is_there_and_only_those() -> None:
    assert dir(slotlab) == sorted(slotlab.__all__)
    for name in slotlab.__all__:
        assert getattr(slotlab, name) is not None
    with pytest.raises(AttributeError, match="module 'slotlab' has no attribute 'trian'"):
        slotlab.trian  # noqa: B018
    for name in MODULES:
        module = importlib.import_module(f"slotlab.{name}")
        assert module.__doc__
        assert all(hasattr(module, one) for one in module.__all__)
    assert {item.name for item in pkgutil.iter_modules([str(ROOT / "slotlab")])} == {*MODULES, "__main__"}


def test_type_checkers_see_the_names_where_they_come_from() -> None:
    tree = ast.parse((ROOT / "slotlab" / "__init__.py").read_text())
    (block,) = (
        node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    )
    typed = {
        alias.name: str(node.module).removeprefix("slotlab").removeprefix(".")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == {name: slotlab._HOMES.get(name, "") for name in slotlab.__all__}
    links = {path.name: path.resolve() for path in (ROOT / ".typing" / "slotlab").glob("*.py")}
    assert links == {path.name: path for path in (ROOT / "slotlab").glob("*.py")}


def test_threads_are_set_before_a_job_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(cores, "set_threads", lambda: calls.append("set"))
    assert slotlab.SpecPath is not None
    assert calls == []
    assert slotlab.schema is not None
    assert calls == ["set"]


PLUGIN = """
from slotlab import Component, ComponentConfig, hookimpl
from slotlab.contracts import EncoderContext
from slotlab.images import Normalization, protocol
from slotlab.metrics import best_iou, mask_metric
from torch import nn

SLOTLAB_API = 1
OURS = protocol("ours", "our crop", crop=200)


class Config(ComponentConfig):
    width: int = 4


class Encoder(nn.Module):
    def __init__(self, config: Config, context: EncoderContext):
        super().__init__()
        self.normalize = Normalization(context.value_range, (0.5,) * 3, (0.5,) * 3)
        self.layer = nn.Conv2d(3, config.width, 1)
        self.channels, self.grid = config.width, context.image_size

    def forward(self, images_BCHW):
        return self.layer(self.normalize(images_BCHW))


@hookimpl
def slotlab_encoders():
    yield Component(name="pixelwise", config=Config, build=Encoder, summary="one layer")


@hookimpl
def slotlab_protocols():
    yield OURS


@hookimpl
def slotlab_metrics():
    yield mask_metric("best", lambda outcome: best_iou(outcome.counts_BTP)[:, 1:].amax(dim=1), summary="best IoU")
"""


def test_a_plugin_needs_public_names_alone(write: Callable[[str, str], Path]) -> None:
    registry = load_registry([write("mine.py", PLUGIN)])
    for kind, name in (("encoder", "pixelwise"), ("protocol", "ours"), ("metric", "best")):
        assert registry.find(kind, name) is not None
    model = slotlab.build_model("slotlab:demo", {"model.encoder": "pixelwise"}, plugins=["mine.py"])
    assert model.encoder.channels == 4


def functions() -> Iterator[tuple[str, Any]]:
    """Yield what the front door and its modules offer that can be called, and methods of the classes."""
    for home in (slotlab, *(importlib.import_module(f"slotlab.{name}") for name in ("data", "results"))):
        for name in home.__all__:
            found = getattr(home, name)
            if inspect.ismodule(found) or not callable(found):
                continue
            yield f"{home.__name__}.{name}", found
            if home.__name__ == "slotlab.results":
                members = vars(found).items()
                yield from (
                    (f"{name}.{key}", one)
                    for key, one in members
                    if not key.startswith("_") and callable(one)
                )


def test_every_name_is_documented_with_what_it_raises() -> None:
    for name, found in functions():
        text = inspect.getdoc(found)
        assert text, name
        if (
            inspect.isfunction(found)
            and found.__module__.startswith("slotlab.framework.api")
            and "." not in found.__qualname__
        ):
            assert "Raises:" in text or name == "slotlab.schema", name


EXAMPLES = [
    "ablate", "bench", "build_model", "check", "compare", "diagnose", "export", "laws", "leaderboard", "list_components", "list_runs",
    "load_spec", "merge", "new", "open_run", "open_studio", "published", "pull", "push", "schema", "study_status", "score", "train",
    "data.fetch", "data.inspect", "data.render",
]  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_function_runs(name: str, here: Path) -> None:
    module, _, leaf = f"slotlab.{name}".rpartition(".")
    found = getattr(importlib.import_module(module), leaf)
    (test,) = doctest.DocTestFinder(recurse=False).find(found, name, globs={})
    assert test.examples
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert result.failed == 0


def test_every_function_has_an_example() -> None:
    plain = {name for name in slotlab.__all__ if slotlab._HOMES.get(name, "").startswith("framework.api")}
    assert plain <= set(EXAMPLES)


def test_docs_and_readme_use_public_names_alone() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.py")):
        # Of the two, one is about what lies inside, and the other writes pages out of it.
        if page.name == "architecture.md" or page.is_relative_to(ROOT / "docs" / "site"):
            continue
        found = INSIDE.search(page.read_text())
        assert found is None, f"{page.name}: {found}"
