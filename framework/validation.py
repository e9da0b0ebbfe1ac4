"""Watching a model while it is trained: its loss, and the metric that checkpoints are compared by."""

import math
from dataclasses import dataclass

import torch

from slotlab.framework.assemble import build_metrics
from slotlab.framework.contracts import Batch, Losses, Metric
from slotlab.framework.data import Loader
from slotlab.framework.evaluate import MODEL, evaluate
from slotlab.framework.model import Noise, SlotModel
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.streams import streams


def forward_loss(spec: ExperimentSpec, model: SlotModel, batch: Batch, noise: Noise) -> Losses:
    """Compute the loss of a batch, in the spec's precision."""
    mixed = spec.training.precision == "bfloat16"
    with torch.autocast(batch.images_BCHW.device.type, dtype=torch.bfloat16, enabled=mixed):
        output = model(batch.images_BCHW, generator=noise)
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

    def measure(self, spec: ExperimentSpec, model: SlotModel) -> dict[str, float | None]:
        """Return the mean loss and the mean of the metric, by name; None where there is no value."""
        values: dict[str, float | None] = {"loss": validation_loss(spec, model, self.loader)}
        if self.metric is not None and self.measured is not None:
            metrics = {self.metric: self.measured}
            evaluation = evaluate(spec, model, self.loader, metrics, baselines=())
            found = evaluation.summary(metrics)[MODEL].get(self.metric)
            values[self.metric] = None if found is None else found["mean"]
        return values


@torch.no_grad()
def validation_loss(spec: ExperimentSpec, model: SlotModel, loader: Loader) -> float:
    """Return the mean loss over the images of the evaluation split, each with its own fixed slot noise."""
    model.eval()
    losses, images = [], 0
    for batch in loader.first(spec.evaluation.max_images):
        noise = streams(spec.seed, range(images, images + len(batch.ids)), loader.device)
        losses.append(forward_loss(spec, model, batch, noise).total.double() * len(batch.ids))
        images += len(batch.ids)
    return math.fsum(torch.stack(losses).tolist()) / images
