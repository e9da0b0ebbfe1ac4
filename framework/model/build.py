"""From a validated spec to modules."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from slotlab.framework.contracts import (
    DecoderContext,
    EncoderContext,
    GroupingContext,
    InitializerContext,
    Metric,
    MetricContext,
    ObjectiveContext,
    PositionContext,
    SetMetric,
    SetMetricContext,
)
from slotlab.framework.contracts.promises import check_metric
from slotlab.framework.model.anneal import anneal, check_anneal
from slotlab.framework.model.projection import Projection
from slotlab.framework.model.slot_model import SlotModel
from slotlab.framework.model.weight_init import WEIGHT_INITS
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import ComponentError, Ref, SlotlabError
from slotlab.registry.errors import describe


@dataclass
class Builder:
    """Builds the components of one spec and collects what does not fit."""

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
        """Build the component at `path`; on a mistake note the problem and return None.

        `attributes` are those that the kind's contract asks of what is built; `check` finds what else
        is wrong.
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

    def model(self) -> SlotModel | None:
        """Build all parts of the model; None if one of them could not be built."""
        model = self.spec.model
        size = (self.spec.data.image_size, self.spec.data.image_size)
        bounds = self.spec.data.bounds
        token_dim = model.projection.dim or model.slot_dim
        encoder = self.part(
            model.encoder,
            EncoderContext(image_size=size, value_range=bounds),
            "model",
            "encoder",
            attributes=("channels", "grid"),
        )
        initializer = self.part(
            model.initializer,
            InitializerContext(num_slots=model.slots, slot_dim=model.slot_dim, token_dim=token_dim),
            "model",
            "initializer",
            attributes=("fixed_num_slots",),
        )
        if encoder is None:
            return None
        grid, channels = encoder.grid, encoder.channels
        projection = self._projection(grid, channels, token_dim)
        grouping = self.part(
            model.grouping,
            GroupingContext(slot_dim=model.slot_dim, token_dim=token_dim, grid=grid),
            "model",
            "grouping",
        )
        objective = self.part(
            self.spec.objective,
            ObjectiveContext(image_size=size, feature_channels=channels, grid=grid, value_range=bounds),
            "objective",
            attributes=("target_shape", "target", "loss", "to_image"),
        )
        decoder: Any = None
        if objective is not None:
            context = DecoderContext(slot_dim=model.slot_dim, target=objective.target_shape)
            decoder = self.part(model.decoder, context, "model", "decoder")
        if self.problems:
            return None
        return SlotModel(
            encoder=encoder,
            projection=projection,
            initializer=initializer,
            grouping=grouping,
            decoder=decoder,
            objective=objective,
            names={
                "encoder": f"encoder '{model.encoder.name}'",
                "projection": f"position '{model.projection.position.name}'",
                "initializer": f"initializer '{model.initializer.name}'",
                "grouping": f"grouping '{model.grouping.name}'",
                "decoder": f"decoder '{model.decoder.name}'",
                "objective": f"objective '{self.spec.objective.name}'",
            },
        )

    def _projection(self, grid: tuple[int, int], channels: int, dim: int) -> nn.Module:
        settings = self.spec.model.projection
        context = PositionContext(grid=grid, dim=channels)
        position = self.part(settings.position, context, "model", "projection", "position")
        try:
            return Projection(
                position or nn.Identity(),  # None: a problem was noted, and no model will be made
                channels=channels,
                hidden_dim=settings.hidden_dim or dim,
                dim=dim,
                layer_norm_eps=settings.layer_norm_eps,
            )
        except (RuntimeError, TypeError, OverflowError) as error:  # of sizes that no tensor can have
            self.problems.append(PathProblem(("model", "projection"), f"cannot be built: {describe(error)}"))
            return nn.Identity()

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


def build_model(spec: ExperimentSpec) -> SlotModel:
    """Build the model as it is before its first step, with weights drawn from the spec's seed.

    torch's global generators are left as they were.

    Raises:
        SlotlabError: if parts do not fit; `check_parts` says so with lines beforehand.
    """
    builder = Builder(spec)
    with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU
        torch.default_generator.manual_seed(spec.seed)
        model = builder.model()
        if model is not None:
            WEIGHT_INITS[spec.model.weight_init](model)
    if model is None:
        raise SlotlabError("\n".join(str(problem) for problem in builder.problems))
    if not any(check_anneal(spec, model)):  # paths that lead nowhere are for `check_parts` to tell
        anneal(spec, model, 0)
    return model


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
