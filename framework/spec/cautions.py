"""Warnings: settings that are allowed but rarely intended."""

from collections.abc import Iterator

from slotlab.framework.contracts.dataset_settings import is_rendered, object_limit_of
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.identity import located_refs
from slotlab.framework.spec.schema import ExperimentSpec


def cautions(spec: ExperimentSpec, *, trained: bool = False) -> Iterator[PathProblem]:
    """Yield the warnings for a valid spec; with `trained`, those that matter for an evaluation alone."""
    yield from _too_few_slots(spec, trained=trained)
    yield from _nothing_to_crop(spec)
    for path, ref in located_refs(spec):
        for text in ref.config.cautions():
            yield PathProblem(path, f"{ref.name}: {text}")


def _nothing_to_crop(spec: ExperimentSpec) -> Iterator[PathProblem]:
    """Warn of a crop that is not applied: pictures that are made at the model's size are not cropped."""
    crop, dataset = spec.data.settings.crop, spec.data.dataset
    if crop is not None and is_rendered(dataset.config):
        text = f"'{dataset.name}' makes its pictures at the size asked for: the crop {crop} is not applied"
        yield PathProblem(("data", "protocol"), f"{spec.data.protocol.name}: {text}")


def _too_few_slots(spec: ExperimentSpec, *, trained: bool) -> Iterator[PathProblem]:
    """Compare the number of slots with the most objects of a picture; the data itself is not read."""
    dataset = spec.data.dataset
    limits = [object_limit_of(dataset.config)]
    if spec.data.filter is not None:
        limits.append(spec.data.filter.max_objects)
    known = [limit for limit in limits if limit is not None]
    limit = min(known, default=None)
    for section, slots in (("model", spec.slots), ("evaluation", spec.evaluation.slots)):
        if trained and section == "model" and spec.evaluation.slots is not None:
            continue  # the evaluation uses another number of slots
        if limit is not None and slots is not None and slots < limit + 1:
            yield PathProblem(
                (section, "slots"),
                f"{slots} slots for up to {limit} objects and the background in '{dataset.name}': "
                f"{limit + 1} or more give each its own slot",
            )
