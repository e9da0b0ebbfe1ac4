"""Where in a component's files a mistake is: the line that raised, assigned, drew or changed something."""

import ast
import inspect
import random
import sys
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any

import numpy as np
import torch

from slotlab.framework.laws.verdict import Place


def files_of(*things: object) -> list[str]:
    """Return the files in which classes, functions and objects are defined, each once."""
    found: list[str] = []
    for thing in things:
        owner = thing if inspect.isclass(thing) or inspect.isroutine(thing) else type(thing)
        module = sys.modules.get(str(getattr(owner, "__module__", "")))
        file = getattr(module, "__file__", None)
        if file is not None and file not in found:
            found.append(file)
    return found


def raised_at(error: BaseException, files: Collection[str]) -> Place | None:
    """Return the innermost line of the files that an exception came through."""
    found = None
    for frame, line in walk_tb(error.__traceback__):
        if frame.f_code.co_filename in files:
            found = Place(Path(frame.f_code.co_filename), line)
    return found


def line_of_code(thing: object) -> Place | None:
    """Return where a function, a method or a class is defined."""
    while isinstance(thing, partial):
        thing = thing.func
    function = inspect.unwrap(thing) if callable(thing) else thing
    code = getattr(function, "__code__", None)
    if code is not None:
        return Place(Path(code.co_filename), code.co_firstlineno)
    if inspect.isclass(thing):
        for file in files_of(thing):
            node = class_node(Path(file), thing.__name__)
            if node is not None:
                return Place(Path(file), node.lineno)
    return None


def class_node(file: Path, name: str) -> ast.ClassDef | None:
    """Return the definition of a class."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name)
    return next(nodes, None)


def line_of_attribute(kind: type, name: str) -> Place | None:
    """Return where a class, or one that it is made of, first assigns an attribute, its own or `self.name`."""
    for base in kind.__mro__:
        for file in files_of(base):
            node = class_node(Path(file), base.__name__)
            for inner in ast.walk(node) if node is not None else ():
                if _assigns(inner, name):
                    return Place(Path(file), inner.lineno)  # type: ignore[attr-defined]
    return None


def _assigns(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name == name
    if isinstance(node, ast.Call):  # self.register_buffer("name", ...)
        first = node.args[0] if node.args else None
        registers = isinstance(node.func, ast.Attribute) and node.func.attr.startswith("register_")
        return registers and isinstance(first, ast.Constant) and first.value == name
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return False
    flat = [one for target in targets for one in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return any(
        name in (getattr(one, "attr", None), one.id if isinstance(one, ast.Name) else None) for one in flat
    )


def source_line(place: Place | None) -> str:
    """Return the text of a line."""
    try:
        return "" if place is None else place.file.read_text().splitlines()[place.line - 1].strip()
    except (OSError, IndexError, ValueError):
        return ""


def global_streams() -> tuple[Any, ...]:
    """Return the states of the random streams that belong to nobody: torch's, NumPy's and Python's."""
    numpy: Any = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), (numpy[1].tobytes(), numpy[2]), random.getstate()


def line_that_changes(
    state: Callable[[], Any], run: Callable[[], object], files: Collection[str]
) -> Place | None:
    """Run something and return the line of the files after which a state was another; slow, for messages."""
    before, at, found = state(), None, None

    def local(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal at, found
        if found is None and state() != before:
            found = at or (frame.f_code.co_filename, frame.f_lineno)
        caller = frame.f_back
        if event == "return" and caller is not None and caller.f_code.co_filename in files:
            frame = caller
        at = (frame.f_code.co_filename, frame.f_lineno)
        return local

    former = sys.gettrace()
    sys.settrace(lambda frame, event, arg: local if frame.f_code.co_filename in files else None)
    try:
        run()
    except Exception:  # the law has said before that it is broken
        pass
    finally:
        sys.settrace(former)
    return None if found is None else Place(Path(found[0]), found[1])
