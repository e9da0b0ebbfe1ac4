"""Times a few steps of a training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slotlab.framework.api.console import warn
from slotlab.framework.data.selection import select
from slotlab.framework.jobs.estimate import count_images, estimate
from slotlab.framework.jobs.evaluation_time import evaluation_time
from slotlab.framework.jobs.train import Prepared, choose_device, prepare
from slotlab.framework.model.engine import Engine
from slotlab.framework.plugin_loading.trust import Ask
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError


def estimate_spec(
    name: str, *, sets: Sequence[str], plugins: Sequence[Path], trust: Ask, device: str, images: int | None
) -> dict[str, Any]:
    """Measure a few steps of a spec's training and return what `print_estimate` shows."""
    prepared = prepare(name, sets=sets, plugins=plugins, trust=trust)
    warn(prepared.warnings)
    return estimate_prepared(prepared, device=device, images=images)


def estimate_prepared(prepared: Prepared, *, device: str, images: int | None) -> dict[str, Any]:
    """Measure a few steps of a spec's training.

    Raises:
        SlotlabError: if the device, or data that has to be counted, is not there.
    """
    spec = prepared.loaded.spec
    engine = Engine.open(spec, choose_device(device), warn=lambda text: warn([text]))
    result = estimate(engine, count_training(spec, images)) | evaluation_time(engine, count_evaluated(spec))
    warn(result["warnings"])
    return result


def count_training(spec: ExperimentSpec, given: int | None) -> int:
    """Return how many images a spec trains on: as given, or as its data has; these stay on the disk.

    Raises:
        SlotlabError: if none is given and the data cannot be opened.
    """
    return count_images(given, lambda: len(select(spec.data, spec.data.train_split)))


def count_evaluated(spec: ExperimentSpec) -> int | None:
    """Return how many images a spec's own evaluation measures; None where that is not known."""
    try:
        there = len(select(spec.data, spec.evaluation.split))
    except (SlotlabError, OSError):
        return None
    most = spec.evaluation.max_images
    return there if most is None else min(most, there)
