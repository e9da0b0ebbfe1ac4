"""Options in groups: a command takes a dataclass, and Typer sees each field as an option."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose dataclass parameters are spread over options, one per field.

    Typer reads a command's options from its parameters. Options that commands share, or that are passed
    on together, are the fields of a dataclass instead: annotated and with defaults as parameters are.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in inspect.signature(command).parameters.values():
        hint = hints[parameter.name]
        if is_dataclass(hint):
            groups[parameter.name] = hint
            options = get_type_hints(hint, include_extras=True)
            parameters += [_parameter(one, options[one.name]) for one in fields(hint)]
        else:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(annotation=hint, kind=kind))

    @wraps(command)
    def call(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{one.name: given.pop(one.name) for one in fields(group)})
        command(**given)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {}  # Typer would prefer those of the command
    return call


def _parameter(option: "Field[Any]", hint: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if option.default is MISSING else option.default
    if option.default_factory is not MISSING:
        default = option.default_factory()
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions:
    """The options that `compare` and `report` share; named as the arguments of `api.compare_paths`."""

    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Runs by folder or address, folders of runs, or a study."),
    ]
    metrics: Annotated[
        list[str],
        typer.Option("--metric", metavar="M", help="Compare this metric; by default, all. May be repeated."),
    ] = field(default_factory=list)
    primary: Annotated[
        str | None,
        typer.Option(metavar="M", help="The metric that findings are about; by default, the first."),
    ] = None
    baseline: Annotated[
        str | None, typer.Option(metavar="ARM", help="The arm that the others are compared with.")
    ] = None
    dataset: Annotated[str | None, typer.Option(metavar="D", help="Take evaluations on this dataset.")] = None
    protocol: Annotated[
        str | None, typer.Option(metavar="P", help="Take evaluations under this protocol.")
    ] = None
    split: Annotated[str | None, typer.Option(metavar="S", help="Take evaluations on this split.")] = None
    masks: Annotated[
        str | None,
        typer.Option(metavar="decoder|attention", help="Take evaluations of masks from this source."),
    ] = None
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", metavar="best|last|STEP", help="Take evaluations of this checkpoint."),
    ] = None
    evaluation: Annotated[
        list[str],
        typer.Option(
            "--evaluation",
            metavar="FACT=VALUE",
            help="Take evaluations with this fact, such as slots=11; the facts are filter, data, plugins, "
            "images, slots and range. May be repeated.",
        ),
    ] = field(default_factory=list)
    failed_below: Annotated[
        float | None,
        typer.Option(
            "--failed-below", metavar="X", help="Count runs with a worse primary metric as not bound."
        ),
    ] = None
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="Also test arms without pairing their seeds (Welch).")
    ] = False
    also: Annotated[
        list[str],
        typer.Option(
            "--also",
            metavar="WHAT",
            help="Also test the primary metric so: effects (of axes and their interactions), all-pairs "
            "(Tukey, Holm), dunnett, published (against published means), profiles (and the probability "
            "of improvement). May be repeated.",
        ),
    ] = field(default_factory=list)
    equivalent_within: Annotated[
        float | None,
        typer.Option(
            "--equivalent-within", metavar="X", help="Test that arms differ from the baseline by less than X."
        ),
    ] = None
    tasks: Annotated[
        str | None,
        typer.Option(metavar="AXIS", help="With --also profiles: the axis whose values are tasks."),
    ] = None
    across: Annotated[
        list[str],
        typer.Option(
            "--across",
            metavar="FACT",
            help="Let arms differ in this fact: protocol, dataset, versions, ... May be repeated.",
        ),
    ] = field(default_factory=list)
    allow_unfinished: Annotated[
        bool, typer.Option("--allow-unfinished", help="Count runs that were evaluated but are not finished.")
    ] = False
    per_image: Annotated[
        bool,
        typer.Option("--per-image", help="Also compare single checkpoints over images, by bootstrap."),
    ] = False
    probes: Annotated[
        bool, typer.Option("--probes", help="Compare the runs' probes in place of their evaluations.")
    ] = False
