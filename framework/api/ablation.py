"""Trains and evaluates every run of an ablation that is missing, or says how long that will take."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slotlab.framework.api.arm_estimates import estimates
from slotlab.framework.api.comparison import RunComparison, compare
from slotlab.framework.api.consent import consent
from slotlab.framework.api.console import say
from slotlab.framework.api.first_runs import train_first, with_launcher
from slotlab.framework.api.frames import as_frame
from slotlab.framework.api.given import Paths, paths_of
from slotlab.framework.api.searching import direction, search_arms
from slotlab.framework.api.settings import Settings, assignments
from slotlab.framework.jobs.train import remember
from slotlab.framework.plugin_loading.trust import Ask
from slotlab.framework.study.folder import StudyFolder, sharing
from slotlab.framework.study.halving import Standing, stands
from slotlab.framework.study.launching import LauncherContext
from slotlab.framework.study.load import Ablation, load_ablation
from slotlab.framework.study.plan import StudyRun, make_plan, plan_runs, write_study
from slotlab.framework.study.run_status import Glance, glance, reached
from slotlab.framework.study.run_study import Conductor
from slotlab.registry import SlotlabError

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, repr=False)
class Study:
    """An ablation's runs: what became of them, or where they stand."""

    path: Path
    """The study's folder, which `slotlab.compare` takes."""
    runs: tuple[dict[str, Any], ...]
    """One for each run: `arm`, `seed`, `run` (its folder), `state`, ...; `metrics` if it was made."""
    failed: tuple[str, ...] = ()
    """The identities (`run_id`) of runs that failed."""

    def frame(self) -> "DataFrame":
        """Return one row for each run.

        Raises:
            SlotlabError: if pandas is not installed.
        """
        rows = [{key: value for key, value in run.items() if key != "metrics"} for run in self.runs]
        return as_frame([{**row, **run.get("metrics", {})} for row, run in zip(rows, self.runs, strict=True)])

    def compare(self, **choice: Any) -> RunComparison:
        """Compare the arms; see `slotlab.compare` for what can be chosen."""
        return compare(self.path, **choice)

    def __repr__(self) -> str:
        states = Counter(run["state"] for run in self.runs)
        return f"<Study {self.path}: {', '.join(f'{number} {state}' for state, number in states.items())}>"


def ablate(
    name: str | Path,
    settings: Settings | None = None,
    *,
    dry_run: bool = False,
    launcher: str | None = None,
    studies: str | Path = "studies",
    runs: str | Path = "runs",
    plugins: Paths = (),
    strict_plugins: bool = False,
    trust: bool = False,
    device: str = "auto",
    look: int | None = None,
) -> Study:
    """Train and evaluate every run of an ablation that is missing, as `slotlab ablate` does.

    The same call goes on with what was stopped. Runs that fail are named in `Study.failed`; the others go on.

    >>> import slotlab
    >>> study = slotlab.ablate("slotlab:ablations/demo_ablation", dry_run=True)
    >>> len(study.runs), sorted({run["state"] for run in study.runs})
    (6, ['waiting'])

    Args:
        name: an ablation file, or `slotlab:ablations/NAME`.
        settings: other settings of the file, by dotted path.
        dry_run: check everything, and start nothing.
        launcher: `local`, `ray`, `slurm`, ... in place of the file's.
        studies: where studies lie.
        runs: where runs lie, each once for all studies.
        plugins: single-file plugins to load.
        strict_plugins: fail if an installed plugin cannot be loaded.
        trust: run code that came with another user's run (docs/explanation/trust.md).
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        look: only the seeds up to this look, from 1, of those that `compare.sequential` declares.

    Raises:
        SpecError: with every mistake of the file and of its arms.
        SlotlabError: for a look that is not declared.
    """
    options: dict[str, Any] = {
        "sets": assignments(settings),
        "plugins": paths_of(plugins, "a plugin"),
        "strict_plugins": strict_plugins,
        "trust": consent(given=trust),
        "launcher": launcher,
        "studies": Path(studies),
        "runs": Path(runs),
        "device": device,
        "look": look,
    }
    if dry_run:
        planned = forecast_file(str(name), **options, timed=False, images=None)
        return Study(Path(planned["study"]), tuple(planned["runs"]))
    result = ablate_file(str(name), **options)
    return Study(Path(result["study"]), tuple(result["runs"]), tuple(result["failed"]))


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
    look: int | None = None,
) -> dict[str, Any]:
    """Run what is missing of an ablation, and return what `print_outcome` shows."""
    train_first(
        name,
        studies,
        sets=sets,
        plugins=plugins,
        strict_plugins=strict_plugins,
        trust=trust,
        launcher=launcher,
        device=device,
    )
    loaded = load_and_warn(
        name, sets=sets, plugins=plugins, strict_plugins=strict_plugins, trust=trust, launcher=launcher
    )
    folder = studies / loaded.spec.name
    if (search := loaded.spec.search) is not None:
        if look is not None:
            raise SlotlabError(f"--look {look}: arms that are searched have all seeds at once")
        given = with_launcher(sets, launcher)
        load = partial(load_ablation, name, sets=given, plugins=plugins, trust=trust)
        return search_arms(
            loaded,
            search,
            folder,
            lambda arms: load(strict_plugins=strict_plugins, searched=arms),
            partial(conduct, folder=folder, pool=runs, device=device),
        )
    return conduct(loaded, folder, runs, device=device, look=look)


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
    look: int | None = None,
) -> dict[str, Any]:
    """Start nothing, and return what `print_forecast` shows."""
    loaded = load_and_warn(
        name, sets=sets, plugins=plugins, strict_plugins=strict_plugins, trust=trust, launcher=launcher
    )
    return forecast(
        loaded, studies / loaded.spec.name, runs, device=device, timed=timed, images=images, look=look
    )


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
    loaded = load_ablation(
        name, sets=with_launcher(sets, launcher), plugins=plugins, strict_plugins=strict_plugins, trust=trust
    )
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    return loaded


