"""Validation during a training: the loss, and the metric by which checkpoints are compared."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import Batch, Losses, Metric, Model, RandomSource
from slotlab.framework.data.loader import Loader
from slotlab.framework.evaluation.evaluate import evaluate
from slotlab.framework.model.build import build_metrics
from slotlab.framework.randomness.seeds import frame_numbers, streams
from slotlab.framework.runs.folder import MODEL
from slotlab.framework.spec.schema import ExperimentSpec


def forward_loss(model: Model, batch: Batch, noise: RandomSource, *, precision: str) -> Losses:
    """Compute the loss of a batch as in training: the decoder receives the target.

    `precision` is `float32`, `bfloat16` or `float16`.
    """
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
    with torch.autocast(batch.images_BCHW.device.type, dtype=dtype, enabled=dtype is not None):
        return model.losses(batch, generator=noise)


@dataclass(frozen=True)
class Validation:
    """The evaluation split, and the metric by which checkpoints are compared, if there is one."""

    loader: Loader
    metric: str | None = None
    measured: Metric | None = None

    @classmethod
    def of(cls, spec: ExperimentSpec, loader: Loader) -> "Validation":
        """Measure the metric of the spec's `training.checkpoint.best`."""
        best = spec.training.checkpoint.best
        if best in (None, "loss"):
            return cls(loader)
        return cls(loader, best, build_metrics(spec)[best])

    @property
    def higher_is_better(self) -> bool:
        """Whether a greater value makes a better checkpoint."""
        return self.measured is not None and self.measured.higher_is_better

    def measure(
        self, spec: ExperimentSpec, model: Model, *, gather: Callable[[list[Any]], list[Any]] = list
    ) -> dict[str, float | None]:
        """Return the mean loss and the mean of the metric over all images, by name.

        A metric without a value is None. `gather` joins the lists of several processes, each of which
        measures its share of the images.
        """
        loss = validation_loss(spec, model, self.loader, gather=gather)
        values: dict[str, float | None] = {"loss": loss}
        if self.metric is not None and self.measured is not None:
            metrics = {self.metric: self.measured}
            found = evaluate(spec, model, self.loader, metrics, baselines=(), gather=gather)
            statistics = found.summary(metrics)[MODEL].get(self.metric)  # as in a summary.json
            values[self.metric] = None if statistics is None else statistics["mean"]
        return values


@torch.no_grad()
def validation_loss(
    spec: ExperimentSpec,
    model: Model,
    loader: Loader,
    *,
    gather: Callable[[list[Any]], list[Any]] = list,
) -> float:
    """Return the mean loss over the images of the evaluation split, each with its own fixed slot noise."""
    model.eval()
    count = loader.count(spec.evaluation.max_images)
    losses: list[Tensor] = []
    sizes: list[int] = []
    for positions, batch in loader.share(range(count)):
        numbers = positions if model.clips else frame_numbers(positions, batch.frames)
        noise = streams(spec.seed, numbers, loader.device)
        losses.append(forward_loss(model, batch, noise, precision=spec.training.precision).total.double())
        sizes.append(len(positions))
    sums = [loss * size for loss, size in zip(losses, sizes, strict=True)]
    every = gather(torch.stack(sums).tolist() if sums else [])
    return math.fsum(every) / count
