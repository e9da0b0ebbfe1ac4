"""The pages of errors: what is said where, read off the source.

A message is a template in the code; what is filled in is written as `…`. Its meaning is what the function
is for that raises it, which its docstring says.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from page import Page, code, escaped, table

FOLDER = "reference/errors"
LAYERS = ("registry", "framework", "plugins")
RAISERS = {"custom_error": 1, "Problem": 0}
"""Calls that make a message without being raised, and the place of the text among their arguments."""
HOLE = "…"
INTRODUCTION = """# Errors

An error of slotlab says what is wrong, where, and what would be right. Paste a part of one into the search:
these pages hold every message of the code, with `…` for what it fills in. The [laws](../laws.md) of
components have messages of their own.

## Classes

"""


@dataclass(frozen=True)
class Message:
    """A message that the code can give."""

    text: str
    error: str
    """The class of the error; empty for a mistake in a spec."""
    task: str
    """What the function that gives it is for."""
    file: str


def pages(root: Path) -> Iterator[Page]:
    """Yield the page of classes, and the messages of each part of the code."""
    chapters: dict[str, list[Message]] = defaultdict(list)
    classes: list[tuple[str, str, str]] = []
    for layer in LAYERS:
        for path in sorted((root / layer).rglob("*.py")):
            tree = ast.parse(path.read_text())
            place = path.relative_to(root)
            chapters["_".join(place.parts[:2] if len(place.parts) > 2 else place.parts[:1])] += messages(
                tree, place
            )
            classes += [
                (code(n.name), escaped(summary(n)), code(place)) for n in ast.walk(tree) if is_error(n)
            ]
    filled = {name: found for name, found in chapters.items() if found}
    rows = [(f"[{name.replace('_', '/', 1)}]({name}.md)", str(len(found))) for name, found in filled.items()]
    text = (
        INTRODUCTION
        + table(("class", "means", "in"), classes)
        + "\n## Messages\n\n"
        + table(("by", "messages"), rows)
    )
    yield Page(f"{FOLDER}/index.md", text)
    for name, found in filled.items():
        rows = [(escaped(one.text), escaped(one.task), where(one)) for one in found]
        title = f"# {name.replace('_', '/', 1)}\n\n"
        yield Page(f"{FOLDER}/{name}.md", title + table(("message", "from what", "in"), rows))


def where(message: Message) -> str:
    """Return the file of a message within its folder, and the class of the error."""
    file = code(message.file.rpartition("/")[2])
    return f"{file} {code(message.error)}" if message.error not in ("", "SlotlabError") else file


def is_error(node: ast.AST) -> bool:
    """Return whether a class is an error that users meet."""
    return isinstance(node, ast.ClassDef) and node.name.endswith("Error") and not node.name.startswith("_")


def summary(node: ast.AST) -> str:
    """Return the first paragraph of a docstring on one line."""
    found = ast.get_docstring(node) if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.Module) else None
    return " ".join((found or "").partition("\n\n")[0].split())


def messages(tree: ast.Module, place: Path) -> Iterator[Message]:
    """Yield the messages of a file, each once."""
    seen: set[str] = set()
    for function, task in functions(tree):
        texts = {
            target.id: node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call, error in calls(function):
            place_of = RAISERS.get(name_of(call), 0)
            text = template(call.args[place_of], texts).strip() if len(call.args) > place_of else ""
            if text.replace(HOLE, "").strip(" :.,;'()") and text not in seen:
                seen.add(text)
                yield Message(text, error, task, str(place))


def functions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef, str]]:
    """Yield functions and methods with what they are for: their docstring, their class's or the file's."""
    for node in tree.body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        for member in members:
            if isinstance(member, ast.FunctionDef):
                yield member, summary(member) or summary(node) or summary(tree)


def calls(function: ast.FunctionDef) -> Iterator[tuple[ast.Call, str]]:
    """Yield the calls that make a message, with the class of the error."""
    for node in ast.walk(function):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = name_of(node.exc)
            if name.endswith("Error") and name not in ("NotImplementedError", "AttributeError", "KeyError"):
                yield node.exc, name
        elif isinstance(node, ast.Call) and name_of(node) in RAISERS:
            yield node, ""


def name_of(call: ast.Call) -> str:
    """Return the name of what is called."""
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def template(node: ast.expr, texts: dict[str, ast.expr], depth: int = 0) -> str:
    """Return the text that an expression makes, with holes for what is not known before it is run."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part, texts, depth) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return template(node.value, texts, depth) if isinstance(node.value, ast.Name) else HOLE
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left, texts, depth) + template(node.right, texts, depth)
    if isinstance(node, ast.Name) and node.id in texts and depth < 3:
        rest = {name: value for name, value in texts.items() if name != node.id}
        return template(texts[node.id], rest, depth + 1)
    return HOLE
