"""Looks that an ablation declares: refused where they do not fit, kept in the plan, remembered on disk."""

from collections.abc import Callable

import pytest

from slotlab.framework.api.ablation import seeds_until
from slotlab.framework.spec.errors import SpecError
from slotlab.framework.study.folder import PlannedLooks, StudyFolder
from slotlab.framework.study.history import read_history
from slotlab.framework.study.load import load_ablation
from slotlab.framework.study.plan import StudyRun
from slotlab.registry import SlotlabError

from .conftest import Pretend

LOOKS = ("seeds=[3, 1, 2]", "compare.sequential={rule: pocock, looks: [2, 3]}")
Planned = Callable[..., tuple[StudyFolder, list[StudyRun]]]


@pytest.mark.parametrize(
    ("looks", "message"),
    [
        ("{rule: pocock, looks: [3, 2]}", "looks are numbers of seeds that rise, such as [3, 5, 8]"),
        (
            "{rule: pocock, looks: [2, 5]}",
            "the last look is after 5 seeds, and 'seeds' has 3; name all seeds beforehand",
        ),
        ("{rule: haybittle, looks: [2, 3]}", "rule"),
        ("{rule: pocock, looks: [3]}", "looks"),
        ("{rule: pocock, looks: [2, 3], alpha: 0.7}", "alpha"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(ablation: str, looks: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        load_ablation("ablation.yaml", sets=("seeds=[3, 1, 2]", f"compare.sequential={looks}"))
    assert message in str(error.value)


def test_seeds_up_to_a_look_are_those_of_the_file_in_its_order(ablation: str) -> None:
    loaded = load_ablation("ablation.yaml", sets=LOOKS)
    assert [seeds_until(loaded, look) for look in (None, 1, 2)] == [(3, 1, 2), (3, 1), (3, 1, 2)]
    with pytest.raises(SlotlabError, match="--look 3: the ablation declares 2 looks"):
        seeds_until(loaded, 3)
    plain = load_ablation("ablation.yaml")
    with pytest.raises(
        SlotlabError, match=r"--look 1: the ablation declares no looks; see compare\.sequential"
    ):
        seeds_until(plain, 1)


def test_the_plan_keeps_the_rule_and_the_history_what_came_after_runs_were_measured(
    planned: Planned, pretend: Pretend
) -> None:
    study, runs = planned("seeds=[0, 1]")
    planned("seeds=[0, 1]")
    (first,) = read_history(study)
    assert (first.seeds, first.measured, first.sequential) == ((0, 1), 0, None)
    for run in runs[:3]:
        pretend.train(run)
    planned("seeds=[0, 1]")
    assert read_history(study) == (first,), "measuring alone is no other plan"
    planned(*LOOKS)
    before, after = read_history(study)
    assert before == first
    assert (after.seeds, after.measured) == ((3, 1, 2), 3), (
        "those of seeds that are planned no more count too"
    )
    assert after.sequential == study.read_plan().compare.sequential == PlannedLooks("pocock", (2, 3), 0.05)
    assert study.read_plan().seeds == (3, 1, 2)
