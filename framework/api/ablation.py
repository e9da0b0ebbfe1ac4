"""Trains and evaluates every run of an ablation that is missing, or says how long that will take."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from slotlab.framework.api.console import say
from slotlab.framework.engine import Engine
from slotlab.framework.estimate import count_images, estimate
from slotlab.framework.experiment import choose_device, remember
from slotlab.framework.launching import LauncherContext
from slotlab.framework.selection import select
from slotlab.framework.spec.merge import Option
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.study.conduct import Conductor
from slotlab.framework.study.folder import StudyFolder, sharing
from slotlab.framework.study.glance import Glance, glance
from slotlab.framework.study.load import Ablation, load_ablation
from slotlab.framework.study.plan import make_plan, plan_runs, write_study
from slotlab.framework.trust import Ask
from slotlab.registry import SlotlabError


def ablate_file(
    name: str | Path,
    *,
    sets: Sequence[str],
    plugins: Sequence[Path],
    strict_plugins: bool,
    trust: Ask,
    launcher: str | None,
    studies: Path,
    runs: Path,
    device: str,
) -> dict[str, Any]:
    """Run what is missing of an ablation, and return what `print_outcome` shows."""
    loaded = load_and_warn(
        name, sets=sets, plugins=plugins, strict_plugins=strict_plugins, trust=trust, launcher=launcher
    )
    return conduct(loaded, studies / loaded.spec.name, runs, device=device)


def forecast_file(
    name: str | Path,
    *,
    sets: Sequence[str],
    plugins: Sequence[Path],
    strict_plugins: bool,
    trust: Ask,
    launcher: str | None,
    studies: Path,
    runs: Path,
    device: str,
    timed: bool,
    images: int | None,
) -> dict[str, Any]:
    """Start nothing, and return what `print_forecast` shows."""
    loaded = load_and_warn(
        name, sets=sets, plugins=plugins, strict_plugins=strict_plugins, trust=trust, launcher=launcher
    )
    return forecast(loaded, studies / loaded.spec.name, runs, device=device, timed=timed, images=images)


def load_and_warn(
    name: str | Path,
    *,
    sets: Sequence[str],
    plugins: Sequence[Path],
    strict_plugins: bool,
    trust: Ask,
    launcher: str | None,
) -> Ablation:
    """Load an ablation, with another launcher if one is named, and print what is rarely meant.

    Raises:
        SpecError: with every mistake of it and of its arms.
    """
    chosen = [] if launcher is None else [Option(f"launcher={launcher}", f"--launcher {launcher}")]
    loaded = load_ablation(
        name, sets=[*chosen, *sets], plugins=plugins, strict_plugins=strict_plugins, trust=trust
    )
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    return loaded


def conduct(ablation: Ablation, folder: Path, pool: Path, *, device: str) -> dict[str, Any]:
    """Write the study's folder, run what is missing, and return what `print_outcome` shows."""
    study, runs = StudyFolder(folder), plan_runs(ablation, pool)
    write_study(ablation, runs, study)
    for arm in ablation.arms:  # trainings on other machines may be of users with another home
        remember(arm.loaded)
    missing = [run for run in runs if glance(run.folder, run.wanted).state != "done"]
    plural = "" if len(runs) == 1 else "s"
    say(f"{ablation.spec.name}: {len(runs)} run{plural}, {len(runs) - len(missing)} done before")
    launcher = ablation.spec.launcher.build(
        LauncherContext(folder=folder.absolute(), name=ablation.spec.name)
    )
    conductor = Conductor(study, launcher, ablation.spec.retries, say, device)
    conductor.conduct(missing)
    metrics = make_plan(ablation, runs, study).compare.metrics
    rows = []
    for run in runs:
        now = glance(run.folder, run.wanted)
        reason = conductor.failures.get(run.run_id, now.reason)
        facts = {"arm": run.arm.name, "seed": run.seed, "run_id": run.run_id, "run": str(run.folder)}
        rows.append({**facts, **now.to_json(metrics), "reason": reason})
    failed = [row["run_id"] for row in rows if row["run_id"] in conductor.failures]
    return {"study": str(folder), "metrics": list(metrics), "runs": rows, "failed": failed}


def forecast(
    ablation: Ablation, folder: Path, pool: Path, *, device: str, timed: bool, images: int | None
) -> dict[str, Any]:
    """Return the runs of an ablation with their states and the time that they will take."""
    runs = plan_runs(ablation, pool)
    others = sharing(StudyFolder(folder), [run.run_id for run in runs])
    looks = {run.run_id: glance(run.folder, run.wanted) for run in runs}
    times: dict[str, dict[str, Any]] = {}
    if timed and any(look.state not in ("done", "trained") for look in looks.values()):
        times = estimates(ablation, device=device, images=images)
    rows = []
    for run in runs:
        look, time = looks[run.run_id], times.get(run.arm.name, {})
        row = {"arm": run.arm.name, "seed": run.seed, "run_id": run.run_id, "run": str(run.folder)}
        row |= {"state": look.state, "step": look.step, "steps": look.total_steps or time.get("steps")}
        row |= {"seconds": remaining(look, time), "shared_with": others[run.run_id]}
        rows.append(row)
    launcher = ablation.spec.launcher.build(LauncherContext(folder=folder, name=ablation.spec.name))
    return {
        "name": ablation.spec.name,
        "question": ablation.spec.question,
        "launcher": ablation.spec.launcher.name,
        "at_once": launcher.at_once,
        "runs": rows,
        "warnings": sorted({text for time in times.values() for text in time["warnings"]}),
    }


def remaining(look: Glance, time: dict[str, Any]) -> float | None:
    """Return the seconds that a run still needs; None if that is not known."""
    if look.state in ("done", "trained"):
        return 0.0
    seconds, steps = time.get("seconds"), time.get("steps")
    return None if seconds is None or not steps else seconds * max(1 - look.step / steps, 0.0)


def count_training_images(spec: ExperimentSpec) -> int:
    """Return how many images a spec trains on."""
    return len(select(spec.data, spec.data.train_split))


def estimates(ablation: Ablation, *, device: str, images: int | None) -> dict[str, dict[str, Any]]:
    """Time a few steps of each arm; an arm that cannot be timed has a warning in place of its time."""
    counts: dict[str, int] = {}
    found = {}
    for arm in ablation.arms:
        spec = arm.loaded.spec
        try:
            engine = Engine.open(spec, choose_device(device), warn=lambda text: None)
            key = json.dumps(spec.data.model_dump(mode="json"), sort_keys=True)
            if key not in counts:
                counts[key] = count_images(images, partial(count_training_images, spec))
            found[arm.name] = estimate(engine, counts[key], budget=3.0)
        except SlotlabError as error:
            found[arm.name] = {"seconds": None, "steps": None, "warnings": [str(error)]}
    return found
