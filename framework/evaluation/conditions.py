"""The conditions under which a trained run is evaluated: protocols and variants laid over its spec.

A condition is the run's spec with other data and another way of scoring. The images that the model sees
keep the value range of the training, whatever the protocol says: crop, size, resize, splits and metrics
follow the protocol, and each metric's definition names the range that it measures in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel

from slotlab.framework.contracts import MaskSource, Size
from slotlab.framework.contracts.dataset_settings import variant_of
from slotlab.framework.evaluation.choices import metric_refs, read_protocol, with_variant
from slotlab.framework.model.check import check_parts
from slotlab.framework.spec.cautions import cautions
from slotlab.framework.spec.errors import Path, PathProblem
from slotlab.framework.spec.identity import canonical
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.protocol import ProtocolConfig
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.spec.sides import in_pixels
from slotlab.registry import Ref, SlotlabError

MaskChoice = Literal["decoder", "attention", "both"]
BOTH: tuple[MaskSource, ...] = ("decoder", "attention")
NO_MASKS = ("evaluation", "mask_source")
"""The path at which `check_parts` reports that a decoder has no masks."""
_HINTS: Mapping[Path, str] = {
    NO_MASKS: ", or --masks attention",
    ("evaluation", "split"): "; choose one with --split",
}


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What a user wants evaluated: each protocol with each variant."""

    protocols: Sequence[str] = ()
    """Names, or blocks with other settings (`{name: seed, image_size: 64}`); empty for the spec's own."""
    variants: Sequence[str] = ()
    """Variants of the data; empty for the protocol's, else the one trained on."""
    split: str | None = None
    """None for the protocol's, else the spec's."""
    masks: MaskChoice | None = None
    """None for the protocol's, else the spec's."""


@dataclass(frozen=True)
class Condition:
    """One set of images and one way of scoring."""

    loaded: LoadedSpec
    """The run's spec with the condition laid over it; `evaluation.mask_source` is the first source."""
    sources: tuple[MaskSource, ...]
    """Where the scored masks come from: the decoder, the attention, or both."""
    variant: str | None
    """The variant of the data; None for the one trained on."""

    @property
    def spec(self) -> ExperimentSpec:
        """The run's spec with the condition laid over it."""
        return self.loaded.spec

    @property
    def warnings(self) -> list[str]:
        """Settings that are allowed but rarely intended, each as a line."""
        return self.loaded.error(cautions(self.spec, trained=True)).lines()

    @property
    def warnings_of_data(self) -> list[str]:
        """Those warnings about the data that a reader of the numbers should know."""
        found = self.loaded.error(cautions(self.spec, trained=True)).problems
        return [problem.text for problem in found if problem.path[:1] == ("data",)]

    def of(self, source: MaskSource) -> LoadedSpec:
        """Return the spec for one source of masks."""
        return _with_evaluation(self.loaded, mask_source=source)

    @property
    def base(self) -> str:
        """The name without the source of masks: DATASET[-VARIANT]-SPLIT-PROTOCOL."""
        data, split = self.spec.data, self.spec.evaluation.split
        variant = () if self.variant is None else (self.variant,)
        return "-".join((data.dataset.name, *variant, split, data.protocol.name))

    def name(self, source: MaskSource) -> str:
        """Return the name of the evaluation's folder: DATASET[-VARIANT]-SPLIT-PROTOCOL-MASKS."""
        return f"{self.base}-{source}"


def own_condition(loaded: LoadedSpec) -> Condition:
    """Return the condition that a spec itself declares for its evaluation."""
    return Condition(loaded, (loaded.spec.evaluation.mask_source,), None)


