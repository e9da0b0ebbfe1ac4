"""Under which conditions a trained run is evaluated: protocols and variants laid over its spec.

A condition is the run's spec with other data and another way of scoring. What the model sees keeps the
value range that it was trained on, whatever the protocol says: crop, size, resize, splits and metrics
follow the protocol, and each metric's definition names the range that it measures in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from slotlab.framework.contracts import MaskSource
from slotlab.framework.model.check import check_parts
from slotlab.framework.spec.cautions import cautions
from slotlab.framework.spec.errors import Path, PathProblem, SpecError, shorten
from slotlab.framework.spec.identity import canonical
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.messages import say
from slotlab.framework.spec.protocol import ProtocolConfig
from slotlab.framework.spec.schema import EvaluationSpec, ExperimentSpec, MetricRefs
from slotlab.framework.spec.tree import parse
from slotlab.framework.system.file_names import fault
from slotlab.registry import Ref, RefTo, Registry, SlotlabError
from slotlab.registry.component import suggest

Masks = Literal["decoder", "attention", "both"]
BOTH: tuple[MaskSource, ...] = ("decoder", "attention")
NO_MASKS = ("evaluation", "mask_source")
"""Where `check_parts` says that a decoder has no masks."""
_PROTOCOL: TypeAdapter[Ref] = TypeAdapter(Annotated[Ref, RefTo("protocol")])
_METRICS: TypeAdapter[tuple[Ref, ...]] = TypeAdapter(MetricRefs)
_HINTS: Mapping[Path, str] = {
    NO_MASKS: ", or --masks attention",
    ("evaluation", "split"): "; choose one with --split",
}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to evaluate a run under; each protocol with each variant."""

    protocols: Sequence[str] = ()
    """Names, or blocks with other settings (`{name: seed, image_size: 64}`); none for the spec's own."""
    variants: Sequence[str] = ()
    """Of the data; none for the one that the protocol names, else the one trained on."""
    split: str | None = None
    """None for the protocol's, else the spec's."""
    masks: Masks | None = None
    """None for the protocol's, else the spec's."""


@dataclass(frozen=True)
class Condition:
    """One set of images and one way of scoring."""

    loaded: LoadedSpec
    """The run's spec with the condition laid over it; `evaluation.mask_source` is the first source."""
    sources: tuple[MaskSource, ...]
    """Of the masks that are scored."""
    variant: str | None
    """Of the data, if it is not the one trained on."""

    @property
    def spec(self) -> ExperimentSpec:
        """The laid-over spec."""
        return self.loaded.spec

    @property
    def warnings(self) -> list[str]:
        """What is allowed and rarely meant."""
        return self.loaded.error(cautions(self.spec, trained=True)).lines()

    @property
    def warnings_of_data(self) -> list[str]:
        """What of them is about the pictures, which whoever reads the numbers should know."""
        found = self.loaded.error(cautions(self.spec, trained=True)).problems
        return [problem.text for problem in found if problem.path[:1] == ("data",)]

    def of(self, source: MaskSource) -> LoadedSpec:
        """Return the spec for one source of masks."""
        return _with_evaluation(self.loaded, mask_source=source)

    @property
    def base(self) -> str:
        """Names what is the same whatever the source of masks: DATASET[-VARIANT]-SPLIT-PROTOCOL."""
        data, split = self.spec.data, self.spec.evaluation.split
        variant = () if self.variant is None else (self.variant,)
        return "-".join((data.dataset.name, *variant, split, data.protocol.name))

    def name(self, source: MaskSource) -> str:
        """Return the name of the evaluation's folder: DATASET[-VARIANT]-SPLIT-PROTOCOL-MASKS."""
        return f"{self.base}-{source}"


def own_condition(loaded: LoadedSpec) -> Condition:
    """Return what a spec says itself of its evaluation."""
    return Condition(loaded, (loaded.spec.evaluation.mask_source,), None)


def conditions(loaded: LoadedSpec, wanted: Wanted) -> list[Condition]:
    """Return the conditions that are wanted, in the order of variants and protocols.

    Raises:
        SlotlabError: with everything that cannot be, for all of them.
    """
    named = [read_protocol(text, loaded) for text in wanted.protocols]
    refs: list[Ref | None] = [*named] or [None]
    problems: list[str] = []
    found: list[Condition] = []
    for variant in wanted.variants or (None,):
        for ref in refs:
            try:
                found.append(_condition(loaded, wanted, ref, variant))
            except SlotlabError as error:
                problems += error.lines()
    problems += _twice(found)
    if problems:
        raise Conflicts(problems)
    return found


