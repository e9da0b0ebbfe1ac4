"""A YAML document as a tree whose every node knows its file and line.

Scalars follow YAML 1.2: `4e-4` is a number, `on` and `12:30:00` are text (a boolean
setting still takes `on`). Duplicate keys and tabs are errors. What a document may take is
bounded: its length, its depth, its values (each as often as aliases repeat it), and a number's digits.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import yaml

from slotlab.framework.spec.errors import Mark, Path, Problem, SpecError, shorten
from slotlab.framework.spec.scalars import scalar

MOST_CHARACTERS = 512 * 1024
"""Most characters of a document."""
MOST_VALUES = 10_000
"""Most values of a document: mappings, lists and scalars, each as often as aliases repeat it."""
MOST_LEVELS = 64
"""Most levels of nested blocks, and most parts of a path."""
LONGEST_KEY = 200
"""Most characters of a key."""
INTERPOLATION = re.compile(r"\$\{[A-Za-z_][\w.:,-]*\}")
"""How OmegaConf refers to another setting, or to an environment variable."""
_NOWHERE = re.compile("[\x00\ud800-\udc7f\udd00-\udfff]")
"""Characters that no file name can hold, though YAML can write them as escapes."""


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


def parse(text: str, *, origin: str, folder: FilePath, fast: bool = False) -> Tree:
    """Read one document.

    Args:
        text: YAML.
        origin: what to call it in errors.
        folder: what its relative paths are relative to.
        fast: parse by libyaml where PyYAML has it; its messages for mistakes differ.

    Raises:
        SpecError: for text that is not YAML, duplicate keys, keys that are not text, tags, and
            whatever exceeds the bounds; all of them, unless the text cannot be parsed at all.
    """
    if len(text) > MOST_CHARACTERS:
        size = f"this is {len(text):,} characters long, and a document may have {MOST_CHARACTERS:,}"
        raise SpecError([Problem(Mark(origin, 1), (), size)])
    try:
        # Events, not nodes: a document is refused as soon as it goes beyond a bound.
        loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader) if fast else yaml.BaseLoader
        builder = _Builder(yaml.parse(text, Loader=loader), origin, folder)
        tree = builder.document()
    except yaml.YAMLError as error:
        raise SpecError([_syntax_problem(error, text, origin)]) from None
    except _BoundError as error:
        raise SpecError([error.problem]) from None
    if builder.problems:
        raise SpecError(builder.problems)
    return tree


class _BoundError(Exception):
    """A document exceeds a bound: reading ends here."""

    def __init__(self, mark: Mark, path: Path, text: str):
        super().__init__(text)
        self.problem = Problem(mark, path, text)


@dataclass(frozen=True)
class _Anchored:
    """The value of an anchor `&name`; `tree` is None while it is still being read."""

    tree: Tree | None
    values: int = 0
    levels: int = 0


class _Builder:
    """Turns PyYAML's events into a Tree and collects what is wrong on the way."""

    def __init__(self, events: Iterator[Any], origin: str, folder: FilePath):
        self.events = events
        self.origin = origin
        self.folder = folder
        self.problems: list[Problem] = []
        self.anchors: dict[str, _Anchored] = {}
        self.values = 0
        self.level = 0

    def document(self) -> Tree:
        """Read the only document of the stream; an empty mapping if there is none."""
        next(self.events)  # the stream's start
        start = next(self.events)
        if isinstance(start, yaml.StreamEndEvent):
            return Tree({}, Mark(self.origin, 1))
        tree = self.build(next(self.events), ())
        next(self.events)  # the document's end
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            text = "not valid YAML: expected a single document in the stream, but found another document"
            self.note(after, (), text)
        return tree

    def build(self, event: Any, path: Path) -> Tree:
        """Read the value that an event begins."""
        mark = self.mark(event)
        self.count(1, mark, path)
        if isinstance(event, yaml.AliasEvent):
            return self.repeated(event, path)
        self.refuse_tag(event, path)
        before = self.values
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchored(None)
        value: Any = None
        if isinstance(event, yaml.ScalarEvent):
            value = self.scalar(event, path)
        else:
            self.deepen(0, mark, path)
            self.level += 1
            mapping = isinstance(event, yaml.MappingStartEvent)
            value = dict(self.items(path)) if mapping else list(self.elements(path))
            self.level -= 1
        tree = Tree(value, mark)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchored(tree, self.values - before, depth(tree))
        return tree

    def mark(self, event: Any) -> Mark:
        """Return where an event was written."""
        return Mark(self.origin, event.start_mark.line + 1)

    def note(self, event: Any, path: Path, text: str) -> None:
        """Collect a mistake."""
        self.problems.append(Problem(self.mark(event), path, text))

    def count(self, values: int, mark: Mark, path: Path) -> None:
        """Count values, and stop reading where there are too many."""
        self.values += values
        if self.values > MOST_VALUES:
            text = f"the document holds more than {MOST_VALUES:,} values, those that aliases repeat included"
            raise _BoundError(mark, path[:3], text)

    def deepen(self, levels: int, mark: Mark, path: Path) -> None:
        """Stop reading where a block with so many levels in it would be nested too deeply."""
        if self.level + levels >= MOST_LEVELS:
            raise _BoundError(mark, path[:3], f"blocks are nested deeper than {MOST_LEVELS} levels")

    def repeated(self, event: Any, path: Path) -> Tree:
        """Return what an alias stands for."""
        found = self.anchors.get(event.anchor)
        if found is not None and found.tree is not None:
            self.count(found.values, self.mark(event), path)
            self.deepen(found.levels, self.mark(event), path)
            return found.tree
        name = event.anchor
        reason = f"not valid YAML: found undefined alias '{name}'"
        self.note(event, path if found else (), "this alias contains itself" if found else reason)
        return Tree(None, self.mark(event))

    def scalar(self, event: Any, path: Path) -> Any:
        """Read a scalar, or note why a spec cannot hold it."""
        text = event.value
        if (odd := _NOWHERE.search(text)) is not None:
            self.note(event, path, f"the character U+{ord(odd[0]):04X} is not allowed in a setting")
            return None
        if INTERPOLATION.search(text) and path[-1:] != ("question",):
            hint = "write the value itself; settings of another file are taken over by 'extends: FILE'"
            self.note(event, path, f"'{shorten(text)}': a spec fills in no '${{...}}'; {hint}")
            return None
        try:
            return scalar(text, quoted=bool(event.style), folder=self.folder)
        except ValueError as error:
            self.note(event, path, str(error))
            return None

    def refuse_tag(self, event: Any, path: Path) -> None:
        """Note a tag, which a spec may not have."""
        if event.tag:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.note(event, path, f"the tag {tag} is not allowed; a spec holds data only")

    def elements(self, path: Path) -> Iterator[Tree]:
        """Read the items of a list up to its end."""
        position = 0
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            yield self.build(event, (*path, position))
            position += 1

    def items(self, path: Path) -> Iterator[tuple[str, Tree]]:
        """Read the keys and values of a mapping up to its end."""
        lines: dict[str, int] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent):
                self.note(event, path, "a key must be text")
                self.build(event, path)
                self.build(next(self.events), path)
                continue
            key = self.key(event, path)
            if key in lines:
                text = f"this key is given twice, first in line {lines[key]}; keep one"
                self.note(event, (*path, key), text)
            value = self.build(next(self.events), (*path, key))
            if key not in lines:
                lines[key] = line
                yield key, Tree(value.value, Mark(self.origin, line))

    def key(self, event: Any, path: Path) -> str:
        """Read a key, and note what is wrong with it."""
        key = str(event.value)
        shown = (*path, shorten(key))
        self.refuse_tag(event, shown)
        if len(key) > LONGEST_KEY:
            self.note(event, shown, f"a key of {len(key):,} characters; at most {LONGEST_KEY} are read")
        elif key == "<<" and not event.style:
            text = "YAML's merge key is not read; take over another file's settings by 'extends: FILE'"
            self.note(event, shown, f"{text}, and repeat a whole block by an alias: 'key: *name'")
        elif (odd := _NOWHERE.search(key)) is not None:
            self.note(event, path, f"the character U+{ord(odd[0]):04X} is not allowed in a key")
        return key


def depth(tree: Tree) -> int:
    """Return how many levels of blocks there are in a tree: 0 for a scalar."""
    if isinstance(tree.value, dict):
        return 1 + max(map(depth, tree.value.values()), default=0)
    return 1 + max(map(depth, tree.value), default=0) if isinstance(tree.value, list) else 0


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
    try:
        bare = isinstance(scalar(text, quoted=False, folder=FilePath()), str)
    except ValueError:  # a number with too many digits
        bare = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if bare else "'")


_Dumper.add_representer(str, _represent_text)


def dump(data: Any) -> str:
    """Write plain data so that `parse` reads the same back, keys in their order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False)
