"""Watching a model while it is trained: its loss, and the metric that checkpoints are compared by."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from slotlab.framework.contracts import Batch, Losses, Metric
from slotlab.framework.data.loader import Loader
from slotlab.framework.evaluation.evaluate import evaluate
from slotlab.framework.model.build import build_metrics
from slotlab.framework.model.engine import Engine
from slotlab.framework.model.slot_model import SlotModel
from slotlab.framework.randomness.noise import Noise
from slotlab.framework.randomness.seeds import streams
from slotlab.framework.runs.folder import MODEL
from slotlab.framework.spec.schema import ExperimentSpec


def forward_loss(spec: ExperimentSpec, model: SlotModel, batch: Batch, noise: Noise) -> Losses:
    """Compute the loss of a batch in the spec's precision; as in training, the decoder is told the target."""
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(spec.training.precision)
    with torch.autocast(batch.images_BCHW.device.type, dtype=dtype, enabled=dtype is not None):
        output = model(batch.images_BCHW, generator=noise)
        with model.calling("objective"):
            return model.objective.loss(output.decoded, output.target_BCHW)


@dataclass(frozen=True)
class Validation:
    """The evaluation split, and the metric that says which checkpoint is best, if one does."""

    loader: Loader
    metric: str | None = None
    measured: Metric | None = None

    @classmethod
    def of(cls, spec: ExperimentSpec, loader: Loader) -> "Validation":
        """Watch what the spec's `training.checkpoint.best` names."""
        best = spec.training.checkpoint.best
        if best in (None, "loss"):
            return cls(loader)
        return cls(loader, best, build_metrics(spec)[best])

    @property
    def higher_is_better(self) -> bool:
        """Whether a greater value makes a better checkpoint."""
        return self.measured is not None and self.measured.higher_is_better

    def measure(self, engine: Engine, model: SlotModel) -> dict[str, float | None]:
        """Return the mean loss and the mean of the metric over all images, by name.

        None where a metric has no value. Each process measures its share of the images.
        """
        spec = engine.spec
        loss = validation_loss(engine, model, self.loader)
        values: dict[str, float | None] = {"loss": loss}
        if self.metric is not None and self.measured is not None:
            metrics = {self.metric: self.measured}
            found = evaluate(spec, model, self.loader, metrics, baselines=(), gather=engine.gather)
            statistics = found.summary(metrics)[MODEL].get(self.metric)  # as a summary.json has them
            values[self.metric] = None if statistics is None else statistics["mean"]
        return values


@torch.no_grad()
def validation_loss(engine: Engine, model: SlotModel, loader: Loader) -> float:
    """Return the mean loss over the images of the evaluation split, each with its own fixed slot noise."""
    spec = engine.spec
    model.eval()
    count = loader.count(spec.evaluation.max_images)
    losses: list[Tensor] = []
    sizes: list[int] = []
    for positions, batch in loader.share(range(count)):
        noise = streams(spec.seed, positions, loader.device)
        losses.append(forward_loss(spec, model, batch, noise).total.double())
        sizes.append(len(positions))
    sums = [loss * size for loss, size in zip(losses, sizes, strict=True)]
    every = engine.gather(torch.stack(sums).tolist() if sums else [])
    return math.fsum(every) / count
