"""How a decoder makes pictures: the part `sampling` of its settings, which an evaluation may change.

It has no effect on a training, and so is not part of a run's identity; it is a fact of an evaluation.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from slotlab.framework.spec.errors import PathProblem
from slotlab.registry import ClosedModel, Ref
from slotlab.registry.component import suggest

PATH = ("evaluation", "sampling")


def sampling_of(model: Ref) -> ClosedModel | None:
    """Return the settings by which the decoder of a model makes pictures; None if it has none."""
    decoder = getattr(model.config, "decoder", None)
    found = getattr(decoder.config, "sampling", None) if isinstance(decoder, Ref) else None
    return found if isinstance(found, ClosedModel) else None


def with_sampling(model: Ref, changes: Mapping[str, Any] | None) -> Ref:
    """Return a model whose decoder makes pictures by other settings.

    Raises:
        PathProblem: if it has no such settings, or cannot have these.
    """
    if not changes:
        return model
    own = sampling_of(model)
    decoder = getattr(model.config, "decoder", None)
    if own is None or not isinstance(decoder, Ref):
        who = f"decoder '{decoder.name}'" if isinstance(decoder, Ref) else f"model '{model.name}'"
        raise PathProblem(PATH, f"the {who} has no settings of how it draws pictures; leave 'sampling' out")
    known = type(own).model_fields
    for name in changes:
        if name not in known:
            text = f"'{name}' is no setting of how the decoder '{decoder.name}' draws pictures"
            hint = f"{suggest(name, known)} (settings: {', '.join(known)})"
            raise PathProblem((*PATH, name), f"{text}{hint}")
    try:
        sampling = type(own).model_validate({**own.model_dump(), **changes})
    except ValidationError as error:
        [first, *_] = error.errors()
        raise PathProblem((*PATH, *first["loc"]), str(first["msg"])) from None
    config = decoder.config.model_copy(update={"sampling": sampling})
    whole = model.config.model_copy(update={"decoder": replace(decoder, config=config)})
    return replace(model, config=whole)
