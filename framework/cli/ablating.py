"""What `ablate` does, and how its result is printed."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from slotlab.framework.cli.consent import TrustOption, consent
from slotlab.framework.cli.options import (
    DeviceOption,
    ImagesOption,
    JsonOption,
    PluginOption,
    SetOption,
    StrictOption,
)
from slotlab.framework.cli.output import console, emit, print_whole, say
from slotlab.framework.cli.units import counted, duration, maybe


def ablate(
    ablation: Annotated[
        str, typer.Argument(metavar="FILE", help="An ablation file, or slotlab:ablations/NAME.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and print the runs; start nothing.")
    ] = False,
    launcher: Annotated[
        str | None, typer.Option(metavar="NAME", help="local, ray, slurm, ... in place of the file's.")
    ] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate/--no-estimate", help="With --dry-run: time some steps of each arm.")
    ] = True,
    images: ImagesOption = None,
    studies: Annotated[Path, typer.Option(help="Where studies lie.")] = Path("studies"),
    runs: Annotated[Path, typer.Option(help="Where runs lie, each once for all studies.")] = Path("runs"),
    set_: SetOption = [],  # noqa: B006 - typer reads the default and never changes it
    plugin: PluginOption = [],  # noqa: B006
    strict_plugins: StrictOption = False,
    trust: TrustOption = False,
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Train and evaluate every run of an ablation that is missing; give it again to go on."""
    from slotlab.framework.spec.merge import Option
    from slotlab.framework.study.load import load_ablation

    chosen = [] if launcher is None else [Option(f"launcher={launcher}", f"--launcher {launcher}")]
    sets = [*chosen, *set_]
    loaded = load_ablation(
        ablation, sets=sets, plugins=plugin, strict_plugins=strict_plugins, trust=consent(given=trust)
    )
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    folder = studies / loaded.spec.name
    if dry_run:
        result = forecast(loaded, folder, runs, device=device, timed=estimate, images=images)
        emit(result, json, print_forecast)
        return
    result = conduct(loaded, folder, runs, device=device)
    emit(result, json, print_outcome)
    if result["failed"]:
        raise typer.Exit(1)


def conduct(ablation: Any, folder: Path, pool: Path, *, device: str) -> dict[str, Any]:
    """Write the study's folder, run what is missing, and return what `print_outcome` shows."""
    from slotlab.framework.jobs.train import remember
    from slotlab.framework.study.conduct import Conductor
    from slotlab.framework.study.folder import StudyFolder
    from slotlab.framework.study.glance import glance
    from slotlab.framework.study.launching import LauncherContext
    from slotlab.framework.study.plan import make_plan, plan_runs, write_study

    study, runs = StudyFolder(folder), plan_runs(ablation, pool)
    write_study(ablation, runs, study)
    for arm in ablation.arms:  # trainings on other machines may be of users with another home
        remember(arm.loaded)
    missing = [run for run in runs if glance(run.folder, run.wanted).state != "done"]
    say(f"{ablation.spec.name}: {counted(len(runs), 'run')}, {len(runs) - len(missing)} done before")
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


def print_outcome(result: dict[str, Any]) -> None:
    """Print a line for each run."""
    out = console()
    table = Table(
        "arm", "seed", "run", "state", *result["metrics"], box=None, pad_edge=False, header_style="bold"
    )
    for row in result["runs"]:
        values = (maybe(row["metrics"][name], lambda value: f"{value:.3f}") for name in result["metrics"])
        table.add_row(row["arm"], str(row["seed"]), row["run_id"], row["state"], *values)
    print_whole(out, table)
    for row in result["runs"]:
        if row["run_id"] in result["failed"]:
            text = f"failed: {row['arm']}, seed {row['seed']}: {row['reason']}"
            out.print(text, soft_wrap=True)
    out.print(f"study: {result['study']}", soft_wrap=True)


def forecast(
    ablation: Any, folder: Path, pool: Path, *, device: str, timed: bool, images: int | None
) -> dict[str, Any]:
    """Return the runs of an ablation with their states and the time that they will take."""
    from slotlab.framework.study.folder import StudyFolder, sharing
    from slotlab.framework.study.glance import glance
    from slotlab.framework.study.launching import LauncherContext
    from slotlab.framework.study.plan import plan_runs

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


def remaining(look: Any, time: dict[str, Any]) -> float | None:
    """Return the seconds that a run still needs; None if that is not known."""
    if look.state in ("done", "trained"):
        return 0.0
    seconds, steps = time.get("seconds"), time.get("steps")
    return None if seconds is None or not steps else seconds * max(1 - look.step / steps, 0.0)


def count_training_images(spec: Any) -> int:
    """Return how many images a spec trains on."""
    from slotlab.framework.data.selection import select

    return len(select(spec.data, spec.data.train_split))


def estimates(ablation: Any, *, device: str, images: int | None) -> dict[str, dict[str, Any]]:
    """Time a few steps of each arm; an arm that cannot be timed has a warning in place of its time."""
    from slotlab.framework.jobs.estimate import count_images, estimate
    from slotlab.framework.jobs.train import choose_device
    from slotlab.framework.model.engine import Engine
    from slotlab.registry import SlotlabError

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


def print_forecast(result: dict[str, Any]) -> None:
    """Print the table of runs, and how long it will take."""
    out = console()
    out.print(f"{result['name']}: {result['question']}", style="bold", soft_wrap=True)
    table = Table("arm", "seed", "run", "state", "time", box=None, pad_edge=False, header_style="bold")
    for row in result["runs"]:
        time = "" if row["state"] in ("done", "trained") else maybe(row["seconds"], duration)
        table.add_row(row["arm"], str(row["seed"]), row["run_id"], standing(row), time)
    print_whole(out, table)
    for text in result["warnings"]:
        out.print(f"warning: {text}", soft_wrap=True)
    todo = [row for row in result["runs"] if row["state"] != "done"]
    text = (
        f"{counted(len(result['runs']), 'run')}: {len(result['runs']) - len(todo)} done, {len(todo)} to run"
    )
    seconds = [row["seconds"] for row in todo]
    if todo and all(value is not None for value in seconds):
        at_once = min(result["at_once"] or 1, len(todo))
        shared = (
            "one after the other" if at_once == 1 else f"{at_once} at a time, if they do not slow one another"
        )
        text += f"; about {duration(sum(seconds) / at_once)}, {shared}"
    out.print(text, soft_wrap=True)


def standing(row: dict[str, Any]) -> str:
    """Write where a run stands."""
    words = {"done": "done", "trained": "to be measured", "running": f"running, step {row['step']}"}
    text = words.get(row["state"]) or (f"to run from step {row['step']}" if row["step"] else "to run")
    return text + (f" (shared with {', '.join(row['shared_with'])})" if row["shared_with"] else "")
