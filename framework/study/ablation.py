"""The typed sections of an ablation file. Data only: nothing is expanded or built here."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from annotated_types import Len, Lt
from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from slotlab.framework.spec.merge import SHIPPED
from slotlab.framework.spec.paths import SpecPath, resolve
from slotlab.framework.spec.schema import Name
from slotlab.framework.study.labels import label, labelled, labelled_specs
from slotlab.registry import ClosedModel, Ref, RefTo
from slotlab.registry.component import custom_error

AxisName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
EXTENDS = "extends"
"""The path of an axis whose values are whole specs."""
AxisLabels = Mapping[str, Any]
"""Label by axis: a part of the grid."""


class AxisSpec(ClosedModel):
    """One thing that is varied."""

    name: AxisName
    """Names the axis in arms: `slots` in `slots=5`."""
    path: str | None = None
    """The spec path that each value is laid over, such as `model.encoder`; `extends` for values that are
    specs, each in place of the base; None for values that are blocks of several settings."""
    values: Annotated[Mapping[str, Any], Len(1)]
    """Value by label; the labels of a list are made: a component's name, or the value as text. Without
    `path` a value is a block of settings by their spec path: `{model.slots: 5, training.batch_size: 8}`."""

    @field_validator("values", mode="before")
    @classmethod
    def _labels(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, list):
            return value
        found = labelled_specs(value) if info.data.get("path") == EXTENDS else labelled(value)
        if isinstance(found, str):
            raise custom_error("axis_labels", found)
        return found

    @field_validator("values")
    @classmethod
    def _named_specs(cls, value: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
        """Make the files of specs absolute, so that the study's own copy of the ablation names them too."""
        if info.data.get("path") != EXTENDS:
            return value
        wrong = next((one for one in value.values() if not isinstance(one, str)), None)
        if wrong is not None:
            text = f"'path: {EXTENDS}' takes specs, files or slotlab:NAME, not {label(wrong)}"
            raise custom_error("axis_specs", text)
        return {key: _place(one) for key, one in value.items()}

    @model_validator(mode="after")
    def _blocks_without_path(self) -> "AxisSpec":
        if self.path is None and not all(isinstance(item, Mapping) and item for item in self.values.values()):
            text = "give the axis a 'path', or values that are blocks of settings: {small: {model.slots: 5}}"
            raise custom_error("axis_path", text)
        return self


def _place(value: Any) -> Any:
    """Return the name of a shipped spec as it is, and a file's path made absolute."""
    return value if isinstance(value, str) and value.startswith(SHIPPED) else str(resolve(value))


class FirstSpec(ClosedModel):
    """A run that is trained before the arms, which all of them share."""

    spec: Annotated[str, BeforeValidator(_place)]
    """Its spec: a file relative to this one, or slotlab:NAME."""
    run: SpecPath
    """Its folder, relative to this file: the one that the base spec or an axis names."""


class SequentialSpec(ClosedModel):
    """A rule for looking at a study before all of its seeds are there, fixed before the first run."""

    rule: Literal["obrien_fleming", "pocock"]
    """How alpha is spent over the looks: little at first, or evenly (Lan and DeMets 1983)."""
    looks: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Len(2)]
    """After how many of the seeds one looks, rising; the last is the number of all seeds."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """The two-sided level of all looks together."""

    @field_validator("looks")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(one >= other for one, other in pairwise(value)):
            raise custom_error("looks_rise", "looks are numbers of seeds that rise, such as [3, 5, 8]")
        return value


class SearchSpec(ClosedModel):
    """Arms that are chosen one after the other, by the primary metric of those before."""

    trials: PositiveInt
    """How many arms; a larger number keeps those that a smaller one chose."""
    sampler: str = "TPESampler"
    """A sampler of Optuna that takes a seed, such as `TPESampler`, `RandomSampler` or `GPSampler`."""
    settings: Mapping[str, Any] = {}
    """Settings of the sampler, such as `{n_startup_trials: 5}`."""
    seed: NonNegativeInt = 0
    """The seed of the proposals."""
    patience: PositiveInt = 30
    """How many proposals that were tried already are passed over before one is drawn from the rest."""


class HalvingSpec(ClosedModel):
    """Arms that are stopped early, by a rule that is fixed before the first run: successive halving (Jamieson
    and Talwalkar 2016).

    All arms are trained until a rung; those that are best there go on to the next one, the last to the end.
    """

    rungs: Annotated[tuple[PositiveInt, ...], Len(1)]
    """Steps at which arms are compared, rising: at them `training.watch` measures the first images of the
    evaluation split."""
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The share of arms that go on from a rung, rounded up. The baseline always does."""
    metric: str | None = None
    """By what arms are compared, as the mean over seeds; None for the primary metric."""

    @field_validator("rungs")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(one >= other for one, other in pairwise(value)):
            raise custom_error("rungs_rise", "rungs are steps that rise, such as [500, 2000]")
        return value


