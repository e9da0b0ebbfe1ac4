"""What metrics, auxiliary losses, optimizers and schedules are told, and on what they are tried."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from slotlab.framework.contracts import (
    AuxiliaryContext,
    DatasetContext,
    MetricContext,
    OptimizerContext,
    ScheduleContext,
    SetMetricContext,
)
from slotlab.framework.laws.bench import Bench, Tensors
from slotlab.framework.laws.inputs import pictures

STEPS, RATE = 10, 0.4
"""Of the phase that schedules are tried on."""


class MetricBench(Bench):
    """Metrics: they are called with an `Outcome`, which their own laws make."""

    told = MetricContext

    def contexts(self) -> Sequence[MetricContext]:
        """Return the usual range."""
        return [MetricContext(value_range=(-1.0, 1.0))]

    def others(self, context: MetricContext) -> Sequence[tuple[str, MetricContext]]:
        """Return the other range."""
        return [("images in (0, 1)", MetricContext(value_range=(0.0, 1.0)))]


class AuxiliaryBench(Bench):
    """Auxiliary losses: they are called with a `ModelOutput`, which their own laws make."""

    told = AuxiliaryContext

    def contexts(self) -> Sequence[AuxiliaryContext]:
        """Return four slots of small images."""
        return [AuxiliaryContext(image_size=(16, 16), num_slots=4, slot_dim=8, token_dim=6, grid=(8, 8))]

    def others(self, context: AuxiliaryContext) -> Sequence[tuple[str, AuxiliaryContext]]:
        """Return nothing else."""
        return []

    def inputs(self, context: AuxiliaryContext, batch: int, seed: int) -> Tensors:
        """Return images."""
        return (pictures(batch, *context.image_size, seed=seed),)


class DatasetBench(Bench):
    """Datasets: all of the data, or pictures made at a small size."""

    told = DatasetContext

    def contexts(self) -> Sequence[DatasetContext]:
        """Return the usual split of a dataset that the protocol splits, then that of a generated one."""
        return [DatasetContext(split=split, image_size=(32, 32)) for split in ("train", "all")]

    def contexts_of(self, config: Any) -> Sequence[DatasetContext]:
        """Return the first split of a dataset with splits of its own."""
        splits = getattr(config, "splits", None)
        return (
            [replace(one, split=next(iter(splits))) for one in self.contexts()] if splits else self.contexts()
        )


class SetMetricBench(Bench):
    """Set metrics: they are given images by their own laws."""

    told = SetMetricContext

    def contexts(self) -> Sequence[SetMetricContext]:
        """Return the CPU."""
        return [SetMetricContext(device=torch.device("cpu"))]


class OptimizerBench(Bench):
    """Optimizers: a point in the plane."""

    told = OptimizerContext

    def contexts(self) -> Sequence[OptimizerContext]:
        """Return a point, and the same as a group."""
        return [OptimizerContext(params=[point()], lr=0.1)]


class ScheduleBench(Bench):
    """Schedules: ten steps of plain gradient descent."""

    told = ScheduleContext

    def contexts(self) -> Sequence[ScheduleContext]:
        """Return ten steps."""
        return [ScheduleContext(optimizer=torch.optim.SGD([point()], lr=RATE), total_steps=STEPS)]


def point() -> nn.Parameter:
    """Return a point away from the origin."""
    return nn.Parameter(torch.tensor([1.0, -2.0]))