def conduct(
    ablation: Ablation, folder: Path, pool: Path, *, device: str, look: int | None = None
) -> dict[str, Any]:
    """Write the study's folder, run what is missing, and return what `print_outcome` shows."""
    seeds = seeds_until(ablation, look)
    study, planned = StudyFolder(folder), plan_runs(ablation, pool)
    standing = standing_of(ablation, planned)
    write_study(ablation, planned, study, standing.stopped)
    runs = [run for run in planned if run.seed in seeds]
    for arm in ablation.arms:  # trainings on other machines may be of users with another home
        remember(arm.loaded)
    done = sum(glance(run.folder, run.wanted).state == "done" for run in runs)
    plural = "" if len(runs) == 1 else "s"
    say(f"{ablation.spec.name}: {len(runs)} run{plural}, {done} done before")
    failures: dict[str, str] = {}
    while True:
        left = [run for run in runs if run.arm.name not in standing.stopped and run.run_id not in failures]
        failures |= start_missing(ablation, study, left, until=standing.rung, device=device)
        if standing.rung is None:
            break
        before, standing = standing, standing_of(ablation, planned, frozenset(failures))
        if standing == before:
            raise SlotlabError(f"{folder}: no run came to step {before.rung}, at which arms are compared")
        say_stopped(before, standing)
        write_study(ablation, planned, study, standing.stopped)
    metrics = make_plan(ablation, planned, study).compare.metrics
    rows = []
    for run in runs:
        now = glance(run.folder, run.wanted)
        reason = failures.get(run.run_id, now.reason)
        facts = {"arm": run.arm.name, "seed": run.seed, "run_id": run.run_id, "run": str(run.folder)}
        rows.append({**facts, **now.to_json(metrics), "reason": reason})
    failed = [row["run_id"] for row in rows if row["run_id"] in failures]
    result = {"study": str(folder), "metrics": list(metrics), "runs": rows, "failed": failed}
    return result if ablation.spec.halving is None else {**result, "stopped": dict(standing.stopped)}


def start_missing(
    ablation: Ablation, study: StudyFolder, runs: Sequence[StudyRun], *, until: int | None, device: str
) -> dict[str, str]:
    """Bring runs to a step, or to their end; return the reasons of those that failed, by identity."""
    looks = [(run, glance(run.folder, run.wanted)) for run in runs]
    missing = [
        run for run, now in looks if not (now.state == "done" if until is None else reached(now, until))
    ]
    context = LauncherContext(folder=study.path.absolute(), name=ablation.spec.name)
    launcher = ablation.spec.launcher.build(context)
    conductor = Conductor(study, launcher, ablation.spec.retries, say, device, until)
    conductor.conduct(missing)
    return conductor.failures


def standing_of(
    ablation: Ablation, runs: Sequence[StudyRun], failed: frozenset[str] = frozenset()
) -> Standing:
    """Return which arms were stopped early, and until which step the others are trained next."""
    rule = ablation.spec.halving
    if rule is None:
        return Standing(None)
    higher, metric = direction(ablation, rule.metric)
    return stands(rule, metric, runs, ablation.baseline.name, higher_is_better=higher, failed=failed)


def say_stopped(before: Standing, now: Standing) -> None:
    """Print which arms do not go on from a rung."""
    fallen = [name for name in now.stopped if name not in before.stopped]
    told = ", ".join(fallen) if fallen else "none"
    say(f"step {before.rung}: arms that do not go on: {told}")


def seeds_until(ablation: Ablation, look: int | None) -> tuple[int, ...]:
    """Return the seeds up to a look, from 1; all without one.

    Raises:
        SlotlabError: for a look that the ablation does not declare.
    """
    rule = ablation.spec.compare.sequential
    if look is None:
        return ablation.spec.seeds
    if rule is None:
        raise SlotlabError(f"--look {look}: the ablation declares no looks; see compare.sequential")
    if look > len(rule.looks):
        raise SlotlabError(f"--look {look}: the ablation declares {len(rule.looks)} looks")
    return ablation.spec.seeds[: rule.looks[look - 1]]


def forecast(
    ablation: Ablation,
    folder: Path,
    pool: Path,
    *,
    device: str,
    timed: bool,
    images: int | None,
    look: int | None = None,
) -> dict[str, Any]:
    """Return the runs of an ablation with their states and the time that they will take."""
    seeds = seeds_until(ablation, look)
    runs = [run for run in plan_runs(ablation, pool) if run.seed in seeds]
    others = sharing(StudyFolder(folder), [run.run_id for run in runs])
    looks = {run.run_id: glance(run.folder, run.wanted) for run in runs}
    times: dict[str, dict[str, Any]] = {}
    if timed and any(one.state not in ("done", "trained") for one in looks.values()):
        times = estimates(ablation, device=device, images=images)
    rows = []
    for run in runs:
        now, time = looks[run.run_id], times.get(run.arm.name, {})
        row = {"arm": run.arm.name, "seed": run.seed, "run_id": run.run_id, "run": str(run.folder)}
        row |= {"state": now.state, "step": now.step, "steps": now.total_steps or time.get("steps")}
        row |= {"seconds": remaining(now, time), "shared_with": others[run.run_id]}
        rows.append(row)
    launcher = ablation.spec.launcher.build(LauncherContext(folder=folder, name=ablation.spec.name))
    return {
        "study": str(folder),
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
