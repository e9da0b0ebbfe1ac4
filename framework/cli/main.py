"""The `slotlab` command: its subcommands, and how errors end it. Only commands that need torch import it."""

import io
import sys
import traceback
from typing import Annotated

import typer

from slotlab.framework.cli.ablate import ablate
from slotlab.framework.cli.bench import app as bench
from slotlab.framework.cli.check import check
from slotlab.framework.cli.compare import compare
from slotlab.framework.cli.compose import compose
from slotlab.framework.cli.data import app as data
from slotlab.framework.cli.diagnose import diagnose
from slotlab.framework.cli.estimate import estimate
from slotlab.framework.cli.evaluate import evaluate
from slotlab.framework.cli.export import export
from slotlab.framework.cli.extract import extract
from slotlab.framework.cli.merge import merge
from slotlab.framework.cli.new import new
from slotlab.framework.cli.plan import plan
from slotlab.framework.cli.probe import probe
from slotlab.framework.cli.published import published
from slotlab.framework.cli.pull import pull
from slotlab.framework.cli.push import push
from slotlab.framework.cli.report import report
from slotlab.framework.cli.runs import runs
from slotlab.framework.cli.score import score
from slotlab.framework.cli.specs import list_components, schema, show, validate
from slotlab.framework.cli.studio import studio
from slotlab.framework.cli.train import train
from slotlab.framework.cli.watch import watch
from slotlab.framework.system import processes
from slotlab.framework.system.cores import set_threads
from slotlab.registry.errors import SlotlabError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A research framework for slot attention and object-centric learning. "
    "Models, data and metrics are plugins, put together by specs (YAML files).",
)
app.command(name="list")(list_components)
for command in (
    show,
    new,
    validate,
    check,
    schema,
    estimate,
    train,
    evaluate,
    extract,
):  # in the order of the help
    app.command()(command)
app.add_typer(data, name="data")
app.add_typer(bench, name="bench")
for command in (ablate, watch, runs, merge, compare, plan, report, probe, compose, studio, score, published):
    app.command()(command)
for command in (diagnose, push, pull, export):
    app.command()(command)


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
    """Run the command. After a user's mistake it prints a message on stderr and exits with 1."""
    set_threads()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # characters that the encoding lacks are escaped
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
