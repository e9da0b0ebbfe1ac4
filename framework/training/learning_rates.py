"""Rates that a schedule leaves alone; changed settings of optimizer and schedule in a resumed training."""

import json
import warnings
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from slotlab.framework.spec.schema import ExperimentSpec


def rates(spec: ExperimentSpec, phase: int) -> str:
    """Return all settings of a phase's optimizer and schedule, as JSON.

    Defaults are left out, so that a setting that a newer slotlab added is not a change.
    """
    training = spec.training
    data = training.model_dump(mode="json", include={"phases", "optimizer", "groups"}, exclude_defaults=True)
    return json.dumps({**data, "phases": data["phases"][phase]}, sort_keys=True)


def have_changed(saved: Any, spec: ExperimentSpec) -> bool:
    """Return whether the settings changed since a checkpoint; False if it does not record them."""
    before, phase = saved.get("rates"), saved["phase"]
    return before is not None and phase < len(spec.training.phases) and before != rates(spec, phase)


def hold(optimizer: Optimizer) -> None:
    """Give the groups that the schedule leaves out the rate that they began with (`GroupSpec.scheduled`).

    A schedule has set the rates of all groups, when it was built and at each of its steps.
    """
    for group in optimizer.param_groups:
        if not group.get("scheduled", True):
            group["lr"] = group["initial_lr"]


def take_over(optimizer: Optimizer, schedule: LRScheduler, saved: Any) -> None:
    """Give a new optimizer the saved moments, and advance its schedule to the saved step.

    Rates and all other settings are the new ones. Moments of other parameter groups are dropped.
    """
    new, old = optimizer.state_dict()["param_groups"], saved["optimizer"]["param_groups"]
    if [len(group["params"]) for group in new] == [len(group["params"]) for group in old]:
        optimizer.load_state_dict({"state": saved["optimizer"]["state"], "param_groups": new})
    with warnings.catch_warnings():  # torch does not know that the optimizer's steps were done before
        warnings.simplefilter("ignore")
        for _ in range(saved["schedule"]["last_epoch"]):
            schedule.step()
    hold(optimizer)