def _twice(found: Sequence[Condition]) -> list[str]:
    """Say which conditions are the same one."""
    every = [
        (
            condition.name(source),
            canonical(condition.of(source).spec.data.model_copy(update={"value_range": None})),
            condition.spec.data.range_name,
            canonical(condition.of(source).spec.evaluation),
        )
        for condition in found
        for source in condition.sources
    ]
    twice = dict.fromkeys(one[0] for number, one in enumerate(every) if one in every[:number])
    return [
        f"two evaluations would be called {name}: they are the same; ask for one of them" for name in twice
    ]


class Conflicts(SlotlabError):  # noqa: N818 - several mistakes
    """Everything about conditions that cannot be."""

    def __init__(self, problems: Sequence[str]):
        self._lines = list(dict.fromkeys(problems))
        super().__init__("\n".join(self._lines))

    def lines(self) -> list[str]:
        """One line for each mistake."""
        return self._lines


def read_protocol(text: str, loaded: LoadedSpec) -> Ref:
    """Return the protocol of a name or a block; the spec's own name stands for the spec's own settings.

    Raises:
        SlotlabError: if there is none, or its settings are not valid.
    """
    own = loaded.spec.data.protocol
    return own if text.strip() == own.name else find_protocol(text, loaded.registry)


def find_protocol(text: str, registry: Registry) -> Ref:
    """Return the protocol of a name or a block (`{name: seed, image_size: 64}`).

    Raises:
        SlotlabError: if there is none, or its settings are not valid.
    """
    try:
        block = parse(text, origin=f"--protocol {shorten(text)}", folder=FilePath()).plain()
    except SpecError as error:
        raise SlotlabError(str(error)) from None
    try:
        ref = _PROTOCOL.validate_python(block, context={"registry": registry})
    except ValidationError as error:
        raise SlotlabError(f"--protocol {shorten(text)}: {_said(error)}") from None
    if not isinstance(ref.config, ProtocolConfig):
        text = f"the settings of '{ref.name}' are no ProtocolConfig (slotlab.framework.spec.protocol)"
        raise SlotlabError(text)
    return ref


def metric_refs(ref: Ref, registry: Registry) -> tuple[Ref, ...]:
    """Return the metrics of a protocol, none if it names none.

    Raises:
        SlotlabError: if one is not known, or its settings are not valid.
    """
    assert isinstance(ref.config, ProtocolConfig)
    names = ref.config.evaluation.metrics
    if not names:
        return ()
    try:
        return _METRICS.validate_python(names, context={"registry": registry})
    except ValidationError as error:
        raise SlotlabError(f"protocol '{ref.name}': {_said(error)}") from None


def chosen_metrics(ref: Ref | None, names: str | None, registry: Registry) -> tuple[Ref, ...]:
    """Return the metrics of a list (`ari,mbo`); without one the protocol's, else the usual ones.

    Args:
        ref: a protocol.
        names: with commas; or in brackets, with settings: `[ari, {name: boundary_f, tolerance: 0.01}]`.
        registry: that knows them.

    Raises:
        SlotlabError: if one is not known, or given twice.
    """
    if names is None and ref is not None:
        found = metric_refs(ref, registry)
        if found:
            return found
    wanted = EvaluationSpec.model_fields["metrics"].default if names is None else _listed(names)
    try:
        chosen = _METRICS.validate_python(wanted, context={"registry": registry})
    except ValidationError as error:
        raise SlotlabError(f"--metrics {shorten(str(names))}: {_said(error)}") from None
    twice = [one.name for one in chosen if [other.name for other in chosen].count(one.name) > 1]
    if twice:
        raise SlotlabError(f"--metrics {names}: '{twice[0]}' is given twice; keep one")
    return chosen


def _listed(names: str) -> Any:
    if names.lstrip().startswith("["):
        try:
            return parse(names, origin=f"--metrics {shorten(names)}", folder=FilePath()).plain()
        except SpecError as error:
            raise SlotlabError(str(error)) from None
    found = tuple(name.strip() for name in names.split(",") if name.strip())
    if not found:
        raise SlotlabError("--metrics names no metric; write such as --metrics ari,fg_ari")
    return found


def _said(error: ValidationError) -> str:
    # A list whose items are wrong is also called too short; the number of an item says nothing here.
    details = [detail for detail in error.errors() if detail["type"] != "too_short"] or error.errors()
    parts = [(".".join(part for part in d["loc"] if isinstance(part, str)), say(d)) for d in details]
    return "; ".join(f"{where}: {text}" if where else text for where, text in parts)


