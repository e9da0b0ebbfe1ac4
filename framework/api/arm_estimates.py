"""How long the runs of each arm of an ablation will take."""

import json
from typing import Any

from slotlab.framework.api.console import say
from slotlab.framework.api.estimating import count_training
from slotlab.framework.jobs.estimate import estimate
from slotlab.framework.jobs.train import choose_device
from slotlab.framework.model.engine import Engine
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.study.arms import LoadedArm
from slotlab.framework.study.load import Ablation
from slotlab.registry import SlotlabError


def estimates(ablation: Ablation, *, device: str, images: int | None) -> dict[str, dict[str, Any]]:
    """Time a few steps of each arm; an arm that cannot be timed has a warning in place of its time.

    Images are counted for all arms first: where one cannot be, that is said before time is spent.
    """
    counts: dict[str, int | SlotlabError] = {}
    for arm in ablation.arms:
        if (key := data_of(arm)) not in counts:
            counts[key] = counted_or_not(images, arm.loaded.spec)
    lacking = [one for one in counts.values() if isinstance(one, SlotlabError)]
    if len(lacking) < len(counts):  # else nothing is timed, and nothing waits
        for one in lacking:
            say(f"warning: {one}")
    found = {}
    for arm in ablation.arms:
        try:
            if isinstance(number := counts[data_of(arm)], SlotlabError):
                raise number
            engine = Engine.open(arm.loaded.spec, choose_device(device), warn=lambda text: None)
            found[arm.name] = estimate(engine, number, budget=3.0)
        except SlotlabError as error:
            found[arm.name] = {"seconds": None, "steps": None, "warnings": [str(error)]}
    return found


def data_of(arm: LoadedArm) -> str:
    """Return the data of an arm as a text, the same for arms with the same data."""
    return json.dumps(arm.loaded.spec.data.model_dump(mode="json"), sort_keys=True)


def counted_or_not(images: int | None, spec: ExperimentSpec) -> int | SlotlabError:
    """Return how many images a spec trains on, or why that is not known."""
    try:
        return count_training(spec, images)
    except SlotlabError as error:
        return error