def conditions(loaded: LoadedSpec, wanted: EvaluationRequest) -> list[Condition]:
    """Return the requested conditions, in the order of variants and then protocols.

    Raises:
        SlotlabError: with everything that is invalid about any of them.
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
    problems += _repeated(found)
    if problems:
        raise Conflicts(problems)
    return found


def _repeated(found: Sequence[Condition]) -> list[str]:
    """Return a message for each condition that was requested twice."""
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
    """All invalid evaluation conditions, reported together."""

    def __init__(self, problems: Sequence[str]):
        self._lines = list(dict.fromkeys(problems))
        super().__init__("\n".join(self._lines))

    def lines(self) -> list[str]:
        """One line for each mistake."""
        return self._lines


def _condition(
    loaded: LoadedSpec, wanted: EvaluationRequest, ref: Ref | None, variant: str | None
) -> Condition:
    spec = loaded.spec
    scoring = ref.config.evaluation if ref is not None and isinstance(ref.config, ProtocolConfig) else None
    data, evaluation = spec.data, spec.evaluation
    changes: dict[str, Any] = {"split": wanted.split or (scoring and scoring.split) or evaluation.split}
    masks: MaskChoice = wanted.masks or (scoring and scoring.masks) or evaluation.mask_source
    if ref is not None:
        data = data.model_copy(update={"protocol": ref, "value_range": data.range_name})
        changes["metrics"] = metric_refs(ref, loaded.registry) or evaluation.metrics
    requested = variant or (scoring.variant if scoring else None)
    chosen = None
    if requested is not None:
        source = (
            f"--variant {requested}"
            if variant
            else f"protocol '{ref.name if ref else ''}' scores the variant '{requested}'"
        )
        dataset = with_variant(data.dataset, requested, source, loaded.registry)
        chosen = requested if requested != variant_of(spec.data.dataset.config) else None
        data = data.model_copy(update={"dataset": dataset})
    if spec.evaluated_slots is None:  # no slots have no masks: one evaluation, whatever is asked for
        masks = evaluation.mask_source
    sources = BOTH if masks == "both" else (masks,)
    laid = _with_evaluation(_with_data(loaded, data), **changes, mask_source=sources[0])
    return _checked(laid, sources, chosen, trained=spec.data.size)


def _checked(
    laid: LoadedSpec, sources: tuple[MaskSource, ...], variant: str | None, *, trained: Size
) -> Condition:
    problems = _problems(laid)
    if sources == BOTH and [problem.path for problem in problems] == [NO_MASKS]:
        sources = ("attention",)  # what the model has
        laid = _with_evaluation(laid, mask_source="attention")
        problems = _problems(laid)
    size = laid.spec.data.size
    if problems and size != trained:
        reasons = "; ".join(map(str, problems))
        raise SlotlabError(
            f"protocol {laid.spec.data.protocol_name} has images of {in_pixels(size)} pixels, and the model "
            f"was trained on {in_pixels(trained)} and cannot take them: {reasons}"
        )
    if problems:
        raise Conflicts([f"{problem}{_HINTS.get(problem.path, '')}" for problem in problems])
    return Condition(laid, sources, variant)


def _problems(laid: LoadedSpec) -> list[PathProblem]:
    # The training is over: another protocol need not know the split that was trained on, and the checkpoint
    # was checked with the run's own spec.
    known = (("data", "train_split"), ("evaluation", "checkpoint"))
    return [problem for problem in check_parts(laid.spec) if problem.path not in known]


def _with_data(loaded: LoadedSpec, data: BaseModel) -> LoadedSpec:
    return replace(loaded, spec=loaded.spec.model_copy(update={"data": data}))


def _with_evaluation(loaded: LoadedSpec, **changes: Any) -> LoadedSpec:
    """Change the evaluation, and drop the settings of a training that refer to its metrics."""
    spec = loaded.spec
    checkpoint = spec.training.checkpoint.model_copy(update={"best": None})
    training = spec.training.model_copy(update={"checkpoint": checkpoint, "trackers": ()})
    evaluation = spec.evaluation.model_copy(update=changes)
    return replace(loaded, spec=spec.model_copy(update={"training": training, "evaluation": evaluation}))