def _condition(loaded: LoadedSpec, wanted: Wanted, ref: Ref | None, variant: str | None) -> Condition:
    spec = loaded.spec
    scoring = ref.config.evaluation if ref is not None and isinstance(ref.config, ProtocolConfig) else None
    data, evaluation = spec.data, spec.evaluation
    changes: dict[str, Any] = {"split": wanted.split or (scoring and scoring.split) or evaluation.split}
    masks: Masks = wanted.masks or (scoring and scoring.masks) or evaluation.mask_source
    if ref is not None:
        data = data.model_copy(update={"protocol": ref, "value_range": data.range_name})
        changes["metrics"] = metric_refs(ref, loaded.registry) or evaluation.metrics
    asked = variant or (scoring.variant if scoring else None)
    chosen = None
    if asked is not None:
        by = (
            f"--variant {asked}"
            if variant
            else f"protocol '{ref.name if ref else ''}' scores the variant '{asked}'"
        )
        dataset = with_variant(data.dataset, asked, by, loaded.registry)
        chosen = asked if asked != getattr(spec.data.dataset.config, "variant", None) else None
        data = data.model_copy(update={"dataset": dataset})
    sources = BOTH if masks == "both" else (masks,)
    laid = _with_evaluation(_with_data(loaded, data), **changes, mask_source=sources[0])
    return _checked(laid, sources, chosen, trained=spec.data.image_size)


def with_variant(dataset: Ref, variant: str, by: str, registry: Registry) -> Ref:
    """Return a dataset with another variant of its data.

    Raises:
        SlotlabError: if it has none, or not this one; `by` says who wants it.
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
            f"{by}: the dataset '{dataset.name}' has no variants ({' and '.join(others)} have)"
        )
    known = get_args(field.annotation)
    if known and variant not in known:
        hint = f"{suggest(variant, known)} (variants: {', '.join(known)})"
        raise SlotlabError(f"{by}: '{dataset.name}' has no variant '{variant}'{hint}")
    if (reason := fault(variant)) is not None:
        raise SlotlabError(f"{shorten(by, 200)}: a variant names the evaluation's folder: {reason}")
    settings = {name: getattr(dataset.config, name) for name in kind.model_fields}
    try:
        config = kind.model_validate(settings | {"variant": variant}, context={"registry": registry})
    except ValidationError as error:
        raise SlotlabError(f"{by}: {_said(error)}") from None
    return replace(dataset, config=config)


def _checked(
    laid: LoadedSpec, sources: tuple[MaskSource, ...], variant: str | None, *, trained: int
) -> Condition:
    problems = _problems(laid)
    if sources == BOTH and [problem.path for problem in problems] == [NO_MASKS]:
        sources = ("attention",)  # what the model has
        laid = _with_evaluation(laid, mask_source="attention")
        problems = _problems(laid)
    size = laid.spec.data.image_size
    if problems and size != trained:
        reasons = "; ".join(map(str, problems))
        raise SlotlabError(
            f"protocol {laid.spec.data.protocol_name} has images of {size} pixels, and the model was "
            f"trained on {trained} and cannot take them: {reasons}"
        )
    if problems:
        raise Conflicts([f"{problem}{_HINTS.get(problem.path, '')}" for problem in problems])
    return Condition(laid, sources, variant)


def _problems(laid: LoadedSpec) -> list[PathProblem]:
    # Nothing is trained any more: another protocol need not know the split that was trained on, and which
    # checkpoint there is was asked of the run's spec.
    known = (("data", "train_split"), ("evaluation", "checkpoint"))
    return [problem for problem in check_parts(laid.spec) if problem.path not in known]


def _with_data(loaded: LoadedSpec, data: BaseModel) -> LoadedSpec:
    return replace(loaded, spec=loaded.spec.model_copy(update={"data": data}))


def _with_evaluation(loaded: LoadedSpec, **changes: Any) -> LoadedSpec:
    """Change what is evaluated; what a training alone looks at is left out, so that it fits anything."""
    spec = loaded.spec
    checkpoint = spec.training.checkpoint.model_copy(update={"best": None})
    training = spec.training.model_copy(update={"checkpoint": checkpoint, "trackers": ()})
    evaluation = spec.evaluation.model_copy(update=changes)
    return replace(loaded, spec=spec.model_copy(update={"training": training, "evaluation": evaluation}))
