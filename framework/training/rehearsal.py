"""A rehearsal before the first step, which finds mistakes of components that only values reveal.

Two images of the evaluation split are passed through a copy of the model, part by part, and evaluated, and
the copy is trained for a step. The model itself and every random stream stay as they are.
"""

import copy
from collections.abc import Callable
from dataclasses import replace

import torch

from slotlab.framework.contracts import Batch, Model, OptimizerContext, Reconstructs
from slotlab.framework.contracts.component_calls import called
from slotlab.framework.contracts.metric_promises import check_distance, check_features
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.pixels import to_uint8
from slotlab.framework.evaluation.evaluate import model_outcome
from slotlab.framework.evaluation.rows import rows_of
from slotlab.framework.metrics.image_sets.compare_sets import usable
from slotlab.framework.model.build import build_metrics, build_set_metrics
from slotlab.framework.model.engine import Engine
from slotlab.framework.model.parameter_groups import parameter_groups
from slotlab.framework.model.trial_pass import Walk
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training.nan_guard import first_bad, parts
from slotlab.framework.training.state import seeded
from slotlab.framework.training.validation import forward_loss
from slotlab.registry import SlotlabError


def rehearse(engine: Engine, model: Model, watched: Loader) -> None:
    """Compare the outputs of a spec's components on real images with their promises.

    Args:
        engine: the spec, device and processes; its `warn` receives parts that would learn nothing.
        model: before its first step, on the engine's device.
        watched: the evaluation split.

    Raises:
        PathProblem: at the component in the spec that breaks its promise.
        SlotlabError: with the name of the component.
    """
    spec = engine.spec
    second = min(1, watched.total - 1)
    places = [0, second if watched.length(second) == watched.length(0) else 0]  # a batch has one length
    loader = replace(watched, batch_size=2, rank=0, processes=1, workers=0)
    with seeded(spec.seed):
        batch = next(loader.epoch(places))
        copied = copy.deepcopy(model)
        rehearse_measuring(spec, copied.eval(), batch)
        if engine.is_first:
            rehearse_set_metrics(spec, engine.device, batch)
        rehearse_step(engine, copied.train(), batch)


def rehearse_measuring(spec: ExperimentSpec, model: Model, batch: Batch) -> None:
    """Pass the images through in evaluation mode, and compute every metric."""
    problem = Walk(spec, model, batch).problem()
    if problem is not None:
        raise problem
    if isinstance(model, Reconstructs):
        rows_of(
            model_outcome(spec, model, batch, positions=range(len(batch))), batch.ids, build_metrics(spec)
        )


def rehearse_set_metrics(spec: ExperimentSpec, device: torch.device, batch: Batch) -> None:
    """Check the features and the distance of the set metrics that can be computed."""
    if spec.evaluation.composition is None:
        return
    images_BCHW = to_uint8(batch.images_BCHW, spec.data.bounds)
    for name, metric in usable(build_set_metrics(spec, device))[0].items():
        with called(f"set metric '{name}'"):
            features_BD = check_features(name, metric.features(images_BCHW), len(images_BCHW))
            try:
                result = metric.distance(features_BD, features_BD)
            except SlotlabError:  # two images may be too few for the metric
                continue
        check_distance(name, result)


def rehearse_step(engine: Engine, model: Model, batch: Batch) -> None:
    """Train a copy for one step, and check the loss, the gradients and the optimizer's result."""
    spec, training = engine.spec, engine.spec.training
    lr = training.phases[0].lr
    groups = parameter_groups(spec, model, lr)
    noise = torch.Generator(engine.device).manual_seed(spec.seed)
    total = forward_loss(model, batch, noise, precision=training.precision).total
    if not total.isfinite():
        raise loss_problem(spec, model, f"the loss is {float(total.detach())} before the first step")
    if not total.requires_grad:
        text = "the loss has no gradient in training: nothing could be learned from it"
        raise loss_problem(spec, model, text)
    with called("the backward pass"):
        total.backward()  # type: ignore[no-untyped-call]
    tell_untrained(model, engine.warn)
    optimizer = training.optimizer.build(OptimizerContext(params=groups, lr=lr, fused=engine.fused))
    with called(f"optimizer '{training.optimizer.name}'"):
        optimizer.step()
    gradients = ((name, p.grad) for name, p in model.named_parameters() if p.grad is not None)
    if first_bad(gradients) is None and first_bad(model.named_parameters()) is not None:
        text = "it leaves weights that are not finite after one step with finite gradients"
        raise PathProblem(("training", "optimizer"), f"{training.optimizer.name}: {text}")


def loss_problem(spec: ExperimentSpec, model: Model, text: str) -> PathProblem:
    """Return a mistake in the loss, at the part of the spec that computes it."""
    if "objective" in model.names and hasattr(model, "objective"):
        return PathProblem(("objective",), f"{spec.objective.name}: {text}")
    return PathProblem(("model",), f"{spec.model.name}: {text}")


def tell_untrained(model: Model, warn: Callable[[str], None]) -> None:
    """Warn about parts whose trained weights receive no gradient, as behind a `detach`."""
    for name, part in parts(model):
        trained = [parameter for parameter in part.parameters() if parameter.requires_grad]
        if trained and all(parameter.grad is None for parameter in trained):
            who = model.names.get(name, name) if name != "projection" else "projection"
            hint = "if that is meant, say so with training.groups: frozen"
            warn(f"{who}: no gradient reaches its weights, which stay as they are; {hint}")
