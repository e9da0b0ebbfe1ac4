"""From a validated ablation to its study's folder: the plan, and a spec file for each run."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.runs.measurement import checkpoint_name
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.spec.tree import dump
from slotlab.framework.study.ablation import HalvingSpec, SearchSpec, SequentialSpec
from slotlab.framework.study.arms import LoadedArm, metrics_of, plain
from slotlab.framework.study.folder import (
    PlannedArm,
    PlannedAxis,
    PlannedComparison,
    PlannedHalving,
    PlannedLooks,
    PlannedRun,
    PlannedSearch,
    StudyFolder,
    StudyPlan,
)
from slotlab.framework.study.history import note_plan
from slotlab.framework.study.load import Ablation
from slotlab.framework.study.run_status import WantedEvaluation
from slotlab.framework.system.atomic import write_atomically
from slotlab.framework.system.privacy import nameless
from slotlab.registry import SlotlabError


@dataclass(frozen=True)
class StudyRun:
    """One run of a study, with all that is needed to start it."""

    arm: LoadedArm
    seed: int
    run_id: str
    folder: Path
    spec: ExperimentSpec
    wanted: WantedEvaluation

    @property
    def name(self) -> str:
        """The name that is shown to users."""
        return f"{self.arm.name}, seed {self.seed}"


def plan_runs(ablation: Ablation, pool: Path) -> list[StudyRun]:
    """Return every run, seed by seed, so that an interrupted study has complete pairs."""
    found = []
    for seed in ablation.spec.seeds:
        for arm in ablation.arms:
            spec, run_id = arm.spec(seed), arm.run_id(seed)
            found.append(StudyRun(arm, seed, run_id, (pool / run_id).absolute(), spec, wanted_of(spec)))
    return found


def wanted_of(spec: ExperimentSpec) -> WantedEvaluation:
    """Return the evaluation that a spec asks for."""
    return WantedEvaluation(
        split=spec.evaluation.split,
        protocol=spec.data.protocol_name,
        mask_source=spec.evaluation.mask_source,
        slots=spec.evaluated_slots,
        metrics=metrics_of(spec),
        baselines=tuple(spec.evaluation.baselines),
        max_images=spec.evaluation.max_images,
        checkpoint=spec.evaluation.checkpoint,
        filter=None if spec.data.filter is None else str(spec.data.filter),
        clip_frames=spec.evaluation.clip_frames if spec.data.clip else None,
        from_frame=spec.evaluation.from_frame if spec.data.clip else 0,
    )


def make_plan(
    ablation: Ablation, runs: list[StudyRun], study: StudyFolder, stopped: Mapping[str, int] | None = None
) -> StudyPlan:
    """Return the plan of a study whose runs lie in a pool.

    `stopped` has the arms that were stopped early, each with its last step.
    """
    spec, settings = ablation.spec, ablation.spec.compare
    here = Path(os.path.normpath(study.path.absolute()))
    arms = []
    for arm in ablation.arms:
        planned = [
            PlannedRun(run.seed, run.run_id, Path(os.path.relpath(run.folder, here)).as_posix())
            for run in runs
            if run.arm is arm
        ]
        arms.append(PlannedArm(arm.name, arm.settings, tuple(planned), dict(arm.labels), wanted(arm)))
    metrics = settings.metrics or metrics_of(ablation.arms[0].loaded.spec)
    protocols = {arm.loaded.spec.data.protocol_name for arm in ablation.arms}
    compare = PlannedComparison(
        metrics=metrics,
        primary=settings.primary or metrics[0],
        baseline=ablation.baseline.name,
        protocol=protocols.pop() if len(protocols) == 1 else None,
        split=ablation.arms[0].loaded.spec.evaluation.split,
        mask_source=ablation.arms[0].loaded.spec.evaluation.mask_source,
        failed_below=settings.failed_below,
        checkpoint=checkpoint_name(ablation.arms[0].loaded.spec.evaluation.checkpoint),
        sequential=planned_looks(settings.sequential),
        equivalent_within=settings.equivalent_within,
    )
    axes = tuple(PlannedAxis(axis.name, axis.path, tuple(axis.values)) for axis in spec.axes)
    return StudyPlan(
        spec.name,
        spec.question,
        nameless(spec.base),
        axes,
        compare,
        tuple(arms),
        planned_search(spec.search),
        planned_halving(spec.halving, compare.primary, stopped or {}),
    )


def planned_halving(
    rule: HalvingSpec | None, primary: str, stopped: Mapping[str, int]
) -> PlannedHalving | None:
    """Return the rule by which arms are stopped early as the plan has it."""
    if rule is None:
        return None
    return PlannedHalving(rule.rungs, rule.keep, rule.metric or primary, dict(stopped))


def planned_search(search: SearchSpec | None) -> PlannedSearch | None:
    """Return the search as the plan has it."""
    return None if search is None else PlannedSearch(search.sampler, search.trials, search.seed)


def planned_looks(rule: SequentialSpec | None) -> PlannedLooks | None:
    """Return the rule for looks as the plan has it."""
    return None if rule is None else PlannedLooks(rule.rule, rule.looks, rule.alpha)


def wanted(arm: LoadedArm) -> dict[str, Any]:
    """Return how an arm's runs are evaluated, for the plan."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in vars(wanted_of(arm.loaded.spec)).items()
    }


def count_measured(runs: list[StudyRun], study: StudyFolder) -> int:
    """Return how many runs, of these and of those that the study planned before, have an evaluation."""
    folders = {run.folder for run in runs}
    with suppress(SlotlabError):  # a damaged plan is replaced
        before = study.read_plan() if study.plan.is_file() else None
        planned = () if before is None else (run for arm in before.arms for run in arm.runs)
        folders |= {study.run(run).absolute() for run in planned}
    return sum(bool(RunFolder(folder).evaluations()) for folder in folders)


def write_study(
    ablation: Ablation, runs: list[StudyRun], study: StudyFolder, stopped: Mapping[str, int] | None = None
) -> None:
    """Write or extend a study's folder; for `stopped`, see `make_plan`.

    Raises:
        SlotlabError: if the folder holds something else.
    """
    if not study.is_free():
        raise SlotlabError(
            f"{study.path} exists and is not a study; give the ablation another name, or --studies DIR"
        )
    study.path.mkdir(parents=True, exist_ok=True)
    study.clear_leavings()
    plan, number = make_plan(ablation, runs, study, stopped), count_measured(runs, study)
    study.write_plan(plan)  # first: it says that the folder is a study
    note_plan(study, plan, number)
    data = plain(ablation.spec.model_dump(mode="json"))
    data["base"] = str(ablation.base.absolute())
    write_atomically(study.study, dump(data).encode())
    for run in runs:
        content = dump(run.spec.model_dump(mode="json")).encode()
        path = study.spec(run.run_id)
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)
    (study.path / "logs").mkdir(exist_ok=True)
