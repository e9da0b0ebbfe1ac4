"""The pages of commands: usage, arguments and options, as `--help` has them."""

from collections.abc import Iterator
from typing import Any

import typer
from page import Page, block, code, escaped, prose, table

from slotlab.framework.cli.main import app

Command = Any
"""A command of click, of which typer may bring its own."""

FOLDER = "reference/commands"
INTRODUCTION = """# Commands

Each answers `--help`; these pages are made of the same text. An error ends a command with one line for each
mistake and a code other than 0.

"""


def pages() -> Iterator[Page]:
    """Yield the list of commands, and the page of each."""
    root = typer.main.get_command(app)
    found = list(walk(root, "slotlab"))
    rows = [(f"[`{name}`]({file_of(name)})", escaped(first_line(command.help))) for name, command in found]
    yield Page(f"{FOLDER}/index.md", INTRODUCTION + table(("command", "does"), rows))
    for name, command in found:
        yield Page(f"{FOLDER}/{file_of(name)}", page_of(name, command))


def walk(command: Command, name: str) -> Iterator[tuple[str, Command]]:
    """Yield (full name, command) of all commands below one."""
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
        return
    for key, one in below.items():
        yield from walk(one, f"{name} {key}")


def file_of(name: str) -> str:
    """Return the file of a command's page."""
    return "_".join(name.split()[1:]) + ".md"


def first_line(text: str | None) -> str:
    """Return the first sentence of a help text."""
    return (text or "").strip().partition("\n")[0]


def page_of(name: str, command: Command) -> str:
    """Return the page of a command."""
    context = command.context_class(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    parts = [f"# {name}\n", prose(command.help), block(usage, "text")]
    for kind, says in (("argument", "is"), ("option", "says")):
        chosen = [item for item in command.params if item.param_type_name == kind]
        records = [item.get_help_record(context) for item in chosen]
        rows = [(code(names), escaped(text)) for names, text in filter(None, records)]
        parts.append(table((kind, says), rows))
    return "\n".join(parts)
