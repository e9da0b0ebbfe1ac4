"""A study's folder: plans come back as they were written, and what is not a study is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import load_spec
from slotlab.framework.study.folder import StudyFolder, StudyPlan
from slotlab.framework.study.load import load_ablation
from slotlab.framework.study.plan import StudyRun, plan_runs, write_study
from slotlab.registry import SlotlabError

Planned = Callable[..., tuple[StudyFolder, list[StudyRun]]]


def test_a_plan_comes_back_as_it_was_written(planned: Planned) -> None:
    study, runs = planned("compare.failed_below=0.1")
    plan = study.read_plan()
    assert StudyPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert [axis.values for axis in plan.axes] == [("7", "8"), ("gaussian", "learnable")]
    assert plan.arms[3].settings == {"model.slots": 8, "model.initializer": "learnable"}
    assert plan.compare.baseline == plan.arms[0].name == "slots=7, init=gaussian"
    assert (plan.compare.metrics, plan.compare.primary) == (("ari", "fg_ari", "mse"), "ari")
    assert (plan.compare.protocol, plan.compare.split) == ("whole (image_size 16)", "val")
    found = {run.run_id: study.run(run).absolute() for arm in plan.arms for run in arm.runs}
    assert found == {run.run_id: run.folder for run in runs}


def test_arms_under_different_protocols_have_none_in_common(planned: Planned) -> None:
    blocks = "{small: {data.protocol.image_size: 16}, large: {data.protocol.image_size: 32, model.decoder.strides: [4]}}"
    study, _ = planned(f"axes.0={{name: size, values: {blocks}}}")
    plan = study.read_plan()
    assert plan.compare.protocol is None
    assert {arm.evaluation["protocol"] for arm in plan.arms} == {
        "whole (image_size 16)",
        "whole (image_size 32)",
    }


def test_the_spec_of_each_run_is_the_run(planned: Planned) -> None:
    study, runs = planned()
    for run in runs:
        assert run_id(load_spec(study.spec(run.run_id)).spec) == run.run_id
    again = load_ablation(study.study)
    assert [arm.run_id(0) for arm in again.arms] == [run.run_id for run in runs[:4]]


def test_what_is_no_study_is_refused(planned: Planned, tmp_path: Path) -> None:
    with pytest.raises(SlotlabError) as caught:
        StudyFolder.open(Path("nowhere"))
    assert str(caught.value) == "nowhere does not exist; 'slotlab ablate FILE' makes one"
    study, runs = planned()
    with pytest.raises(SlotlabError) as caught:
        StudyFolder.open(Path())
    text = ". is not a study: it has no plan.json (studies here: studies/small_study)"
    assert str(caught.value) == f"{text}; 'slotlab ablate FILE' makes one"
    (tmp_path / "other" / "file").mkdir(parents=True)
    with pytest.raises(SlotlabError) as caught:
        write_study(load_ablation("ablation.yaml"), runs, StudyFolder(Path("other")))
    assert str(caught.value) == (
        "other exists and is not a study; give the ablation another name, or --studies DIR"
    )
    study.plan.write_text(json.dumps({"format": 2}))
    with pytest.raises(SlotlabError) as caught:
        study.read_plan()
    assert str(caught.value) == f"{study.plan} is of format 2, and this slotlab reads format 1"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", ": not valid JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"\xff\xff", ": not valid JSON: byte 0 is not UTF-8"),
        (b"{}", " is damaged (name: this key is required); plan it again"),
        (b"[]", ": expected a JSON object {...}, and it holds none"),
        (b'{"format": [1]}', " is of format [1], and this slotlab reads format 1"),
    ],
)
def test_a_damaged_plan_is_named_in_words(planned: Planned, content: bytes, fault: str) -> None:
    study, _ = planned()
    study.plan.write_bytes(content)
    with pytest.raises(SlotlabError) as caught:
        study.read_plan()
    assert str(caught.value) == f"{study.plan}{fault}"


def test_runs_lie_in_one_pool_for_all_studies(planned: Planned) -> None:
    _, first = planned()
    _, second = planned("name=second", "question=why?")
    assert [run.folder for run in first] == [run.folder for run in second]
    other = plan_runs(load_ablation("ablation.yaml"), Path("pool"))
    assert [replace(run, folder=first[i].folder).run_id for i, run in enumerate(other)] == [
        r.run_id for r in first
    ]
