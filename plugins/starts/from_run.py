"""The weights of a trained run: of its whole model, or of some parts, which may lie elsewhere in this one.

For recipes in stages, such as AdaSlot's (Fan et al. 2024), whose model starts from one that was trained to
keep all slots.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated

from annotated_types import Len
from torch import Tensor

from slotlab.framework.contracts import StartContext
from slotlab.framework.model.trained_input import trained_model
from slotlab.framework.runs.run_input import RunInput
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import suggest

ALL = ""
"""The path of the whole model."""


class FromRunConfig(ComponentConfig):
    """Settings of a start from a run."""

    source: RunInput
    """The run: `{run: ../runs/demo}`. Averaged weights are taken, if it has any."""
    parts: Annotated[Mapping[str, str], Len(1)] | None = None
    """What is taken, by the part of this model that gets it and the part of the run's model that it is:
    `{encoder: encoder, grouping.grouping: grouping}`. All weights of a part must be there, and no more. Null
    for the whole model."""


def weights(config: FromRunConfig, context: StartContext) -> Mapping[str, Tensor]:
    """Return the run's weights by their names in this model."""
    _, model = trained_model(config.source, field="source")
    theirs = model.state_dict()
    if config.parts is None:
        return moved(theirs, ALL, ALL, context, field="source")
    found: dict[str, Tensor] = {}
    for here, there in config.parts.items():
        found |= moved(theirs, here, there, context, field="parts")
    return found


def moved(
    theirs: Mapping[str, Tensor], here: str, there: str, context: StartContext, *, field: str
) -> dict[str, Tensor]:
    """Return the weights of part `there`, by the names that they have in part `here` of this model.

    Raises:
        ComponentError: if there is no such part, or the two do not have the same weights.
    """
    wanted, given = inside(context.shapes, here), inside(theirs, there)
    if not wanted:
        raise ComponentError(f"this model {without(here, context.shapes)}", field=field)
    if not given:
        raise ComponentError(f"the run's model {without(there, theirs)}", field=field)
    lacking, left = [one for one in wanted if one not in given], [one for one in given if one not in wanted]
    what = f"its '{there}'" if there else "it"
    if lacking:
        text = f"{what} lacks {len(lacking)} of {len(wanted)} weights, such as '{joined(there, lacking[0])}'"
        raise ComponentError(f"{text}; {HINT}", field=field)
    if left:
        text = f"{what} has {len(left)} weights that this model lacks, such as '{joined(there, left[0])}'"
        raise ComponentError(f"{text}; {HINT}", field=field)
    return {joined(here, name): theirs[joined(there, name)] for name in wanted}


HINT = "name under 'parts' what is to be taken, as {encoder: encoder}"


def without(part: str, names: Iterable[str]) -> str:
    """Return words for a part that is not there, with those that are."""
    known = sorted({name.partition(".")[0] for name in names})
    return f"has no weights in a part '{part}'{suggest(part, known)} (parts: {', '.join(known)})"


def inside(names: Iterable[str], part: str) -> list[str]:
    """Return what follows the part's path in the names of its weights, in their order."""
    start = joined(part, "")
    return [name.removeprefix(start) for name in names if name.startswith(start)]


def joined(part: str, name: str) -> str:
    """Return the whole name of a weight of a part."""
    return f"{part}.{name}" if part else name


@hookimpl
def slotlab_starts() -> Iterable[Component[FromRunConfig]]:
    """Provide `from_run`."""
    yield Component(
        name="from_run",
        config=FromRunConfig,
        build=weights,
        summary="starts a training from the weights of a run, or of some of its parts",
    )
