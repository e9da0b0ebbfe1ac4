"""One damaged run is listed with file and reason, and the rest are compared."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from slotlab.framework.compare.arm_styles import style_arms
from slotlab.framework.compare.comparison import compare_paths
from slotlab.framework.compare.draw_curves import draw_learning_curves
from slotlab.framework.report.build import damaged_logs
from slotlab.framework.report.curves import learning_curves
from slotlab.registry import SlotlabError

SUMMARY = "evaluation/scenes-val-whole-decoder/summary.json"
IMAGES = "evaluation/scenes-val-whole-decoder/images.csv"


@pytest.fixture
def made(synthetic: ModuleType, tmp_path: Path) -> tuple[Path, Path]:
    """A study that may be damaged, and its first run."""
    study = synthetic.write_study(tmp_path, arms=2, seeds=3, images=6)
    return study, min((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("status.json", lambda text: '{"state": "done", "reason": null}', "reason: expected text, got nothing"),
        ("provenance.json", lambda text: text.replace('"kind"', '"kin"', 1), "components.0.kind: this key is required"),
        ("spec.yaml", lambda text: text.replace("seed: 0", "seed: zero"), "seed: expected a whole number, got 'zero'"),
        ("spec.yaml", lambda text: text + "more: .nan\n", "more: expected a finite number"),
        ("cost.json", lambda text: '{"seconds": "long"}', "seconds: expected a number, got 'long'"),
        (SUMMARY, lambda text: text.replace('"mean": 0', '"mean": "0', 1).replace(",", '",', 1), "not valid JSON"),
        (SUMMARY, lambda text: text.replace('"images": 6', '"images": "6"'), "images: expected a whole number, got '6'"),
        (SUMMARY, lambda text: text.replace('"group"', '"grup"', 1), "a row of a breakdown has a 'group'"),
        (SUMMARY, lambda text: text.replace('"mean": ', '"mean": 1e308, "was": ', 1), "the number 1e308 is larger than anything that is measured"),
        (SUMMARY, lambda text: text.replace('"mean": ', '"mean": -1e308, "was": ', 1), "the number -1e308 is larger than anything that is measured"),
    ],
)  # fmt: skip
def test_a_damaged_run_is_left_out_with_the_reason(
    made: tuple[Path, Path], file: str, change: Callable[[str], str], reason: str
) -> None:
    study, run = made
    before = (run / file).read_text()
    (run / file).write_text(change(before))
    assert (run / file).read_text() != before
    comparison = compare_paths([study])
    (lost,) = comparison.left_out
    assert lost.path == run
    assert lost.reason.startswith(f"{run}/{file}: ")
    assert reason in lost.reason
    assert sum(len(arm.members) for arm in comparison.arms) == 5


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: "", "the table has no column 'id'"),
        (lambda text: text.replace("id,", "ident,", 1), "the table has no column 'id'"),
        (lambda text: text.replace(",0.", ",x0.", 1), "could not convert string to float"),
        (lambda text: text.rsplit("model", 1)[0], "it has 5 images, and the summary beside it has 6"),
        (
            lambda text: text.replace(",0.", ",9,0.", 1),
            "a row has more or fewer cells than the table has columns",
        ),
    ],
)
def test_a_run_whose_images_are_damaged_is_left_out(
    made: tuple[Path, Path], change: Callable[[str], str], reason: str
) -> None:
    study, run = made
    text = (run / IMAGES).read_text()
    (run / IMAGES).write_text(change(text))
    for per_image in (False, True):
        (lost,) = compare_paths([study], per_image=per_image).left_out
        assert lost.path == run
        assert lost.reason.startswith(f"{run / IMAGES}: ")
        assert reason in lost.reason


def test_a_damaged_log_costs_its_curves_and_nothing_else(made: tuple[Path, Path], tmp_path: Path) -> None:
    study, run = made
    (run / "metrics.jsonl").write_text('{"kind": "train", "step": "one"}\n')
    comparison = compare_paths([study])
    reason = f"{run}/metrics.jsonl, line 1: step: expected a whole number, got 'one'"
    assert damaged_logs(comparison) == [reason]
    assert learning_curves(comparison)
    stems, damaged = draw_learning_curves(list(style_arms(comparison.arms, None).values())[:1], tmp_path)
    assert damaged == [reason]
    assert stems


def test_one_of_several_studies_may_be_damaged(synthetic: ModuleType, tmp_path: Path) -> None:
    good, bad = (synthetic.write_study(tmp_path / name, arms=1, seeds=2, images=4) for name in "ab")
    (bad / "plan.json").write_text("[")
    comparison = compare_paths([good, bad])
    assert [item.path for item in comparison.left_out] == [bad]
    with pytest.raises(SlotlabError, match=r"plan\.json: not valid JSON"):
        compare_paths([bad])
