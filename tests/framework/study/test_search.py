"""Arms that are searched: the same trials whatever happens, each counted, none averaged in."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from slotlab.framework.api.ablation import conduct
from slotlab.framework.api.searching import search_arms
from slotlab.framework.spec.errors import SpecError
from slotlab.framework.study.ablation import SearchSpec
from slotlab.framework.study.folder import PlannedSearch, StudyFolder
from slotlab.framework.study.labels import Space
from slotlab.framework.study.load import load_ablation
from slotlab.framework.study.run_study import Conductor
from slotlab.framework.study.search import Trial, Trials, finished, propose
from slotlab.registry import SlotlabError

from .conftest import Pretend

SPACE = Space({"slots": [str(n) for n in range(3, 13)], "init": ["gaussian", "learnable", "zero"]})
SEARCH = SearchSpec(trials=18, settings={"n_startup_trials": 4})


def quality(labels: Mapping[str, str]) -> float:
    """The best is 9 slots, learnable."""
    return 1 - abs(int(labels["slots"]) - 9) / 10 - 0.3 * (labels["init"] != "learnable")


def run(search: SearchSpec, number: int, trials: list[Trial] | None = None, sign: int = 1) -> list[Trial]:
    found = list(trials or [])
    while len(found) < number:
        labels = propose(SPACE, search, found, higher_is_better=sign > 0)
        if labels is None:
            break
        found.append(finished(Trial(labels), [sign * quality(labels)] * 2))
    return found


def test_trials_depend_on_the_seed_and_what_was_before_and_on_nothing_else() -> None:
    whole = run(SEARCH, 8)
    assert run(SEARCH, 8, whole[:5]) == whole, "a study that was killed goes on with the same trials"
    other = run(SearchSpec(trials=18, seed=1, settings={"n_startup_trials": 4}), 8)
    assert [one.labels for one in other] != [one.labels for one in whole]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_search_finds_what_is_good_before_it_has_tried_all(sign: int) -> None:
    found = run(SEARCH, 18, sign=sign)
    assert len({str(one.labels) for one in found}) == 18, "no combination is tried twice"
    best = max(found, key=lambda one: sign * (one.value or 0))
    assert quality(best.labels) >= 0.9


def test_a_search_ends_with_the_grid_and_leaves_out_what_is_excluded() -> None:
    small = Space({"slots": ["5", "7"], "init": ["a", "b"]}, exclude=[{"slots": "5", "init": "a"}])
    trials: list[Trial] = []
    while (labels := propose(small, SEARCH, trials, higher_is_better=True)) is not None:
        trials.append(Trial(labels, None, "failed"))
    assert len(trials) == 3
    assert all(one.labels != {"slots": "5", "init": "a"} for one in trials)


def test_a_trial_with_a_run_that_failed_has_no_value() -> None:
    assert finished(Trial({}), [0.2, 0.4]) == Trial({}, pytest.approx(0.3), "complete")
    assert finished(Trial({}), [0.2, None]) == Trial({}, None, "failed")
    assert finished(Trial({}), []) == Trial({}, None, "failed")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "TPESampla"}, "Optuna has no sampler 'TPESampla'; did you mean 'TPESampler'?"),
        ({"sampler": "GridSampler"}, "the sampler GridSampler: "),
        ({"settings": {"startup": 3}}, "the sampler TPESampler: "),
    ],
)
def test_samplers_that_do_not_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SlotlabError) as error:
        run(SEARCH.model_copy(update=changes), 1)
    assert str(error.value).startswith(message)


SETS = (
    "sampling=search",
    "search.trials=3",
    "compare.baseline={slots: 8, init: gaussian}",
    "compare.primary=ari",
)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, pretend: Pretend) -> list[str]:
    """Runs are pretended; the list has the names of those that were trained."""
    names: list[str] = []

    def pretended(self: Conductor, runs: Any) -> None:
        for one in runs:
            names.append(one.name)
            if "init=learnable" in one.name and one.seed == 1:
                pretend.training(one, state="failed", reason="no")
                self.failures[one.run_id] = "no"
            else:
                pretend.training(one)
                pretend.evaluation(one, value=0.1 * len(one.name) / 10)

    monkeypatch.setattr(Conductor, "conduct", pretended)
    return names


def searched(folder: Path, *, sets: tuple[str, ...] = SETS, stop_after: int | None = None) -> dict[str, Any]:
    first, calls = load_ablation("ablation.yaml", sets=sets), 0

    def conducted(ablation: Any) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if stop_after is not None and calls > stop_after:
            raise KeyboardInterrupt
        return conduct(ablation, folder, folder.parent.parent / "runs", device="cpu")

    search = first.spec.search
    assert isinstance(search, SearchSpec)
    load: Callable[..., Any] = partial(load_ablation, "ablation.yaml", sets=sets)
    return search_arms(first, search, folder, lambda arms: load(searched=arms), conducted)


def test_trials_are_runs_of_the_study_and_a_killed_search_goes_on(ablation: str, trained: list[str]) -> None:
    result = searched(Path("whole/studies/small_study"))
    names = list(trained)
    plan = StudyFolder(Path("whole/studies/small_study")).read_plan()
    assert plan.search == PlannedSearch("TPESampler", 3, 0)
    assert plan.arms[0].name == plan.compare.baseline == "slots=8, init=gaussian"
    assert len(plan.arms) == 3
    assert len(names) == 6 == len(set(names)), "each run is trained once"
    failed = sum("init=learnable" in arm.name for arm in plan.arms)
    assert (result["trials"], result["failed_trials"]) == (3, failed)
    assert failed > 0

    trained.clear()
    with pytest.raises(KeyboardInterrupt):
        searched(Path("killed/studies/small_study"), stop_after=2)
    searched(Path("killed/studies/small_study"))
    again = [name for name in trained if "init=learnable" not in name or "seed 1" not in name]
    assert again == [name for name in names if "init=learnable" not in name or "seed 1" not in name]
    one, other = (Path(f"{name}/studies/small_study/trials.json").read_text() for name in ("whole", "killed"))
    assert one == other


def test_another_search_in_the_same_folder_is_refused(ablation: str, trained: list[str]) -> None:
    folder = Path("whole/studies/small_study")
    searched(folder)
    more = load_ablation("ablation.yaml", sets=("sampling=search", "search.trials=4")).spec.search
    assert isinstance(more, SearchSpec)
    assert len(Trials(folder, more).read()) == 3, "more trials keep those that there are"
    with pytest.raises(SlotlabError, match="holds the trials of a search with other settings"):
        Trials(folder, more.model_copy(update={"seed": 5})).read()
    Trials(folder, more).path.write_text('{"format": 1, "search": null, "trials": 3}')
    with pytest.raises(SlotlabError, match="holds the trials of a search with other settings"):
        Trials(folder, more).read()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (("sampling=search", "search={sampler: a}"), "search.trials: this key is required"),
        (("sampling=search", "search={trials: 3, samplr: a}"), "search.samplr: unknown key; did you mean"),
        (("sampling=search",), "'sampling: search' and 'search' go together; give 'search'"),
        (("search={trials: 3}",), "'sampling: search' and 'search' go together; write 'sampling: search'"),
    ],
)
def test_a_search_that_is_written_wrongly_is_refused_with_its_place(
    ablation: str, value: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SpecError) as error:
        load_ablation("ablation.yaml", sets=value)
    assert message in str(error.value)
