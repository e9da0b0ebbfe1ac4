"""A YAML document as a tree whose every node knows its file and line.

Scalars follow YAML 1.2: `4e-4` is a number, `on` and `12:30:00` are text (a boolean
setting still takes `on`). Duplicate keys and tabs are errors.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import yaml

from slotlab.framework.paths import SpecString
from slotlab.framework.spec.errors import Mark, Path, Problem, SpecError

INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


@dataclass(frozen=True)
class Tree:
    """A mapping or list of trees, or a scalar, and where it was written."""

    value: Any
    mark: Mark

    def plain(self) -> Any:
        """Return ordinary dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def child(self, part: str | int) -> "Tree | None":
        """Return the child at a key or a position."""
        if isinstance(self.value, dict):
            return self.value.get(part)
        if isinstance(self.value, list) and isinstance(part, int) and part < len(self.value):
            found: Tree = self.value[part]
            return found
        return None

    def locate(self, path: Path) -> Mark:
        """Return the mark of the deepest node on the path that was written."""
        node = self
        for part in path:
            node = node.child(part) or node
        return node.mark


def parse(text: str, *, origin: str, folder: FilePath) -> Tree:
    """Read one document.

    Args:
        text: YAML.
        origin: what to call it in errors.
        folder: what its relative paths are relative to.

    Raises:
        SpecError: for text that is not YAML, duplicate keys, keys that are not text and
            tags; all of them, unless the text cannot be parsed at all.
    """
    try:
        node = yaml.compose(text, Loader=_Composer)
    except yaml.YAMLError as error:
        raise SpecError([_syntax_problem(error, text, origin)]) from None
    if node is None:
        return Tree({}, Mark(origin, 1))
    builder = _Builder(origin, folder)
    tree = builder.build(node, ())
    if builder.problems:
        raise SpecError(builder.problems)
    return tree


class _Composer(yaml.BaseLoader):
    """Leaves nodes without a tag unless one is written."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        return ""


class _Builder:
    """Turns PyYAML's nodes into a Tree and collects what is wrong on the way."""

    def __init__(self, origin: str, folder: FilePath):
        self.origin = origin
        self.folder = folder
        self.problems: list[Problem] = []
        self.open: list[yaml.Node] = []

    def build(self, node: yaml.Node, path: Path) -> Tree:
        mark = Mark(self.origin, node.start_mark.line + 1)
        if node in self.open:
            self.problems.append(Problem(mark, path, "this alias contains itself"))
            return Tree(None, mark)
        self.open.append(node)
        value: Any = None
        self._refuse_tag(node, path)
        if isinstance(node, yaml.MappingNode):
            value = dict(self._items(node, path))
        elif isinstance(node, yaml.SequenceNode):
            value = [self.build(item, (*path, i)) for i, item in enumerate(node.value)]
        elif isinstance(node, yaml.ScalarNode):
            value = scalar(node.value, quoted=node.style is not None, folder=self.folder)
        self.open.pop()
        return Tree(value, mark)

    def _refuse_tag(self, node: yaml.Node, path: Path) -> None:
        if node.tag:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            text = f"the tag {tag} is not allowed; a spec holds data only"
            self.problems.append(Problem(Mark(self.origin, node.start_mark.line + 1), path, text))

    def _items(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, Tree]]:
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem(Mark(self.origin, line), path, "a key must be text"))
                continue
            key = str(key_node.value)
            self._refuse_tag(key_node, (*path, key))
            if key in lines:
                text = f"this key is given twice, first in line {lines[key]}; keep one"
                self.problems.append(Problem(Mark(self.origin, line), (*path, key), text))
                continue
            lines[key] = line
            child = self.build(value_node, (*path, key))
            yield key, Tree(child.value, Mark(self.origin, line))


def scalar(text: str, *, quoted: bool, folder: FilePath) -> Any:
    """Return None, a bool, an int, a float or a string, as YAML 1.2 reads it."""
    if quoted:
        return SpecString(text, folder)
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return SpecString(text, folder)


def _syntax_problem(error: yaml.YAMLError, text: str, origin: str) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        mark = Mark(origin, text.count("\n", 0, error.position) + 1)
        return Problem(mark, (), f"the character U+{error.character:04X} is not allowed in YAML")
    place = getattr(error, "problem_mark", None)
    line = place.line + 1 if place is not None else 1
    lines = text.splitlines()
    shown = lines[line - 1] if line <= len(lines) else ""
    if "\t" in shown[: len(shown) - len(shown.lstrip())]:
        return Problem(Mark(origin, line), (), "this line is indented with a tab; use spaces")
    reasons = [getattr(error, "context", None), getattr(error, "problem", None)]
    reason = ", ".join(item for item in reasons if item) or str(error)
    if "mapping values are not allowed" in reason:
        reason += "; is it indented deeper than the line before, or does a ':' lack the space behind it?"
    return Problem(Mark(origin, line), (), f"not valid YAML: {reason}")


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.2 reads as something else, such as `1e5`; PyYAML knows 1.1 only."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    bare = isinstance(scalar(text, quoted=False, folder=FilePath()), str)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if bare else "'")


_Dumper.add_representer(str, _represent_text)


def dump(data: Any) -> str:
    """Write plain data so that `parse` reads the same back, keys in their order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False)
