"""The commands `list`, `show`, `validate` and `schema`, and how their results are printed."""

import json as json_format
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from slotlab.framework.api.consent import consent
from slotlab.framework.cli.loading import loading
from slotlab.framework.cli.options import JsonOption, PluginOption, SetOption, StrictOption, TrustOption
from slotlab.framework.cli.output import console, emit
from slotlab.framework.cli.units import counted
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.system.terminal import visible
from slotlab.registry import KINDS, SlotlabError


def list_components(
    kind: Annotated[
        str | None, typer.Argument(help="A kind, such as encoder or initializer; by default all kinds.")
    ] = None,
    plugin: PluginOption = [],  # noqa: B006 - typer reads the default and never changes it
    strict_plugins: StrictOption = False,
    json: JsonOption = None,
) -> None:
    """List the components, shipped specs and ablations."""
    from slotlab.framework.api.components import listing

    registry = load_registry(plugin, strict=strict_plugins)
    emit(listing(registry, kind), json, print_listing)


def show(
    what: Annotated[
        list[str],
        typer.Argument(metavar="SPEC | ABLATION | KIND NAME", help="A spec, an ablation, or a component."),
    ],
    set_: SetOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    trust: TrustOption = False,
    json: JsonOption = None,
) -> None:
    """Show all settings of a spec, of an ablation with its arms, or of a component."""
    from slotlab.framework.api import components, specs

    if len(what) == 2:
        registry = load_registry(plugin)
        emit(components.component(registry, *what), json, print_component)
    elif len(what) == 1:
        refuse_bare_kind(what[0])
        found = specs.resolved(what[0], sets=set_, plugins=plugin, trust=consent(given=trust))
        emit(found, json, print_spec if "spec" in found else print_ablation)
    else:
        raise SlotlabError("write 'slotlab show SPEC', 'slotlab show ABLATION' or 'slotlab show KIND NAME'")


def validate(
    specs: Annotated[
        list[str],
        typer.Argument(metavar="SPEC...", help="Spec and ablation files, or slotlab:NAME for shipped ones."),
    ],
    set_: SetOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    strict_plugins: StrictOption = False,
    no_laws: Annotated[
        bool, typer.Option("--no-laws", help="Do not check laws on the spec's own components.")
    ] = False,
    trust: TrustOption = False,
    json: JsonOption = None,
) -> None:
    """Check specs and ablations, without reading data.

    Checks settings, names, and that the components fit together. Exits with 1 if a spec is invalid. Warns of
    components of one's own that break one of the laws that take no time (`slotlab check` checks all).
    """
    with loading():
        from slotlab.framework.api.specs import validity

    options = {"plugins": plugin, "strict_plugins": strict_plugins, "trust": consent(given=trust)}
    results = [validity(spec, sets=set_, laws=not no_laws, **options) for spec in specs]
    emit(results, json, print_validity)
    if not all(result["valid"] for result in results):
        raise typer.Exit(1)


def schema(
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Write the schema of ablation files instead.")
    ] = False,
    plugin: PluginOption = [],  # noqa: B006
    json: JsonOption = "-",
) -> None:
    """Write the JSON Schema of specs, for completion in editors."""
    from slotlab.framework.api.specs import schema as schema_of

    emit(schema_of(ablation=ablation, plugins=plugin), json, print)


def print_listing(result: dict[str, Any]) -> None:
    """Print components as a table, then shipped specs and plugins that could not be loaded."""
    out = console()
    table = Table("kind", "name", "description", "source", box=None, pad_edge=False, header_style="bold")
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
    """Refuse `slotlab show encoder`, which names a kind but no component."""
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
        out.print("it has no settings")
        return
    table = Table("setting", "default", "meaning", box=None, pad_edge=False, header_style="bold")
    for item in result["settings"]:
        default = item["default"] if isinstance(item["default"], str) else json_format.dumps(item["default"])
        meaning = " ".join((item["description"] or "").split())
        table.add_row(item["name"], default, meaning)
    out.print(table)


def print_spec(result: dict[str, Any]) -> None:
    """Print a resolved spec as YAML."""
    from slotlab.framework.spec.tree import dump

    print(dump(result["spec"]), end="")
    print(f"# run id: {result['run_id']}")
    for warning in result["warnings"]:
        print(visible(f"# warning: {warning}"))


def print_ablation(result: dict[str, Any]) -> None:
    """Print a resolved ablation as YAML, and its arms and runs as comments."""
    from slotlab.framework.spec.tree import dump

    print(dump(result["ablation"]), end="")
    names, seeds = [arm["name"] for arm in result["arms"]], len(result["ablation"]["seeds"])
    searched = result["ablation"]["search"]
    if searched is None:
        print(visible(f"# {counted(len(names), 'arm')}: {', '.join(names)}"))
    else:
        print(
            visible(f"# {counted(searched['trials'], 'arm')}, proposed one after the other; first {names[0]}")
        )
    print(visible(f"# baseline: {result['baseline']}"))
    print(f"# {counted(result['runs'], 'run')}: each arm with {counted(seeds, 'seed')}")
    for warning in result["warnings"]:
        print(visible(f"# warning: {warning}"))


def print_validity(results: Sequence[dict[str, Any]]) -> None:
    """Print errors and warnings, one per line, and a verdict for each spec."""
    for result in results:
        for text in result["errors"]:
            print(visible(f"error: {text}"))
        for text in result["warnings"]:
            print(visible(f"warning: {text}"))
        size = f" ({result['arms']} arms, {result['runs']} runs)" if "arms" in result else ""
        verdict = f"valid{size}" if result["valid"] else counted(len(result["errors"]), "error")
        print(visible(f"{result['spec']}: {verdict}"))
