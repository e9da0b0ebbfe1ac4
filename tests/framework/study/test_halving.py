"""Arms that are stopped early: by a rule that was declared, the same ones after a kill, counted and never averaged."""

from collections.abc import Mapping
from itertools import permutations
from math import ceil
from pathlib import Path
from typing import Any

import pytest

import slotlab
from slotlab.framework.api.ablation import ablate
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.errors import SpecError
from slotlab.framework.study.folder import PlannedHalving, StudyFolder
from slotlab.framework.study.halving import kept
from slotlab.framework.study.load import load_ablation
from slotlab.framework.study.run_study import Conductor

from .conftest import Pretend

VALUES = {"a": 0.1, "b": 0.4, "c": None, "d": 0.3, "e": 0.2}
SETS = {
    "halving": {"rungs": [10, 20], "keep": 0.5},
    "settings.training": {"watch": {"every_steps": 10}, "phases": [{"steps": 30, "lr": 1e-3}]},
    "compare.baseline": {"slots": 7, "init": "gaussian"},
    "compare.primary": "ari",
}
QUALITY = {
    "slots=7, init=gaussian": 0.1,
    "slots=7, init=learnable": 0.4,
    "slots=8, init=gaussian": 0.2,
    "slots=8, init=learnable": 0.3,
}


@pytest.mark.parametrize("keep", [0.1, 0.4, 0.5, 0.9])
@pytest.mark.parametrize("higher", [True, False])
def test_the_best_go_on_and_the_baseline_does(keep: float, higher: bool) -> None:
    found = kept(VALUES, keep, "c", higher_is_better=higher)
    assert "c" in found
    others = [name for name in found if name != "c"]
    assert len(others) == min(ceil(keep * len(VALUES)), 4)
    worst = [VALUES[name] for name in VALUES if name not in found]
    assert all((VALUES[one] > value) == higher for one in others for value in worst)  # type: ignore[operator]


def test_the_order_of_arms_decides_between_equal_ones_alone() -> None:
    for order in permutations(VALUES):
        found = kept({name: VALUES[name] for name in order}, 0.5, "a", higher_is_better=True)
        assert set(found) == {"a", "b", "d", "e"}
    assert kept(dict.fromkeys("xyz", 0.5), 0.3, "x", higher_is_better=True) == ("x",)
    assert kept(dict.fromkeys("xyz"), 0.3, "y", higher_is_better=True) == ("y",)


class Killed(Exception):  # noqa: N818 - stands for a power cut
    """The study ends here."""


class Machine:
    """Pretends trainings, and may be killed after some of them."""

    def __init__(self, pretend: Pretend):
        self.pretend = pretend
        self.started: list[tuple[str, int | None]] = []
        self.lives: int | None = None
        self.broken: Mapping[tuple[str, int], int] = {}
        """The step at which a run fails, by its arm and seed."""

    def conduct(self, conductor: Conductor, runs: Any) -> None:
        for run in runs:
            if self.lives == 0:
                raise Killed
            self.lives = None if self.lives is None else self.lives - 1
            self.started.append((run.name, conductor.until))
            end = conductor.until or 30
            fails = self.broken.get((run.arm.name, run.seed), 1000)
            state = "failed" if fails <= end else "done" if conductor.until is None else "stopped"
            folder = self.pretend.training(run, steps=min(end, fails), state=state)
            for step in range(10, min(end, fails - 1) + 1, 10):
                value = QUALITY[run.arm.name] + 0.01 * run.seed
                folder.log({"kind": "watch", "step": step, "epoch": 0, "ari": value, "mse": 1 - value})
            if state == "failed":
                conductor.failures[run.run_id] = "no"
            if state == "done":
                self.pretend.evaluation(run, value=QUALITY[run.arm.name], step=30)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, pretend: Pretend) -> Machine:
    made = Machine(pretend)
    monkeypatch.setattr(Conductor, "conduct", lambda self, runs: made.conduct(self, runs))
    return made


def study(place: str, **settings: Any) -> slotlab.results.Study:
    return ablate(
        "ablation.yaml", {**SETS, **settings}, studies=f"{place}/studies", runs=f"{place}/runs", device="cpu"
    )


def stopped(place: str) -> Mapping[str, int]:
    rule = StudyFolder(Path(place, "studies/small_study")).read_plan().halving
    assert isinstance(rule, PlannedHalving)
    return rule.stopped


def test_hopeless_arms_end_at_their_rung_and_the_others_at_the_end(ablation: str, machine: Machine) -> None:
    found = study("whole")
    assert stopped("whole") == {"slots=8, init=gaussian": 10}
    last = {run["arm"]: (run["state"], run["step"]) for run in found.runs}
    assert last["slots=8, init=gaussian"] == ("stopped", 10)
    assert {one for name, one in last.items() if name != "slots=8, init=gaussian"} == {("done", 30)}
    stages = [sum(until == step for _, until in machine.started) for step in (10, 20, None)]
    assert stages == [8, 6, 6]
    machine.started.clear()
    study("whole")
    assert machine.started == [], "what is done stays, and what was stopped is not begun again"


