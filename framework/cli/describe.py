"""What `list`, `show` and `validate` print."""

import json
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from slotlab.framework.cli.output import console
from slotlab.framework.cli.units import counted
from slotlab.framework.spec.tree import dump
from slotlab.framework.system.terminal import visible
from slotlab.registry import KINDS, SlotlabError


def print_listing(result: dict[str, Any]) -> None:
    """Print the listing as a table."""
    out = console()
    table = Table("kind", "name", "what it is", "source", box=None, pad_edge=False, header_style="bold")
    before = None
    for item in result["components"]:
        table.add_row(
            item["kind"] if item["kind"] != before else "",
            item["name"],
            item["summary"],
            item["source"],
        )
        before = item["kind"]
    out.print(table)
    if result["specs"]:
        out.print(f"\nshipped specs: {', '.join(result['specs'])}", soft_wrap=True)
        out.print(f"shipped ablations: {', '.join(result['ablations'])}", soft_wrap=True)
    for item in result["not_loaded"]:
        out.print(f"not loaded: {item['source']} ({item['reason']})", soft_wrap=True)


def refuse_bare_kind(word: str) -> None:
    """Answer `slotlab show encoder`, which names no component."""
    if word in KINDS:
        raise SlotlabError(
            f"'{word}' is a kind; write 'slotlab show {word} NAME' (see 'slotlab list {word}')"
        )


def print_component(result: dict[str, Any]) -> None:
    """Print a component's settings as a table."""
    out = console()
    out.print(f"{result['kind']} {result['name']} (version {result['version']}, {result['source']})")
    out.print(result["summary"])
    if not result["settings"]:
        out.print("no settings")
        return
    table = Table("setting", "default", "meaning", box=None, pad_edge=False, header_style="bold")
    for item in result["settings"]:
        default = item["default"] if isinstance(item["default"], str) else json.dumps(item["default"])
        meaning = " ".join((item["description"] or "").split())
        table.add_row(item["name"], default, meaning)
    out.print(table)


def print_spec(result: dict[str, Any]) -> None:
    """Print a resolved spec as YAML."""
    print(dump(result["spec"]), end="")
    print(f"# run id: {result['run_id']}")
    for warning in result["warnings"]:
        print(visible(f"# warning: {warning}"))


def print_validity(results: Sequence[dict[str, Any]]) -> None:
    """Print mistakes and warnings, one a line, and a verdict for each spec."""
    for result in results:
        for text in result["errors"]:
            print(visible(f"error: {text}"))
        for text in result["warnings"]:
            print(visible(f"warning: {text}"))
        size = f" ({result['arms']} arms, {result['runs']} runs)" if "arms" in result else ""
        verdict = f"valid{size}" if result["valid"] else counted(len(result["errors"]), "error")
        print(visible(f"{result['spec']}: {verdict}"))
