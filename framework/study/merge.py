"""One study that several machines trained in parts, brought together: plans, specs, logs and runs.

The studies are copied and stay as they are. Torch is not imported.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from slotlab.framework.runs.folder import IMAGES, MODEL, RunFolder
from slotlab.framework.spec.plain_settings import load_dumped
from slotlab.framework.spec.tree import dump
from slotlab.framework.study.folder import PlannedArm, PlannedRun, StudyFolder, StudyPlan
from slotlab.framework.study.history import FORMAT, note_plan, read_history
from slotlab.framework.study.run_status import lies
from slotlab.framework.system.atomic import write_atomically
from slotlab.framework.system.json_files import write_json
from slotlab.framework.system.locks import is_held
from slotlab.registry import SlotlabError

MARK = ".slotlab-merge"
"""A file in a folder that a merge is being written into."""
RANK = ("failed", "interrupted", "stopped", "running", "done")
"""States of runs, the further ones last."""


@dataclass(frozen=True)
class MergedRun:
    """Which copy of a run was taken."""

    arm: str
    seed: int
    run_id: str
    state: str
    """`waiting` if no study has begun it."""
    source: Path | None
    """The folder that was copied; None if no study has begun it."""
    equal: tuple[Path, ...] = ()
    """Finished copies of the same content, which were not taken but for evaluations that `source` lacks."""
    set_aside: tuple[Path, ...] = ()
    """Copies that did not get as far, and were not taken."""


@dataclass
class Merge:
    """What is known of the studies to be merged."""

    folders: Sequence[StudyFolder]
    plans: Sequence[StudyPlan]
    problems: list[str] = field(default_factory=list)

    def refuse(self, text: str) -> None:
        """Note why the studies must not be merged."""
        if text not in self.problems:
            self.problems.append(text)


def merge_studies(paths: Sequence[Path], into: Path) -> list[MergedRun]:
    """Copy studies of the same ablation into one: INTO/studies/NAME, with its runs in INTO/runs.

    Raises:
        SlotlabError: if they are not parts of one study, or contradict each other, with all the reasons; if
            `into` exists. Nothing is written then.
    """
    merge = read_studies(paths)
    check_plans(merge)
    plan = replace(merge.plans[0], arms=tuple(union_arm(merge, arm.name) for arm in merge.plans[0].arms))
    found = [choose(merge, arm, run) for arm in plan.arms for run in arm.runs]
    check_data(merge, plan, found)
    if merge.problems:
        lines = "\n".join(f"  {text}" for text in merge.problems)
        raise SlotlabError(f"these studies cannot be merged:\n{lines}")
    write(merge, plan, found, into)
    return found


def read_studies(paths: Sequence[Path]) -> Merge:
    """Read the plans of several studies."""
    folders = [StudyFolder.open(path.resolve()) for path in paths]
    if len({one.path for one in folders}) < max(2, len(paths)):
        raise SlotlabError("name two or more studies, each once")
    return Merge(folders, [one.read_plan() for one in folders])


def check_plans(merge: Merge) -> None:
    """Refuse plans that are not of one ablation: they may differ in their seeds alone."""
    first, where = merge.plans[0], merge.folders[0].path
    for folder, plan in zip(merge.folders[1:], merge.plans[1:], strict=True):
        for name in ("name", "base", "axes", "compare"):
            if getattr(first, name) != getattr(plan, name):
                merge.refuse(f"{folder.path} has another '{name}' than {where}")
        arms, others = ({arm.name: arm for arm in one.arms} for one in (first, plan))
        if unlike := sorted(arms.keys() ^ others.keys()):
            merge.refuse(f"{folder.path} has other arms than {where}: {', '.join(unlike[:6])}")
        for name in arms.keys() & others.keys():
            one, other = arms[name], others[name]
            if (one.settings, one.labels, one.evaluation) != (other.settings, other.labels, other.evaluation):
                merge.refuse(f"the arm '{name}' has other settings in {folder.path} than in {where}")
        if first.compare.sequential is not None and first.seeds != plan.seeds:
            merge.refuse(
                f"{folder.path} has other seeds than {where}, and looks are declared for all of them"
            )


def union_arm(merge: Merge, name: str) -> PlannedArm:
    """Return an arm with the seeds of all studies."""
    runs: dict[int, PlannedRun] = {}
    arms = [arm for plan in merge.plans for arm in plan.arms if arm.name == name]
    for arm in arms:
        for run in arm.runs:
            known = runs.setdefault(run.seed, run)
            if known.run_id != run.run_id:
                merge.refuse(
                    f"the arm '{name}' with seed {run.seed} is another run in two studies ({known.run_id}, "
                    f"{run.run_id}): the spec, or the version of a component, differs"
                )
    moved = (replace(run, run=f"../../runs/{run.run_id}") for run in runs.values())
    return replace(arms[0], runs=tuple(moved))


def choose(merge: Merge, arm: PlannedArm, run: PlannedRun) -> MergedRun:
    """Choose the copy of a run that got furthest; finished copies must be equal."""
    copies: dict[Path, RunFolder] = {}
    for folder, plan in zip(merge.folders, merge.plans, strict=True):
        for planned in (one for arm in plan.arms for one in arm.runs if one.run_id == run.run_id):
            place = folder.run(planned).resolve()
            if lies(RunFolder(place).spec):
                copies.setdefault(place, RunFolder(place))
    if not copies:
        return MergedRun(arm.name, run.seed, run.run_id, "waiting", None)
    for place, one in copies.items():
        if is_held(place):
            merge.refuse(f"{place} is being trained; wait for its end")
        if (found := one.read_provenance().get("run_id")) not in (None, run.run_id):
            merge.refuse(f"{place} holds another run than its plan says ({found}, not {run.run_id})")
    ordered = sorted(copies.values(), key=progress, reverse=True)
    best, state = ordered[0], ordered[0].read_state() or "unknown"
    equal = [one for one in ordered[1:] if state == one.read_state() == "done"]
    for other in equal:
        for text in contradictions(best, other):
            merge.refuse(text)
    aside = tuple(one.path for one in ordered[1:] if one not in equal)
    return MergedRun(
        arm.name, run.seed, run.run_id, state, best.path, tuple(one.path for one in equal), aside
    )


def progress(run: RunFolder) -> tuple[int, int, int]:
    """Return how far a run got: its state, its last step and the number of its evaluations."""
    state = run.read_state() or ""
    steps = [line.get("step", 0) for line in run.read_log()]
    return (RANK.index(state) if state in RANK else -1, max(steps, default=0), len(run.evaluations()))


def contradictions(one: RunFolder, other: RunFolder) -> Iterator[str]:
    """Yield in what two finished copies of a run differ: losses, or what was measured."""
    pair = f"{one.path} and {other.path}"
    if losses(one) != losses(other):
        yield f"{pair} are the same run and have other losses; keep the one that you trust"
    summaries, others = one.read_summaries(), other.read_summaries()
    for name in sorted(summaries.keys() & others.keys()):
        same = summaries[name].get("methods", {}).get(MODEL) == others[name].get("methods", {}).get(MODEL)
        tables = [run.evaluation(name) / IMAGES for run in (one, other)]
        if not same or content(tables[0]) != content(tables[1]):
            yield f"{pair} are the same run and differ in the evaluation {name}; keep the one that you trust"


def losses(run: RunFolder) -> list[tuple[Any, Any]]:
    """Return (step, loss) of each line of a run's log."""
    return [(line.get("step"), line.get("loss")) for line in run.read_log() if line.get("kind") == "train"]


