"""Warnings: settings that are allowed and rarely meant."""

from collections.abc import Iterator

from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.schema import ExperimentSpec


def cautions(spec: ExperimentSpec) -> Iterator[PathProblem]:
    """Yield the warnings for a valid spec."""
    yield from _too_few_slots(spec)
    yield from _components(spec)


def _too_few_slots(spec: ExperimentSpec) -> Iterator[PathProblem]:
    dataset = spec.data.dataset
    limit = getattr(dataset.config, "object_limit", None)
    slots = spec.evaluation.slots or spec.model.slots
    path = ("evaluation", "slots") if spec.evaluation.slots else ("model", "slots")
    if limit is not None and slots < limit + 1:
        yield PathProblem(
            path,
            f"{slots} slots for up to {limit} objects and the background in '{dataset.name}': "
            f"{limit + 1} or more give each its own slot",
        )


def _components(spec: ExperimentSpec) -> Iterator[PathProblem]:
    refs = {
        ("data", "dataset"): spec.data.dataset,
        ("model", "encoder"): spec.model.encoder,
        ("model", "initializer"): spec.model.initializer,
        ("model", "grouping"): spec.model.grouping,
        ("model", "decoder"): spec.model.decoder,
        ("objective",): spec.objective,
        ("training", "optimizer"): spec.training.optimizer,
    }
    for path, ref in refs.items():
        for text in ref.config.cautions():
            yield PathProblem(path, f"{ref.name}: {text}")
