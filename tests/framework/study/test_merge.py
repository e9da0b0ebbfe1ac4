"""Parts of a study from several machines become one, and nothing is lost or mixed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from slotlab.framework.api.merging import merge, merge_paths
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.plain_settings import load_dumped
from slotlab.framework.study.folder import StudyFolder
from slotlab.framework.study.history import read_history
from slotlab.framework.study.merge import MARK, merge_studies
from slotlab.framework.study.plan import StudyRun
from slotlab.framework.system.json_files import read_json, write_json
from slotlab.framework.system.locks import exclusive
from slotlab.registry import SlotlabError

from .conftest import Pretend

Planned = Callable[..., tuple[StudyFolder, list[StudyRun]]]


def part(name: str) -> Path:
    """Move what lies in the current folder to a folder of its own, as if from another machine."""
    for folder in ("studies", "runs"):
        if Path(folder).exists():
            Path(name).mkdir(exist_ok=True)
            Path(folder).rename(Path(name) / folder)
    return Path(name) / "studies" / "small_study"


@pytest.fixture
def parts(planned: Planned, pretend: Pretend) -> tuple[Path, Path]:
    """Seeds 0 and 1 on one machine, 1 and 2 on the other, seed 1 equal; the other lacks a run of seed 2."""
    for name, seeds, lacking in (("a", "[0, 1]", 0), ("b", "[1, 2]", 1)):
        _, runs = planned(f"seeds={seeds}")
        for run in runs[: len(runs) - lacking]:
            pretend.train(run)
        part(name)
    return Path("a/studies/small_study"), Path("b/studies/small_study")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_of(study: Path, seed: int, arm: int = 0) -> Path:
    planned = StudyFolder(study).read_plan().arms[arm].runs
    return next(StudyFolder(study).run(run) for run in planned if run.seed == seed)


def test_parts_become_one_study_and_stay_as_they_are(parts: tuple[Path, Path]) -> None:
    before = [files(Path(name)) for name in "ab"]
    place = merge(*parts, into="whole")
    assert [files(Path(name)) for name in "ab"] == before
    study = StudyFolder(place)
    plan = study.read_plan()
    assert plan.seeds == (0, 1, 2)
    for arm in plan.arms:
        for run in arm.runs:
            if run.seed == 2 and arm is plan.arms[-1]:
                assert not study.run(run).exists(), "nobody has begun it"
                continue
            source = run_of(parts[0] if run.seed < 2 else parts[1], run.seed, plan.arms.index(arm))
            assert files(study.run(run)) == files(source)
    assert {path.stem for path in (place / "specs").iterdir()} == set(plan.run_ids)
    assert load_dumped(study.study)["seeds"] == [0, 1, 2]
    assert [one.seeds for one in read_history(study)] == [(0, 1), (1, 2), (0, 1, 2)]
    assert not (Path("whole") / MARK).exists()
    assert not Path("whole.merging").exists()


def test_the_order_of_parts_changes_no_run(parts: tuple[Path, Path]) -> None:
    merge(*parts, into="one")
    merge(*reversed(parts), into="other")
    assert files(Path("one/runs")) == files(Path("other/runs"))


def test_what_is_taken_and_what_is_not_is_said(
    parts: tuple[Path, Path], planned: Planned, pretend: Pretend
) -> None:
    _, runs = planned("seeds=[0, 1]")
    pretend.training(runs[0], steps=1, state="stopped")
    third = part("c")
    rows = merge_paths([*parts, third], Path("whole"))["runs"]
    by_seed = {row["seed"]: row for row in rows if row["arm"] == rows[0]["arm"]}
    assert by_seed[0]["set_aside"] == [str(run_of(third, 0).resolve())]
    assert by_seed[1]["equal"] == [str(run_of(parts[1], 1).resolve())]
    assert (by_seed[2]["state"], by_seed[2]["equal"]) == ("done", [])
    assert [row["state"] for row in rows].count("waiting") == 1


def test_an_evaluation_that_only_an_equal_copy_has_is_kept(parts: tuple[Path, Path]) -> None:
    other = RunFolder(run_of(parts[1], 1))
    more = other.evaluation("scenes-test-whole-decoder")
    shutil.copytree(other.evaluations()[0], more)
    place = merge(*parts, into="whole")
    assert len(RunFolder(run_of(place, 1)).evaluations()) == 2


def change_value(study: Path, seed: int, value: float) -> None:
    summary = RunFolder(run_of(study, seed)).evaluations()[0] / "summary.json"
    data = read_json(summary)
    data["methods"]["model"] = {name: {"mean": value} for name in data["methods"]["model"]}
    write_json(summary, data)


def edit_plan(study: Path, edit: Callable[[dict[str, object]], None]) -> None:
    path = StudyFolder(study).plan
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def fingerprint(study: Path, seed: int, text: str) -> None:
    run = RunFolder(run_of(study, seed))
    run.write_provenance({**run.read_provenance(), "data": {"train": {"fingerprint": text}}})


def test_contradictions_are_refused_together_and_nothing_is_written(parts: tuple[Path, Path]) -> None:
    change_value(parts[1], 1, 0.75)
    fingerprint(parts[0], 0, "aaaa")
    fingerprint(parts[1], 2, "bbbb")
    with pytest.raises(SlotlabError) as error:
        merge(*parts, into="whole")
    text = str(error.value)
    assert text.startswith("these studies cannot be merged:\n")
    assert (
        "are the same run and differ in the evaluation scenes-val-whole-decoder; keep the one that you"
        in text
    )
    assert "were trained on other data: " in text
    assert "(aaaa)" in text
    assert not Path("whole").exists()
    assert not Path("whole.merging").exists()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda plan: plan["compare"].update(primary="mse"), "has another 'compare' than"),
        (lambda plan: plan["arms"][0].update(settings={"model.slots": 3}), "has other settings in"),
        (lambda plan: plan["arms"][0].update(name="another"), "has other arms than"),
        (lambda plan: plan["arms"][0]["runs"][0].update(run_id="0" * 12), "is another run in two studies"),
    ],
)
def test_parts_of_other_ablations_are_refused(
    parts: tuple[Path, Path], edit: Callable[[dict[str, object]], None], message: str
) -> None:
    edit_plan(parts[1], edit)
    with pytest.raises(SlotlabError, match=message):
        merge(*parts, into="whole")


def test_other_losses_and_runs_in_training_are_refused(parts: tuple[Path, Path]) -> None:
    one = RunFolder(run_of(parts[1], 1))
    one.log({"kind": "train", "step": 3, "loss": 0.4})
    with exclusive(run_of(parts[0], 0), "training"), pytest.raises(SlotlabError) as error:
        merge(*parts, into="whole")
    assert "are the same run and have other losses" in str(error.value)
    assert "is being trained; wait for its end" in str(error.value)


def test_a_killed_merge_leaves_nothing_that_is_in_the_way(parts: tuple[Path, Path]) -> None:
    Path("whole.merging/runs").mkdir(parents=True)
    (Path("whole.merging") / MARK).touch()
    merge_studies(parts, Path("whole"))
    with pytest.raises(SlotlabError, match="whole exists; name a new folder with --into DIR"):
        merge(*parts, into="whole")
    for paths in (parts[:1], (parts[0], parts[0])):
        with pytest.raises(SlotlabError, match="name two or more studies, each once"):
            merge(*paths, into="other")
