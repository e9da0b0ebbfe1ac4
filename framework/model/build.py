"""Build the components of a validated spec: the model, metrics and set metrics."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from slotlab.framework.contracts import (
    Metric,
    MetricContext,
    Model,
    ModelContext,
    Reconstructs,
    SetMetric,
    SetMetricContext,
)
from slotlab.framework.contracts.metric_promises import check_metric
from slotlab.framework.contracts.trained_model import weight_init_of
from slotlab.framework.model.anneal import anneal, check_anneal
from slotlab.framework.model.parts import SpecParts, part_names
from slotlab.framework.model.weight_init import WEIGHT_INITS
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.sampling import with_sampling
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import ComponentError, Ref, SlotlabError


@dataclass
class Builder:
    """Builds the components of one spec and collects problems with them."""

    spec: ExperimentSpec
    problems: list[PathProblem] = field(default_factory=list)

    def part(
        self,
        ref: Ref,
        context: Any,
        *path: str | int,
        attributes: tuple[str, ...] = (),
        check: Callable[[Any], None] = lambda built: None,
    ) -> Any:
        """Build the component at `path`; on a mistake add to the problems and return None.

        `attributes` are those that the kind's contract requires; `check` raises ComponentError for other
        violations.
        """
        try:
            built = ref.build(context)
            lacking = [name for name in attributes if not hasattr(built, name)]
            if lacking:
                raise ComponentError(f"what it builds lacks the attribute '{lacking[0]}'")
            check(built)
        except ComponentError as error:
            where = path if error.field is None else (*path, error.field)
            self.problems.append(PathProblem(where, f"{ref.name}: {error}"))
            return None
        return built

    def model(self) -> Model | None:
        """Build the model with all its parts; None if one fails."""
        parts = SpecParts(self)
        context = ModelContext(
            image_size=self.spec.data.size,
            value_range=self.spec.data.bounds,
            parts=parts,
            names=part_names(self.spec),
            half_features=self.spec.data.features == "half",
            half_targets=self.spec.data.targets == "half",
        )
        before = len(self.problems)
        try:
            wanted = with_sampling(self.spec.model, self.spec.evaluation.sampling)
        except PathProblem as problem:
            self.problems.append(problem)
            return None
        model: Model | None = self.part(wanted, context, "model", check=lambda built: is_model(built))
        if model is not None:
            self.problems += parts.unused(self.spec.model.name)
        return model if len(self.problems) == before else None

    def metrics(self) -> dict[str, Metric]:
        """Build the metrics, by name."""
        context = MetricContext(value_range=self.spec.data.bounds)
        found: dict[str, Metric] = {}
        for index, ref in enumerate(self.spec.evaluation.metrics):
            if ref.name in found:
                text = f"the metric '{ref.name}' is given twice; keep one"
                self.problems.append(PathProblem(("evaluation", "metrics", index), text))
            found[ref.name] = self.part(
                ref,
                context,
                "evaluation",
                "metrics",
                index,
                attributes=("higher_is_better", "bounds", "needs"),
                check=check_metric,
            )
        return found

    def set_metrics(self, device: torch.device) -> dict[str, SetMetric]:
        """Build the set metrics of the spec's composition, by name."""
        wanted = self.spec.evaluation.composition
        found: dict[str, SetMetric] = {}
        for index, ref in enumerate(() if wanted is None else wanted.set_metrics):
            path = ("evaluation", "composition", "set_metrics", index)
            if ref.name in found:
                text = f"the set metric '{ref.name}' is given twice; keep one"
                self.problems.append(PathProblem(path, text))
            attributes = ("higher_is_better", "extractor", "lacking", "identity", "features", "distance")
            found[ref.name] = self.part(ref, SetMetricContext(device=device), *path, attributes=attributes)
        return found


def is_model(built: object) -> None:
    """Refuse what is no model."""
    if built is not None and not isinstance(built, Model):  # None: a part failed, which is told already
        text = f"what it builds should be a slotlab.contracts.Model, not a {type(built).__name__}"
        raise ComponentError(text)


def build_model(spec: ExperimentSpec) -> Model:
    """Build the model as it is before its first step, with weights drawn from the spec's seed.

    torch's global generators are left as they were.

    Raises:
        SlotlabError: if parts do not fit; `check_parts` reports that beforehand, with lines.
    """
    builder = Builder(spec)
    with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU
        torch.default_generator.manual_seed(spec.seed)
        model = builder.model()
        if model is not None:
            WEIGHT_INITS[weight_init_of(spec.model.config)](model)
    if model is None:
        raise SlotlabError("\n".join(str(problem) for problem in builder.problems))
    if not any(check_anneal(spec, model)):  # `check_parts` reports invalid paths
        anneal(spec, model, 0)
    return model


def can_reconstruct(spec: ExperimentSpec) -> bool:
    """Return whether the model of a valid spec segments or reconstructs images: it can be evaluated."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return isinstance(Builder(spec).model(), Reconstructs)


def build_metrics(spec: ExperimentSpec) -> dict[str, Metric]:
    """Build the metrics of the spec, by name, in its order."""
    builder = Builder(spec)
    metrics = builder.metrics()
    if builder.problems:
        raise SlotlabError("\n".join(str(problem) for problem in builder.problems))
    return metrics


def build_set_metrics(spec: ExperimentSpec, device: torch.device) -> dict[str, SetMetric]:
    """Build the set metrics of the spec's composition, by name, in its order."""
    builder = Builder(spec)
    metrics = builder.set_metrics(device)
    if builder.problems:
        raise SlotlabError("\n".join(str(problem) for problem in builder.problems))
    return metrics
