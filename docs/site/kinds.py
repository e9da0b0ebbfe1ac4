"""The pages of components: one for each kind, with each component's settings and source."""

import importlib
import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path

from page import Page, code, escaped, prose, table
from pydantic import BaseModel
from settings import sections, settings_table

from slotlab.registry import KINDS, Registry, hookspecs
from slotlab.registry.manager import Registered

FOLDER = "reference/components"
INTRODUCTION = """# Components

All that a spec may name, by kind: the kind's contract, and each component's settings, defaults and source.
The pages are made of the components themselves, as `slotlab show KIND NAME` prints them.

"""


def pages(registry: Registry, docs: Path) -> Iterator[Page]:
    """Yield the list of kinds, and the page of each kind."""
    rows = [
        (f"[{name}]({name}.md)", str(len(registry.all(name))), ", ".join(names_of(registry, name)))
        for name in KINDS
    ]
    yield Page(f"{FOLDER}/index.md", INTRODUCTION + table(("kind", "here", "components"), rows))
    for name in KINDS:
        yield Page(f"{FOLDER}/{name}.md", page_of(name, registry, docs))


def names_of(registry: Registry, kind: str) -> list[str]:
    """Return links to the components of a kind."""
    return [f"[{code(i.component.name)}]({kind}.md#{i.component.name})" for i in registry.all(kind)]


def page_of(kind: str, registry: Registry, docs: Path) -> str:
    """Return the page of a kind."""
    hook = getattr(hookspecs, KINDS[kind].hook)
    contract = prose(inspect.getdoc(hook)).replace("Yield ", "A plugin's hook yields ", 1)
    parts = [f"# {kind}\n", contract]
    if (docs / "how_to" / "plugins" / f"{kind}.md").is_file():
        words = kind.replace("_", " ")
        parts.append(f"How to write one: [your own {words}](../../how_to/plugins/{kind}.md).\n")
    found = registry.all(kind)
    rows = [(f"[{code(i.component.name)}](#{i.component.name})", escaped(i.component.summary)) for i in found]
    parts.append(table(("component", "is"), rows))
    parts += [part for item in found for part in component(item, registry)]
    return "\n".join(parts)


def component(item: Registered, registry: Registry) -> Iterator[str]:
    """Yield the parts of a component's section: what it is, where it comes from, its settings."""
    made = item.component
    yield f"## {made.name} {{ #{made.name} }}\n"
    file, text = source_of(item)
    summary = f"{escaped(made.summary[0].upper() + made.summary[1:])}."
    yield f"{summary} Version {made.version}; {code(file)}.\n"
    yield text
    yield from published_files(made.config)
    yield settings_table(made.config, registry, "") or "It has no settings.\n"
    yield from nested(made.config, registry, "")


def published_files(config: type[BaseModel]) -> Iterator[str]:
    """Yield the table of a dataset's files, for data whose Config says where they are."""
    downloads = getattr(config, "downloads", None)
    if downloads is None:
        return
    rows = [
        (
            code(part),
            code(one.url),
            size(one.bytes),
            code(one.sha256) if one.sha256 else "",
            escaped(one.license),
        )
        for part, sources in downloads.parts.items()
        for one in sources
    ]
    yield table(("part", "file", "size", "sha256", "license"), rows)
    yield f"{escaped(downloads.by_hand)}\n" if downloads.by_hand else ""


def size(count: int | None) -> str:
    """Return a number of bytes in words; empty if it is not known."""
    return "" if count is None else f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def nested(model: type[BaseModel], registry: Registry, before: str) -> Iterator[str]:
    """Yield the tables of sections within settings."""
    for key, section in sections(model):
        rows = settings_table(section, registry, "")
        if rows:
            yield f"Settings of `{before}{key}`:\n"
            yield rows
            yield from nested(section, registry, f"{before}{key}.")


def source_of(item: Registered) -> tuple[str, str]:
    """Return a component's file in the repository, and what its docstrings say."""
    folder = f"slotlab.plugins.{KINDS[item.kind].plural}"
    name = item.component.name.replace("-", "_")
    full = f"{folder}.{name}"
    if importlib.util.find_spec(full) is None:
        raise LookupError(f"{item.kind} {item.component.name} has no file of its name")
    module = importlib.import_module(full)
    texts = [prose(inspect.getdoc(module))]
    for one in vars(module).values():
        own = inspect.isclass(one) and one.__module__ == full and not issubclass(one, BaseModel)
        if own and one.__doc__ and not one.__name__.startswith("_"):
            texts.append(f"{code(one.__name__)}: {prose(inspect.getdoc(one))}")
    return f"plugins/{KINDS[item.kind].plural}/{name}.py", "\n".join(texts)