def content(path: Path) -> bytes | None:
    """Return a file's content; None if there is none."""
    return path.read_bytes() if path.is_file() else None


def check_data(merge: Merge, plan: StudyPlan, found: Sequence[MergedRun]) -> None:
    """Refuse runs of an arm that were trained on other data, and evaluations of other data by one name."""
    measured: dict[str, dict[str, Path]] = {}
    for arm in plan.arms:
        trained: dict[str, Path] = {}
        for one in found:
            if one.arm != arm.name or one.source is None:
                continue
            for place in (one.source, *one.equal):
                run = RunFolder(place)
                train = run.read_provenance().get("data", {}).get("train", {})
                _note(trained, train.get("fingerprint"), place)
                for name, summary in run.read_summaries().items():
                    data: Mapping[str, Any] = summary.get("data") or {}
                    _note(measured.setdefault(name, {}), data.get("fingerprint"), place)
        if len(trained) > 1:
            merge.refuse(f"runs of the arm '{arm.name}' were trained on other data: {_places(trained)}")
    for name, places in measured.items():
        if len(places) > 1:
            merge.refuse(f"runs were evaluated on other data as {name}: {_places(places)}")


def _note(places: dict[str, Path], fingerprint: Any, place: Path) -> None:
    if fingerprint is not None:
        places.setdefault(str(fingerprint), place)


def _places(places: Mapping[str, Path]) -> str:
    return ", ".join(f"{place} ({fingerprint})" for fingerprint, place in places.items())


def write(merge: Merge, plan: StudyPlan, found: Sequence[MergedRun], into: Path) -> None:
    """Write the merged study beside its place, and move it there when it is whole.

    Raises:
        SlotlabError: if there is anything at its place.
    """
    if lies(into):
        raise SlotlabError(f"{into} exists; name a new folder with --into DIR")
    part = into.with_name(f"{into.name}.merging")
    if (part / MARK).is_file():  # of a merge that was killed
        shutil.rmtree(part)
    part.mkdir(parents=True)
    (part / MARK).touch()
    study = StudyFolder(part / "studies" / plan.name)
    for folder in (study.spec("").parent, study.log("").parent, part / "runs"):
        folder.mkdir(parents=True)
    for one in found:
        copy_run(one, part / "runs" / one.run_id)
        copy_texts(merge, one, study)
    study.write_plan(plan)
    ablation = json.loads(json.dumps(load_dumped(merge.folders[0].study)))  # texts without their folder
    write_atomically(study.study, dump({**ablation, "seeds": list(plan.seeds)}).encode())
    past = dict.fromkeys(one for folder in merge.folders for one in read_history(folder))
    if past:
        write_json(study.history, {"format": FORMAT, "plans": [vars(one) | _looks(one) for one in past]})
    note_plan(study, plan, 0)
    part.rename(into)
    (into / MARK).unlink()


def _looks(past: Any) -> dict[str, Any]:
    return {"sequential": None if past.sequential is None else vars(past.sequential)}


def copy_run(one: MergedRun, target: Path) -> None:
    """Copy a run, and evaluations that only an equal copy has."""
    if one.source is None or target.exists():
        return
    shutil.copytree(one.source, target, symlinks=True)
    for place in one.equal:
        for evaluation in RunFolder(place).evaluations():
            if not (there := RunFolder(target).evaluation(evaluation.name)).exists():
                shutil.copytree(evaluation, there, symlinks=True)


def copy_texts(merge: Merge, one: MergedRun, study: StudyFolder) -> None:
    """Copy the spec of a run, and what it printed on every machine, one after the other."""
    for name in ("spec", "log"):
        every = [content(getattr(folder, name)(one.run_id)) for folder in merge.folders]
        texts = list(dict.fromkeys(text for text in every if text))
        if texts:
            joined = texts[0] if name == "spec" else b"".join(texts)
            write_atomically(getattr(study, name)(one.run_id), joined)
