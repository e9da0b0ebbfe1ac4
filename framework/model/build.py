"""Build the components of a validated spec: the model, metrics and set metrics."""

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

    def model(self) -> SlotModel | None:
        """Build all parts of the model, in the order in which data passes them; None if one fails."""
        model, dim = self.spec.model, self.spec.model.projection.dim or self.spec.model.slot_dim
        encoder, initializer = self._encoder(), self._initializer(dim)
        if encoder is None:
            return None
        grid, channels = encoder.grid, encoder.channels
        projection = self._projection(grid, channels, dim)
        context = GroupingContext(slot_dim=model.slot_dim, token_dim=dim, grid=grid)
        grouping = self.part(model.grouping, context, "model", "grouping")
        objective = self._objective(grid, channels)
        decoder: Any = None if objective is None else self._decoder(objective)
        if self.problems:
            return None
        return SlotModel(
            encoder=encoder,
            projection=projection,
            initializer=initializer,
            grouping=grouping,
            decoder=decoder,
            objective=objective,
            names=part_names(self.spec),
        )

    @property
    def _size(self) -> tuple[int, int]:
        return self.spec.data.size

    def _encoder(self) -> Any:
        context = EncoderContext(image_size=self._size, value_range=self.spec.data.bounds)
        return self.part(
            self.spec.model.encoder, context, "model", "encoder", attributes=("channels", "grid")
        )

    def _initializer(self, token_dim: int) -> Any:
        model = self.spec.model
        context = InitializerContext(num_slots=model.slots, slot_dim=model.slot_dim, token_dim=token_dim)
        return self.part(model.initializer, context, "model", "initializer", attributes=("fixed_num_slots",))

    def _objective(self, grid: tuple[int, int], channels: int) -> Any:
        context = ObjectiveContext(
            image_size=self._size, feature_channels=channels, grid=grid, value_range=self.spec.data.bounds
        )
        promised = ("target_shape", "target", "loss", "to_image")
        return self.part(self.spec.objective, context, "objective", attributes=promised)

    def _decoder(self, objective: Any) -> Any:
        context = DecoderContext(slot_dim=self.spec.model.slot_dim, target=objective.target_shape)
        return self.part(self.spec.model.decoder, context, "model", "decoder")

    def _projection(self, grid: tuple[int, int], channels: int, dim: int) -> nn.Module:
        settings = self.spec.model.projection
        context = PositionContext(grid=grid, dim=channels)
        position = self.part(settings.position, context, "model", "projection", "position")
        try:
            return Projection(
                position or nn.Identity(),  # for None there is a problem already, and no model
                channels=channels,
                hidden_dim=settings.hidden_dim or dim,
                dim=dim,
                layer_norm_eps=settings.layer_norm_eps,
            )
        except (RuntimeError, TypeError, OverflowError) as error:  # for sizes that no tensor can have
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


def part_names(spec: ExperimentSpec) -> dict[str, str]:
    """Return how messages name the parts of a model, such as `encoder 'cnn'`."""
    model = spec.model
    return {
        "encoder": f"encoder '{model.encoder.name}'",
        "projection": f"position '{model.projection.position.name}'",
        "initializer": f"initializer '{model.initializer.name}'",
        "grouping": f"grouping '{model.grouping.name}'",
        "decoder": f"decoder '{model.decoder.name}'",
        "objective": f"objective '{spec.objective.name}'",
    }


def build_model(spec: ExperimentSpec) -> SlotModel:
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
            WEIGHT_INITS[spec.model.weight_init](model)
    if model is None:
        raise SlotlabError("\n".join(str(problem) for problem in builder.problems))
    if not any(check_anneal(spec, model)):  # `check_parts` reports invalid paths
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
