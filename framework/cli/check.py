"""The command `check`: the laws of their kinds, on one's own components."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Annotated, Any

import typer

from slotlab.framework.cli.loading import loading
from slotlab.framework.cli.options import JsonOption, PluginOption
from slotlab.framework.cli.output import emit
from slotlab.framework.cli.units import counted
from slotlab.framework.system.terminal import visible

SetOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="SETTING=VALUE",
        help="A component's setting, such as size=4; NAME.size=4 for the component of this name. "
        "May be repeated.",
    ),
]


def check(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE | PACKAGE | KIND NAME",
            help="A plugin file, an installed package or its module, or one component.",
        ),
    ],
    set_: SetOption = [],  # noqa: B006 - typer reads the default and never changes it
    plugin: PluginOption = [],  # noqa: B006
    json: JsonOption = None,
) -> None:
    """Check components against the laws of their kind, in seconds and without a spec.

    Names every law that is broken, with the line and the repair. Exits with 1 if one is.
    """
    with loading():
        from slotlab.framework.api.checking import result

    found = result(what, set_, plugin)
    emit(found, json, print_check)
    if not found["holds"]:
        raise typer.Exit(1)


def print_check(found: dict[str, Any]) -> None:
    """Print a line for each law that is not simply kept, and a summary of each component."""
    for (kind, name), verdicts in groupby(found["verdicts"], key=lambda one: (one["kind"], one["component"])):
        every = list(verdicts)
        for line in lines_of(every):
            print(visible(f"{kind} '{name}': {line}"))
        print(visible(f"{kind} '{name}': {summary(every)}"))


def lines_of(verdicts: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield failures, then exceptions, then what was skipped, laws with one reason together."""
    for one in verdicts:
        if one["state"] == "failed":
            where = f" ({one['file']}:{one['line']})" if one["line"] else ""
            repair = f"; {one['repair']}" if one["repair"] else ""
            yield f"failed: {one['law']}: {one['reason']}{where}{repair}"
    for state, word in (("excepted", "exception"), ("skipped", "skipped")):
        reasons: dict[str, list[str]] = {}
        for one in verdicts:
            if one["state"] == state:
                reasons.setdefault(one["reason"], []).append(one["law"])
        for reason, laws in reasons.items():
            yield f"{word}: {', '.join(laws)}: {reason}"


def summary(verdicts: Sequence[dict[str, Any]]) -> str:
    """Return how many laws hold, in words."""
    states = [one["state"] for one in verdicts]
    failed, skipped = states.count("failed"), states.count("skipped")
    texts = [f"{counted(states.count('passed'), 'law')} passed"]
    texts += [f"{failed} failed"] if failed else []
    texts += [counted(states.count("excepted"), "exception")] if "excepted" in states else []
    texts += [f"{skipped} skipped"] if skipped else []
    return ", ".join(texts)
