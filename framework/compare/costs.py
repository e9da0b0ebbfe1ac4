"""The mean cost of the runs of an arm, from their cost.json."""

from collections.abc import Sequence
from statistics import fmean

from slotlab.framework.compare.results import ArmCost
from slotlab.framework.compare.run_records import RunRecord


def cost_of(runs: Sequence[RunRecord]) -> ArmCost:
    """Return the mean cost of a run; each quantity is averaged over the runs that recorded it."""

    def mean(name: str) -> float | None:
        values = [run.cost[name] for run in runs if run.cost.get(name) is not None]
        return fmean(values) if values else None

    hours = [
        run.cost["seconds"] * run.cost.get("processes", 1) / 3600
        for run in runs
        if run.cost.get("seconds") is not None
    ]
    return ArmCost(
        seconds=mean("seconds"),
        device_hours=fmean(hours) if hours else None,
        images_per_second=mean("images_per_second"),
        memory=mean("memory"),
        flops=mean("flops"),
        energy_kwh=mean("energy_kwh"),
        parameters=mean("parameters"),
        devices=tuple(sorted({str(run.cost["device"]) for run in runs if "device" in run.cost})),
    )
