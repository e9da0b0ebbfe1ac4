"""Load a run's weights; model, loader and metrics for each condition."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from slotlab.framework.contracts import Metric, Model, PooledMetric, Size
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.loaders import evaluation_loader
from slotlab.framework.data.store.feature_format import Kind
from slotlab.framework.evaluation.conditions import Condition
from slotlab.framework.model.anneal import load_state
from slotlab.framework.model.build import build_metrics, build_model
from slotlab.framework.model.check import check_checkpoint
from slotlab.framework.model.cues import check_masks
from slotlab.framework.model.engine import Engine
from slotlab.framework.model.feature_stores import with_stores
from slotlab.framework.runs.folder import RunFolder, Weights
from slotlab.framework.runs.versions import check_versions
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.spec.sides import in_pixels
from slotlab.registry import SlotlabError

READ: tuple[Kind, ...] = ("features",)
"""What an evaluation reads from stores besides pictures: it computes no loss, and needs no targets."""


@dataclass(frozen=True)
class Ready:
    """A condition whose data, model and metrics are open."""

    condition: Condition
    engine: Engine
    model: Model
    loader: Loader
    metrics: Mapping[str, Metric]

    @property
    def images(self) -> int:
        """How many images are evaluated."""
        return self.loader.count(self.condition.spec.evaluation.max_images)


@dataclass
class Subject:
    """A trained run: its weights, which are read once, and the models that have them."""

    run: RunFolder
    loaded: LoadedSpec
    """The run's own spec."""
    engine: Engine
    weights: Weights
    models: dict[Size, Model] = field(default_factory=dict)
    """By image size, since a model is built for one size."""

    @classmethod
    def open(cls, run: RunFolder, loaded: LoadedSpec, device: torch.device) -> "Subject":
        """Read the weights of the checkpoint that the spec's evaluation names.

        Raises:
            SpecError: if the spec names a best checkpoint, and its training keeps none.
            SlotlabError: if there are no weights, or parts of the model have another version now.
        """
        check_versions(run, loaded.spec)
        if problems := list(check_checkpoint(loaded.spec)):
            raise loaded.error(problems)
        engine = Engine.open(loaded.spec, device, warn=lambda text: None)
        return cls(run, loaded, engine, run.load_weights(loaded.spec.evaluation.checkpoint))

    def model(self, spec: ExperimentSpec) -> Model:
        """Return the run's model with its weights, built for the image size of a spec.

        It is on the engine's device; the same object is returned for every spec of that size.

        Raises:
            SlotlabError: if the weights do not fit it.
        """
        size = spec.data.size
        if size not in self.models:
            model = self.engine.place(build_model(spec))
            try:
                load_state(self.loaded.spec, model, self.weights.model, self.weights.step)
            except RuntimeError as error:
                trained = self.loaded.spec.data.size
                sizes = in_pixels(size), in_pixels(trained)
                other = "" if size == trained else " for images of {} pixels, trained on {}".format(*sizes)
                where = f"the weights in {self.run.checkpoints.folder} do not fit {self.run.spec}{other}"
                raise SlotlabError(f"{where}: {error}") from None
            self.models[size] = model
        return self.models[size]

    def ready(self, condition: Condition) -> Ready:
        """Open what a condition needs.

        Raises:
            SlotlabError: if the data is missing, the weights do not fit, or the protocol's way of averaging
                is not that of its metrics.
        """
        spec = condition.spec
        metrics = build_metrics(spec)
        check_aggregation(spec, metrics)
        engine = replace(self.engine, spec=spec)
        try:
            loader = evaluation_loader(spec, engine.placement)
            model = self.model(spec)
            check_masks(model, loader.selection)
            [loader] = with_stores(spec, model, loader, kinds=READ)
        except PathProblem as problem:
            raise condition.loaded.error([problem]) from None
        return Ready(condition, engine, model, loader, metrics)


def check_aggregation(spec: ExperimentSpec, metrics: Mapping[str, Metric]) -> None:
    """Refuse a protocol whose metrics are averaged over something else than it declares.

    Raises:
        SlotlabError: if it declares images and one of its metrics is pooled over objects, or it declares
            objects and none is.
    """
    name, scoring = spec.data.protocol.name, spec.data.settings.evaluation
    named = {one if isinstance(one, str) else one.get("name") for one in scoring.metrics}
    if not named or not named <= set(metrics):  # the spec's own choice
        return
    pooled = [key for key, metric in metrics.items() if key in named and isinstance(metric, PooledMetric)]
    if scoring.aggregation == "images" and pooled:
        text = f"means are over images, and its metric '{pooled[0]}' is a mean over objects"
        raise SlotlabError(f"protocol '{name}': {text}; write 'aggregation: objects'")
    if scoring.aggregation == "objects" and not pooled:
        text = "means are over objects, and none of its metrics is pooled over objects"
        raise SlotlabError(f"protocol '{name}': {text}; write 'aggregation: images'")