class CompareSpec(ClosedModel):
    """What is compared, and with what. Arms are paired by seed."""

    metrics: tuple[str, ...] = ()
    """Names of metrics; empty for all of the spec's `evaluation.metrics`."""
    primary: str | None = None
    """The metric that decides; None for the first of `metrics`."""
    baseline: AxisLabels = Field(default={}, validate_default=True)
    """The arm that the others are compared with, by a label for each axis; empty for the first arm."""
    failed_below: float | None = None
    """A run whose primary metric is worse than this counts as failed to bind; None for no such limit."""
    sequential: SequentialSpec | None = None
    """A rule for looks before all seeds are there; None for one look at the end."""
    equivalent_within: Annotated[float, Field(gt=0)] | None = None
    """Arms that differ from the baseline by less than this, in the primary metric, count as equivalent; None
    for no such test."""


class AblationSpec(ClosedModel):
    """A base spec, what is varied, the seeds, and what is compared."""

    format: Literal[1]
    """Version of the ablation's shape."""
    name: Name
    """Names the study's folder."""
    question: str
    """The question that the study answers, in a sentence."""
    base: str
    """The spec of every arm: a file relative to this one, or slotlab:NAME. An axis with `path: extends` puts
    other specs in its place."""
    first: tuple[FirstSpec, ...] = ()
    """Runs that are trained before the arms, in this order, if they are not there: what arms name as an
    input, such as a codec. They are shared by all arms and seeds."""
    settings: Mapping[str, Any] = {}
    """Laid over the base, for all arms: a part of a spec."""
    axes: Annotated[tuple[AxisSpec, ...], Len(1)]
    """What is varied."""
    sampling: Literal["grid", "list", "random", "search"] = "grid"
    """All combinations of the axes' values; those under `arms`; `count` of them at random; or those that a
    search proposes one after the other."""
    search: SearchSpec | None = None
    """For `sampling: search`: how arms are proposed, such as `{trials: 20}`."""
    halving: HalvingSpec | None = None
    """Which arms are stopped early; None for none."""
    arms: tuple[AxisLabels, ...] = ()
    """For `sampling: list`: a label for each axis, such as `{encoder: cnn, slots: 5}`."""
    count: PositiveInt | None = None
    """For `sampling: random`: how many. A larger number keeps those that a smaller one chose."""
    sampling_seed: NonNegativeInt = 0
    """For `sampling: random`: the seed of the choice."""
    exclude: tuple[Annotated[AxisLabels, Len(1)], ...] = ()
    """Combinations that are left out: labels, or lists of labels, that must all match."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0), Lt(2**63)], ...], Len(1)]
    """Each arm is trained once with each seed."""
    compare: CompareSpec = Field(default={}, validate_default=True)
    """What is compared."""
    launcher: Annotated[Ref, RefTo("launcher")] = Field(default="local", validate_default=True)
    """Where the runs are started. Does not change results."""
    retries: NonNegativeInt = 1
    """How often a run that failed is started again, from its last checkpoint, before it counts as failed."""

    @field_validator("seeds")
    @classmethod
    def _seeds_once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        twice = sorted({seed for seed in value if value.count(seed) > 1})
        if twice:
            raise custom_error("seeds_twice", f"seed {label(twice[0])} is given twice; keep one")
        return value

    @field_validator("axes")
    @classmethod
    def _axes_once(cls, value: tuple[AxisSpec, ...]) -> tuple[AxisSpec, ...]:
        for attribute in ("name", "path"):
            found = [getattr(axis, attribute) for axis in value if getattr(axis, attribute) is not None]
            twice = next((item for item in found if found.count(item) > 1), None)
            if twice is not None:
                raise custom_error("axes_twice", f"two axes have the {attribute} '{twice}'; keep one")
        return value
