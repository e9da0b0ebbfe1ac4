"""Runs an ablation whose arms are searched: one trial after the other, each with all seeds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from slotlab.framework.api.console import say
from slotlab.framework.contracts import MetricContext
from slotlab.framework.study.ablation import SearchSpec
from slotlab.framework.study.labels import Combination, Space, label
from slotlab.framework.study.load import Ablation
from slotlab.framework.study.search import Trial, Trials, finished, first_trial, propose

Load = Callable[[list[Combination]], Ablation]
"""Loads the ablation with these arms."""
Conduct = Callable[[Ablation], dict[str, Any]]
"""Runs what is missing, and returns the rows of all runs."""


def search_arms(
    first: Ablation, search: SearchSpec, folder: Path, load: Load, conduct: Conduct
) -> dict[str, Any]:
    """Propose and run trials until there are as many as the ablation wants; return what `conduct` does.

    The trial that is running is written before it begins, so that a killed study goes on with the same ones.
    """
    space = Space({axis.name: list(axis.values) for axis in first.spec.axes}, first.spec.exclude)
    file = Trials(folder, search)
    baseline = {axis: label(one) for axis, one in first.spec.compare.baseline.items()}
    trials = file.read() or [first_trial(space, search, baseline)]
    higher, primary = direction(first)
    while True:
        ablation = load([one.labels for one in trials])
        result = conduct_noted(ablation, file, trials, conduct)
        trials = [measured(one, ablation, result, primary) for one in trials]
        file.write(trials)
        labels = None
        if len(trials) < search.trials:
            labels = propose(space, search, trials, higher_is_better=higher)
        if labels is None:
            break
        trials.append(Trial(labels))
    failed = sum(one.state == "failed" for one in trials)
    say(f"{first.spec.name}: {len(trials)} trials, {failed} of them failed")
    return {**result, "trials": len(trials), "failed_trials": failed}


def conduct_noted(ablation: Ablation, file: Trials, trials: list[Trial], conduct: Conduct) -> dict[str, Any]:
    """Write the trials into the study's folder once there is one, and run what is missing."""
    if file.folder.is_dir():
        file.write(trials)
    return conduct(ablation)


def measured(trial: Trial, ablation: Ablation, result: dict[str, Any], primary: str) -> Trial:
    """Return a waiting trial with what its runs gave; others stay as they were when they were told."""
    if trial.state != "waiting":
        return trial
    name = next(arm.name for arm in ablation.arms if arm.labels == trial.labels)
    values = [row["metrics"][primary] for row in result["runs"] if row["arm"] == name]
    return finished(trial, values)


def direction(ablation: Ablation, metric: str | None = None) -> tuple[bool, str]:
    """Return whether more of a metric is better, and its name; of the primary one without a name."""
    spec = ablation.arms[0].loaded.spec
    wanted = ablation.spec.compare
    primary = (
        metric or wanted.primary or (wanted.metrics or tuple(ref.name for ref in spec.evaluation.metrics))[0]
    )
    ref = next(one for one in spec.evaluation.metrics if one.name == primary)
    built: Any = ref.build(MetricContext(value_range=spec.data.bounds))
    return bool(built.higher_is_better), primary