@pytest.mark.parametrize("lives", [0, 3, 8, 11, 17])
def test_a_killed_study_goes_on_to_the_same_end(ablation: str, machine: Machine, lives: int) -> None:
    study("whole", **{"halving.keep": 0.4})
    whole = list(machine.started)
    machine.started.clear()
    machine.lives = lives
    with pytest.raises(Killed):
        study("killed", **{"halving.keep": 0.4})
    machine.lives = None
    study("killed", **{"halving.keep": 0.4})
    assert sorted(map(str, machine.started)) == sorted(map(str, whole)), "each stage of each run once"
    assert stopped("killed") == stopped("whole")


def test_an_arm_with_a_failed_run_is_worst_and_fails_no_other(ablation: str, machine: Machine) -> None:
    machine.broken = {("slots=7, init=learnable", 1): 5}
    found = study("whole")
    assert stopped("whole")["slots=7, init=learnable"] == 10
    assert len(found.failed) == 1
    assert {run["arm"] for run in found.runs if run["state"] == "done"} == {
        "slots=7, init=gaussian",
        "slots=8, init=gaussian",
        "slots=8, init=learnable",
    }


def test_less_may_be_better(ablation: str, machine: Machine) -> None:
    study("ari")
    study("mse", **{"halving.metric": "mse"})  # here 1 - ARI
    assert stopped("mse") == stopped("ari")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"halving.rungs": [20, 10]}, "rungs are steps that rise, such as [500, 2000]"),
        (
            {"halving.rungs": [15]},
            "is looked at every 10 steps, and not at each rung; set settings.training.watch.every_steps=15",
        ),
        ({"settings.training.watch.every_steps": None}, "is looked at never, and not at each rung"),
        (
            {"halving.rungs": [30]},
            "the last rung is step 30, and the arm 'slots=7, init=gaussian' ends with step 30",
        ),
        ({"halving.metric": "arri"}, "'arri' is not in evaluation.metrics; did you mean 'ari'?"),
        ({"halving.keep": 1}, "halving.keep"),
        (
            {"sampling": "search", "search": {"trials": 2}},
            "arms that are stopped early and 'sampling: search' do not go together; leave one of them out",
        ),
        (
            {"seeds": [0, 1, 2], "compare.sequential": {"rule": "pocock", "looks": [2, 3]}},
            "arms that are stopped early and 'compare.sequential' do not go together; leave one of them out",
        ),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(ablation: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as error:
        slotlab.ablate("ablation.yaml", {**SETS, **changes}, dry_run=True)
    assert message in str(error.value)


def test_a_rule_changes_no_identity(ablation: str) -> None:
    sets = ["settings.training.phases=[{steps: 30, lr: 1e-3}]", "settings.training.watch.every_steps=10"]
    plain, halved = (
        load_ablation("ablation.yaml", sets=[*sets, *more]) for more in ((), ("halving.rungs=[10]",))
    )
    assert [arm.run_id(0) for arm in plain.arms] == [arm.run_id(0) for arm in halved.arms]


@pytest.mark.slow
def test_real_trainings_are_stopped_and_said_by_compare(base: str, ablation: str, slotlab: Any) -> None:
    sets = [
        "settings.data.dataset={name: scenes, max_objects: 3, num_train: 4, num_val: 2, textures: [plain]}",
        "settings.data.protocol.image_size=8",
        "settings.model={slots: 4, encoder: {channels: [4]}, decoder: {broadcast_size: 4}}",
        "settings.training={phases: [{steps: 3, lr: 1e-3}], watch: {every_steps: 1}}",
        "axes=[{name: slots, path: model.slots, values: [3, 4, 5]}]",
        "halving={rungs: [1], keep: 0.1}",
        "seeds=[0, 1]",
        "launcher={name: local, jobs: 2, gpus: []}",
    ]
    code, out, err = slotlab("ablate", "ablation.yaml", "--device", "cpu", *(f"--set={one}" for one in sets))
    assert code == 0, err
    fallen = stopped(".")
    assert 1 <= len(fallen) <= 2
    for name in fallen:
        assert f"{name}, seed 0: trained until step 1" in err, err
    code, out, err = slotlab("compare", "studies/small_study")
    assert code == 0, err
    assert f"arms that were stopped early, whose runs are left out and in no mean: {len(fallen)} (" in out
    assert out.count("not finished: stopped") == 2 * len(fallen)
    for run in Path("runs").glob("[0-9a-f]*"):
        one = RunFolder(run)
        assert (one.read_status()["state"] == "done") == bool(one.evaluations())
