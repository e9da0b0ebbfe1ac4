"""Names and blocks that a user writes, resolved to protocols, metrics and variants of data."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import TypeAdapter, ValidationError

from slotlab.framework.spec.errors import SpecError, shorten
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.messages import say
from slotlab.framework.spec.protocol import ProtocolConfig
from slotlab.framework.spec.schema import EvaluationSpec, MetricRefs
from slotlab.framework.spec.tree import parse
from slotlab.framework.system.file_names import fault
from slotlab.registry import Ref, RefTo, Registry, SlotlabError
from slotlab.registry.component import suggest

_PROTOCOL: TypeAdapter[Ref] = TypeAdapter(Annotated[Ref, RefTo("protocol")])
_METRICS: TypeAdapter[tuple[Ref, ...]] = TypeAdapter(MetricRefs)


def read_protocol(text: str, loaded: LoadedSpec) -> Ref:
    """Return the protocol of a name or a block; the name of the spec's protocol keeps its settings.

    Raises:
        SlotlabError: if there is no such protocol, or its settings are not valid.
    """
    own = loaded.spec.data.protocol
    return own if text.strip() == own.name else find_protocol(text, loaded.registry)


def find_protocol(text: str, registry: Registry) -> Ref:
    """Return the protocol of a name or a block (`{name: seed, image_size: 64}`).

    Raises:
        SlotlabError: if there is no such protocol, or its settings are not valid.
    """
    try:
        block = parse(text, origin=f"--protocol {shorten(text)}", folder=Path()).plain()
    except SpecError as error:
        raise SlotlabError(str(error)) from None
    try:
        ref = _PROTOCOL.validate_python(block, context={"registry": registry})
    except ValidationError as error:
        raise SlotlabError(f"--protocol {shorten(text)}: {explained(error)}") from None
    if not isinstance(ref.config, ProtocolConfig):
        text = f"'{ref.name}' is not made by slotlab.images.protocol, which every protocol is"
        raise SlotlabError(text)
    return ref


def metric_refs(ref: Ref, registry: Registry) -> tuple[Ref, ...]:
    """Return the metrics of a protocol; empty if it names none.

    Raises:
        SlotlabError: if a metric is not known, or its settings are not valid.
    """
    assert isinstance(ref.config, ProtocolConfig)
    names = ref.config.evaluation.metrics
    if not names:
        return ()
    try:
        return _METRICS.validate_python(names, context={"registry": registry})
    except ValidationError as error:
        raise SlotlabError(f"protocol '{ref.name}': {explained(error)}") from None


def chosen_metrics(ref: Ref | None, names: str | None, registry: Registry) -> tuple[Ref, ...]:
    """Return the metrics of a list (`ari,mbo`); without one the protocol's, else the spec's default ones.

    Args:
        ref: a protocol.
        names: separated by commas; or in brackets, with settings:
            `[ari, {name: boundary_f, tolerance: 0.01}]`.
        registry: where the metrics are looked up.

    Raises:
        SlotlabError: if a metric is not known, or given twice.
    """
    if names is None and ref is not None:
        found = metric_refs(ref, registry)
        if found:
            return found
    wanted = EvaluationSpec.model_fields["metrics"].default if names is None else _listed(names)
    try:
        chosen = _METRICS.validate_python(wanted, context={"registry": registry})
    except ValidationError as error:
        raise SlotlabError(f"--metrics {shorten(str(names))}: {explained(error)}") from None
    twice = [one.name for one in chosen if [other.name for other in chosen].count(one.name) > 1]
    if twice:
        raise SlotlabError(f"--metrics {names}: '{twice[0]}' is given twice; keep one")
    return chosen


def _listed(names: str) -> Any:
    if names.lstrip().startswith("["):
        try:
            return parse(names, origin=f"--metrics {shorten(names)}", folder=Path()).plain()
        except SpecError as error:
            raise SlotlabError(str(error)) from None
    found = tuple(name.strip() for name in names.split(",") if name.strip())
    if not found:
        raise SlotlabError("--metrics names no metric; write such as --metrics ari,fg_ari")
    return found


def with_variant(dataset: Ref, variant: str, source: str, registry: Registry) -> Ref:
    """Return a dataset with another variant of its data.

    `source` begins the messages: the option or the protocol that asks for the variant.

    Raises:
        SlotlabError: if the dataset has no variants, or not this one.
    """
    kind = type(dataset.config)
    field = kind.model_fields.get("variant")
    if field is None:
        others = [
            item.component.name
            for item in registry.all("dataset")
            if "variant" in item.component.config.model_fields
        ]
        raise SlotlabError(
            f"{source}: the dataset '{dataset.name}' has no variants ({' and '.join(others)} have)"
        )
    known = get_args(field.annotation)
    if known and variant not in known:
        hint = f"{suggest(variant, known)} (variants: {', '.join(known)})"
        raise SlotlabError(f"{source}: '{dataset.name}' has no variant '{variant}'{hint}")
    if (reason := fault(variant)) is not None:
        raise SlotlabError(f"{shorten(source, 200)}: a variant names the evaluation's folder: {reason}")
    settings = {name: getattr(dataset.config, name) for name in kind.model_fields}
    try:
        config = kind.model_validate(settings | {"variant": variant}, context={"registry": registry})
    except ValidationError as error:
        raise SlotlabError(f"{source}: {explained(error)}") from None
    return replace(dataset, config=config)


def explained(error: ValidationError) -> str:
    """Return pydantic's complaints in slotlab's words, on one line."""
    # A list whose items are wrong is also called too short; the number of an item says nothing here.
    details = [detail for detail in error.errors() if detail["type"] != "too_short"] or error.errors()
    parts = [(".".join(part for part in d["loc"] if isinstance(part, str)), say(d)) for d in details]
    return "; ".join(f"{where}: {text}" if where else text for where, text in parts)
