"""Lists of runs, of a study's runs and of published numbers, read from files without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slotlab.framework.api.given import Names, names_of
from slotlab.framework.api.records import Records
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.study.folder import StudyFolder, StudyPlan
from slotlab.framework.study.run_status import WantedEvaluation, glance
from slotlab.registry.errors import SlotlabError


def list_runs(folder: str | Path = "runs", where: Names = (), show: Names = ()) -> Records:
    """Return the runs in a folder, with their states and results.

    Does what `slotlab runs` does, and keeps the same index in the folder.

    >>> import slotlab
    >>> len(slotlab.list_runs(".", where="state=failed"))
    0

    Args:
        folder: the folder that holds the runs.
        where: conditions that must all hold: `state=failed`, `model.slots>5`, `ari<0.2`.
        show: settings to add to each row, by their dotted path.

    Raises:
        SlotlabError: for a condition that cannot be read, and for a folder that is itself a run or a study.
    """
    from slotlab.framework.study.index import Index, RunFilter
    from slotlab.framework.study.record import facts

    conditions = [RunFilter.read(text) for text in names_of(where)]
    names, path = names_of(show), Path(folder)
    refuse_study(path)
    found = Index(path).find(conditions, names)
    wanted = dict.fromkeys((*(one.name for one in conditions), *names))
    shown = [{name: dict(facts(record)).get(name) for name in wanted} for record in found]
    return Records(tuple({**record, "shown": more} for record, more in zip(found, shown, strict=True)))


def refuse_study(folder: Path) -> None:
    """Refuse the folder of a study or of a run, which hold no runs.

    Raises:
        SlotlabError: with the command that lists the runs.
    """
    study = StudyFolder(folder)
    if all((folder / name).is_file() for name in ("spec.yaml", "status.json")):
        above = folder.parent if folder.name not in ("", "..") else folder.resolve().parent
        raise SlotlabError(f"{folder} is a run itself; 'slotlab runs {above}' lists it with the others")
    if study.plan.is_file() and not next(folder.glob("*/spec.yaml"), None):
        pools = dict.fromkeys(study.run(run).parent for arm in study.read_plan().arms for run in arm.runs)
        lists = " or ".join(f"'slotlab runs {pool}'" for pool in pools)
        raise SlotlabError(
            f"{folder} is a study, and its runs lie elsewhere; {lists} lists them, "
            f"'slotlab watch {folder}' shows their status"
        )


def study_status(study: str | Path) -> Records:
    """Return the state, progress, loss and metrics of each run of a study, as `slotlab watch` shows them.

    `watched` has the metrics of each look during the training (`training.watch`), and `picture` the file of
    the latest picture of masks.

    >>> import slotlab
    >>> try:
    ...     slotlab.study_status("nowhere").frame()[["arm", "seed", "state", "step"]]
    ... except slotlab.SlotlabError as error:
    ...     print(str(error).split(" ")[0])
    nowhere

    Args:
        study: the folder of a study, or of one run, which may be running.

    Raises:
        SlotlabError: if it is neither.
    """
    return Records(tuple(status_of(Path(study))["runs"]))


def status_of(path: Path) -> dict[str, Any]:
    """Return the status of a study and of each of its runs, or of one run, as JSON-ready data.

    Raises:
        SlotlabError: if the folder is neither.
    """
    if RunFolder(path).spec.is_file():
        return status_of_run(RunFolder(path))
    folder = StudyFolder.open(path)
    plan = folder.read_plan()
    rows = []
    for arm in plan.arms:
        wanted = wanted_of(plan, arm.evaluation)
        for run in arm.runs:
            now = glance(folder.run(run), wanted).to_json(plan.compare.metrics)
            rows.append({"arm": arm.name, "seed": run.seed, "run_id": run.run_id, **now})
    states = [row["state"] for row in rows]
    return {
        "study": str(folder.path),
        "name": plan.name,
        "primary": plan.compare.primary,
        "states": {state: states.count(state) for state in dict.fromkeys(states)},
        "runs": rows,
    }


def status_of_run(run: RunFolder) -> dict[str, Any]:
    """Return the same of one run, whose primary metric is the first of its spec.

    Raises:
        SlotlabError: if its spec is damaged.
    """
    spec = run.read_spec()
    metrics = metric_names(spec)
    now = glance(run.path, None).to_json(metrics)
    row = {"arm": spec["name"], "seed": spec.get("seed", 0), "run_id": run.path.name, **now}
    return {
        "study": str(run.path),
        "name": spec["name"],
        "primary": metrics[0],
        "states": {now["state"]: 1},
        "runs": [row],
    }


def metric_names(spec: Mapping[str, Any]) -> list[str]:
    """Return the names of the metrics in a resolved spec, which is plain data."""
    listed = spec.get("evaluation", {}).get("metrics") or ["ari"]
    return [one["name"] if isinstance(one, Mapping) else str(one) for one in listed]


def wanted_of(plan: StudyPlan, evaluation: Mapping[str, Any]) -> WantedEvaluation | None:
    """Return the evaluation that an arm's runs need; None if the plan does not declare it."""
    if not evaluation:
        return None
    facts: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in evaluation.items()
    }
    return WantedEvaluation(**facts)


def published(protocol: str | None = None) -> Records:
    """Return numbers from the literature, each with its protocol, data and source.

    >>> import slotlab
    >>> {row["protocol"] for row in slotlab.published("clevrtex-official")}
    {'clevrtex-official'}

    Args:
        protocol: those of this protocol; all without it.

    Raises:
        SlotlabError: for a protocol of which no numbers are known.
    """
    from slotlab.framework.evaluation.published import of_protocol, references

    return Records(tuple(one.model_dump(mode="json") for one in of_protocol(references(), protocol)))
