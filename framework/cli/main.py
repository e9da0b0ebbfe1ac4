"""The `slotlab` command, one function a subcommand; torch is imported by those that need it."""

import io
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from slotlab.framework.api.consent import consent
from slotlab.framework.cli.ablating import ablate
from slotlab.framework.cli.comparing import compare
from slotlab.framework.cli.composing import compose
from slotlab.framework.cli.consent import TrustOption
from slotlab.framework.cli.data import app as data_app
from slotlab.framework.cli.evaluating import evaluate as evaluate_command
from slotlab.framework.cli.evaluating import print_result
from slotlab.framework.cli.options import (
    DeviceOption,
    DevicesOption,
    ImagesOption,
    JsonOption,
    PluginOption,
    SetOption,
    SpecArgument,
    StrictOption,
)
from slotlab.framework.cli.output import emit
from slotlab.framework.cli.publishing import published
from slotlab.framework.cli.reporting import report
from slotlab.framework.cli.scoring import score
from slotlab.framework.cli.serving import studio
from slotlab.framework.cli.watching import runs, watch
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.system import processes
from slotlab.framework.system.cores import set_threads
from slotlab.registry.errors import SlotlabError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Slot attention and object-centric learning, put together from plugins by typed specs.",
)
app.add_typer(data_app, name="data")
app.command()(compare)
app.command()(report)
app.command()(studio)


@app.command(name="list")
def list_components(
    kind: Annotated[
        str | None, typer.Argument(help="encoder, initializer, ...; all kinds without it.")
    ] = None,
    plugin: PluginOption = [],  # noqa: B006 - typer reads the default and never changes it
    strict_plugins: StrictOption = False,
    json: JsonOption = None,
) -> None:
    """List the components that specs may name, and the shipped specs and ablations."""
    from slotlab.framework.api.components import listing
    from slotlab.framework.cli import describe

    registry = load_registry(plugin, strict=strict_plugins)
    emit(listing(registry, kind), json, describe.print_listing)


@app.command()
def show(
    what: Annotated[list[str], typer.Argument(metavar="SPEC | KIND NAME", help="A spec, or a component.")],
    set_: SetOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    trust: TrustOption = False,
    json: JsonOption = None,
) -> None:
    """Show a spec with all its settings, or a component with its settings and defaults."""
    from slotlab.framework.api import components, specs
    from slotlab.framework.cli import describe

    if len(what) == 2:
        registry = load_registry(plugin)
        emit(components.component(registry, *what), json, describe.print_component)
    elif len(what) == 1:
        describe.refuse_bare_kind(what[0])
        found = specs.resolved(what[0], sets=set_, plugins=plugin, trust=consent(given=trust))
        emit(found, json, describe.print_spec)
    else:
        raise SlotlabError("write 'slotlab show SPEC' or 'slotlab show KIND NAME'")


@app.command()
def validate(
    specs: Annotated[
        list[str],
        typer.Argument(metavar="SPEC...", help="Spec and ablation files, or slotlab:NAME."),
    ],
    set_: SetOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    strict_plugins: StrictOption = False,
    trust: TrustOption = False,
    json: JsonOption = None,
) -> None:
    """Check specs and ablations: settings, names, and that the parts fit together. Touches no data."""
    from slotlab.framework.api.specs import validity
    from slotlab.framework.cli import describe

    options = {"plugins": plugin, "strict_plugins": strict_plugins, "trust": consent(given=trust)}
    results = [validity(spec, sets=set_, **options) for spec in specs]
    emit(results, json, describe.print_validity)
    if not all(result["valid"] for result in results):
        raise typer.Exit(1)


@app.command()
def schema(
    ablation: Annotated[bool, typer.Option("--ablation", help="Of ablation files.")] = False,
    plugin: PluginOption = [],  # noqa: B006
    json: JsonOption = "-",
) -> None:
    """Write the JSON Schema of specs, for completion in editors."""
    from slotlab.framework.api.specs import schema as schema_of

    emit(schema_of(ablation=ablation, plugins=plugin), json, print)


@app.command()
def train(
    spec: SpecArgument,
    run: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME-ID without it.")] = None,
    set_: SetOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    strict_plugins: StrictOption = False,
    trust: TrustOption = False,
    device: DeviceOption = "auto",
    devices: DevicesOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete a run that is there and train anew.")
    ] = False,
    allow: Annotated[
        list[str],
        typer.Option("--allow", metavar="PATH", help="Go on with a run although this setting differs."),
    ] = [],  # noqa: B006
    evaluate: Annotated[
        bool, typer.Option("--evaluate/--no-evaluate", help="Evaluate after training.")
    ] = True,
    json: JsonOption = None,
) -> None:
    """Train a spec into a run folder, or go on with it; then evaluate it and draw its figures."""
    if processes.wanted(devices):
        raise typer.Exit(processes.launch(devices or 1))
    from slotlab.framework.api.training import train_spec

    result = train_spec(
        spec,
        run,
        sets=set_,
        plugins=plugin,
        strict_plugins=strict_plugins,
        trust=consent(given=trust),
        device=device,
        overwrite=overwrite,
        allow=allow,
        then_evaluate=evaluate,
    )
    if processes.is_first():
        emit(result, json, print_result)


@app.command()
def estimate(
    spec: SpecArgument,
    set_: SetOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    trust: TrustOption = False,
    device: DeviceOption = "auto",
    images: ImagesOption = None,
    json: JsonOption = None,
) -> None:
    """Say what a training would take: time, memory, operations. Times a few steps on random images."""
    from slotlab.framework.api.estimating import estimate_spec
    from slotlab.framework.cli import estimating

    result = estimate_spec(
        spec, sets=set_, plugins=plugin, trust=consent(given=trust), device=device, images=images
    )
    emit(result, json, estimating.print_estimate)


app.command()(evaluate_command)
app.command()(score)
app.command()(published)
app.command()(compose)
app.command()(ablate)
app.command()(watch)
app.command()(runs)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Answer `slotlab --version`."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"slotlab {installed('slotlab')}")
        raise typer.Exit


def main() -> None:
    """Run the command. A user's mistake ends with its message on stderr and exit code 1."""
    set_threads()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what its encoding lacks is written as an escape
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SlotlabError as error:
        processes.fail(error.lines(), error.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        processes.fail([f"{where}{error.strerror or error}"], 1)
    except Exception:
        if processes.is_first():
            raise
        processes.fail(traceback.format_exc().splitlines(), 1)
