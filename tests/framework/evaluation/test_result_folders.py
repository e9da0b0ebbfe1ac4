"""Whatever changes what is measured makes another evaluation; the same measurement again replaces itself."""

import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import slotlab
from slotlab.framework.evaluation.conditions import EvaluationRequest, conditions, own_condition
from slotlab.framework.evaluation.result_folders import Place, Places
from slotlab.framework.jobs.evaluate import run_evaluations
from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.runs.folder import MODEL, RunFolder
from slotlab.framework.spec.load import load_spec
from slotlab.registry import SlotlabError

CPU = torch.device("cpu")
SPEC = """
format: 1
name: small
data:
  dataset: {name: scenes, min_objects: 2, max_objects: 3, num_train: 4, num_val: 3, num_test: 3, textures: [plain]}
  protocol: {name: whole, image_size: 16}
model:
  slots: 4
  slot_dim: 8
  encoder: {name: cnn, channels: [4]}
  initializer: gaussian
  grouping: slot_attention
  decoder: {name: spatial_broadcast, channels: [4], strides: [2]}
training:
  batch_size: 2
  phases: [{steps: 6, lr: 1e-2}]
  checkpoint: {best: ari, keep: 9, every_epochs: 1}
evaluation: {batch_size: 4}
"""
OWN = "scenes-val-whole-decoder"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("spec.yaml").write_text(SPEC)
        loaded = prepare("spec.yaml").loaded
        yield run_training(loaded, folder / "run", device=CPU, report=lambda progress: None)


@pytest.fixture
def run(made: RunFolder, tmp_path: Path) -> RunFolder:
    """A trained run that was never evaluated."""
    shutil.copytree(made.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def measure(run: RunFolder, *sets: str, figures: bool = False, **wanted: Any) -> dict[str, Any]:
    loaded = load_spec(run.spec, sets=sets)
    [summary] = run_evaluations(
        run, loaded, conditions(loaded, EvaluationRequest(**wanted)), device=CPU, figures=figures
    )
    return summary


def folders(run: RunFolder) -> dict[str, bytes]:
    return {path.name: (path / "summary.json").read_bytes() for path in run.evaluations()}


OTHERS: dict[str, Sequence[str]] = {
    "slots": ["evaluation.slots=6"],
    "max_images": ["evaluation.max_images=2"],
    "recipe": ["data.dataset.min_objects=3"],
    "another seed of data": ["data.seed=3"],
    "range": ["data.value_range=unit"],
    "split": ["evaluation.split=test"],
    "masks": ["evaluation.mask_source=attention"],
    "variant": ["data.dataset.variant=camo", "data.dataset.textures=null"],
    "protocol": ["data.protocol.resize=torch"],
    "metrics": ["evaluation.metrics=[mbo]"],
    "best": ["evaluation.checkpoint=best"],
    "step": ["evaluation.checkpoint=2"],
}


def test_other_measurements_lie_beside_the_first_and_each_replaces_itself(run: RunFolder) -> None:
    first = measure(run)
    assert (first["evaluation"], list(folders(run))) == (OWN, [OWN])
    before = folders(run)[OWN]
    names = {OWN: "its own"}
    for what, sets in OTHERS.items():
        other = measure(run, *sets)
        assert other["evaluation"] not in names, f"{what} has the name of {names[other['evaluation']]}"
        names[other["evaluation"]] = what
        assert folders(run)[OWN] == before, what
    written = folders(run)
    assert set(written) == set(names)
    for what in ("slots", "recipe", "metrics", "best"):
        measure(run, *OTHERS[what])
    assert measure(run) == first
    assert folders(run) == written


def test_an_evaluation_that_computes_all_that_was_computed_before_replaces_it(run: RunFolder) -> None:
    measure(run)
    more = "evaluation.metrics=[ari, fg_ari, {name: mse}, {name: boundary_f, tolerance: 0.05}]"
    assert measure(run, more)["evaluation"] == OWN
    again = measure(run)
    assert again["evaluation"] != OWN, "with fewer it would lose what there is"
    other = measure(run, more.replace("0.05", "0.1"))
    assert other["evaluation"] != OWN, "it is another definition of a metric"
    kept = json.loads(folders(run)[OWN])["metrics"]["boundary_f"]
    assert kept["settings"] == {"tolerance": 0.05}
    assert other["evaluation"] == again["evaluation"], "which had nothing but what this one has"
    assert len(folders(run)) == 2


def test_of_definitions_of_a_metric_the_one_measured_last_is_compared(run: RunFolder) -> None:
    """Also if an earlier one is measured again; all of them stay, and the comparison names those it passes over."""
    means = {}
    for tolerance in (0.3, 0.0, 0.1, 0.3, 0.3, 0.0):
        summary = measure(run, f"evaluation.metrics=[ari, {{name: boundary_f, tolerance: {tolerance}}}]")
        means[tolerance] = summary["methods"][MODEL]["boundary_f"]["mean"]
        before = folders(run)
        for metrics in (["boundary_f"], []):
            found = slotlab.compare(run.path, metrics=metrics).comparison
            assert found.arms[0].statistics["boundary_f"].mean == means[tolerance]
            told = [note for note in found.notes if "after their definition had changed" in note]
            passed = {name for note in told for name in note.partition("not compared: ")[2].split("; ")}
            assert passed == before.keys() - {summary["evaluation"]}
    assert len({*means.values()}) == len(folders(run)) == 3
    same = f"evaluation.metrics=[ari, {{name: boundary_f, tolerance: {tolerance}}}]"
    measure(run, same)
    assert folders(run) == before, "measured again the newest is the same"


def test_a_limit_that_leaves_no_image_out_is_none(run: RunFolder) -> None:
    assert measure(run) == measure(run, "evaluation.max_images=3")
    assert list(folders(run)) == [OWN]


@pytest.mark.parametrize("what", ["slots", "recipe", "metrics", "max_images"])
def test_the_runs_own_evaluation_has_its_plain_name_whatever_was_measured_before(
    run: RunFolder, what: str
) -> None:
    other = measure(run, *OTHERS[what])
    kept = folders(run)[other["evaluation"]]
    own = measure(run)
    assert folders(run)[other["evaluation"]] == kept
    assert own["evaluation"] != other["evaluation"]
    assert own["evaluation"].startswith(OWN)
    if what != "metrics":
        assert own["evaluation"] == OWN
        assert other["changes"]
        assert not own["changes"]


def test_conditions_of_one_call_whose_names_would_be_the_same(run: RunFolder) -> None:
    """A run with 4 slots on scenes of 2 and 3 objects and, with 6 slots, on those of 5."""
    found = []
    for sets in ((), ("data.dataset.max_objects=5", "data.dataset.min_objects=5", "evaluation.slots=6")):
        found += conditions(prepare(run.spec, sets=sets).loaded, EvaluationRequest())
    one, other = run_evaluations(run, prepare(run.spec).loaded, found, device=CPU)
    assert one["evaluation"] != other["evaluation"]
    assert (one["slots"], other["slots"]) == (4, 6)
    assert one["data"]["fingerprint"] != other["data"]["fingerprint"]
    written = {name: json.loads(text) for name, text in folders(run).items()}
    assert {name: summary["slots"] for name, summary in written.items()} == {
        one["evaluation"]: 4,
        other["evaluation"]: 6,
    }
    for summary in (one, other):
        name = summary["evaluation"]
        assert (run.figures / f"panels-{name}.png").is_file()
        assert (run.evaluation(name) / "samples" / "index.json").is_file()
        with (run.evaluation(name) / "images.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 3
    counts = [{int(row["objects"]) for row in rows}]
    assert counts == [{5}] or max(counts[0]) <= 5


def test_settings_of_a_protocol_by_name_that_would_share_a_name(run: RunFolder) -> None:
    blocks = [f"{{name: seed, image_size: 16, crop: {crop}}}" for crop in (100, 120)]
    loaded = prepare(run.spec).loaded
    found = run_evaluations(
        run, loaded, conditions(loaded, EvaluationRequest(protocols=blocks)), device=CPU, figures=False
    )
    assert len({one["evaluation"] for one in found}) == len(folders(run)) == 2
    assert [one["protocol"] for one in found] == [f"seed (image_size 16, crop {c})" for c in (100, 120)]


def test_the_same_condition_twice_is_refused(run: RunFolder) -> None:
    loaded = prepare(run.spec).loaded
    with pytest.raises(SlotlabError, match="they are the same; ask for one of them"):
        conditions(loaded, EvaluationRequest(protocols=["whole", "whole"]))


def test_a_summary_of_an_earlier_version_is_replaced_by_the_same_measurement_alone(run: RunFolder) -> None:
    """It has the plain word as fingerprint of generated pictures, and none of the newer facts."""
    measure(run)
    path = run.evaluation(OWN) / "summary.json"
    summary = json.loads(path.read_text())
    for name in ("checkpoint", "max_images", "evaluation", "changes", "baselines", "composition"):
        del summary[name]
    summary["data"]["fingerprint"] = "generated"
    del summary["data"]["settings"], summary["data"]["seed"]
    path.write_text(json.dumps(summary))
    old = folders(run)
    other = measure(run, "evaluation.slots=6")
    assert folders(run)[OWN] == old[OWN]
    assert set(folders(run)) == {OWN, other["evaluation"]}
    assert measure(run)["evaluation"] == OWN
    assert json.loads(path.read_text())["data"]["fingerprint"] != "generated"


@pytest.mark.parametrize("text", ["", "[1]", '{"data": 3}', '{"metrics": [1], "data": {}}', "null"])
def test_a_damaged_summary_is_written_anew(run: RunFolder, text: str) -> None:
    path = run.evaluation(OWN) / "summary.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert measure(run)["evaluation"] == OWN
    assert json.loads(path.read_text())["evaluation"] == OWN


# --- figures -----------------------------------------------------------------------------


def test_figures_belong_to_their_evaluation_and_say_so(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slotlab.framework.figures import evaluation

    titles: dict[str, str] = {}
    monkeypatch.setattr(
        evaluation, "draw_panels", lambda panels, stem, title: titles.setdefault(stem.name, title)
    )
    own = measure(run, figures=True)["evaluation"]
    many = measure(run, "evaluation.slots=6", figures=True)["evaluation"]
    best = measure(run, "evaluation.checkpoint=best", figures=True)["evaluation"]
    assert best == f"{OWN}-best"
    assert (
        titles[f"panels-{own}"]
        == "small: scenes val, protocol whole (image_size 16), masks from the decoder, by ari"
    )
    assert ", evaluation.slots 6, evaluation " in titles[f"panels-{many}"]
    assert ", checkpoint best (step " in titles[f"panels-{best}"]
    names = {path.stem for path in run.figures.iterdir()}
    assert {f"slots-{name}" for name in (own, many, best)} <= names
    assert {f"mixes-{name.replace('-decoder', '')}" for name in (own, many, best)} <= names


def test_pictures_of_other_weights_do_not_stay_beside_new_numbers(run: RunFolder) -> None:
    measure(run, figures=True)
    samples = run.evaluation(OWN) / "samples" / "index.json"
    assert samples.is_file()
    measure(run)
    assert samples.is_file(), "the same measurement: its pictures are still true"
    path = run.evaluation(OWN) / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "step": 1}))
    others = [run.figures / f"panels-{name}.png" for name in (f"{OWN}-best", f"my-{OWN}")]
    for other in others:
        other.write_bytes(b"of another evaluation")
    measure(run)
    assert not samples.exists()
    assert sorted(run.figures.glob(f"*-{OWN}*")) == sorted(others)
    assert (run.figures / "loss.png").is_file()


# --- checkpoints -------------------------------------------------------------------------


def test_every_choice_of_a_checkpoint_measures_its_weights(run: RunFolder) -> None:
    steps = sorted(one.step for one in run.checkpoints.all())
    assert steps == [2, 4, 6]
    found = {step: measure(run, f"evaluation.checkpoint={step}") for step in steps}
    assert {step: (one["step"], one["checkpoint"]) for step, one in found.items()} == {
        s: (s, s) for s in steps
    }
    last, best = measure(run), measure(run, "evaluation.checkpoint=best")
    assert (last["step"], last["checkpoint"], best["checkpoint"]) == (6, "last", "best")
    facts = run.checkpoints.best_facts()
    assert facts is not None
    assert best["step"] == facts["step"]
    assert best["methods"] == found[best["step"]]["methods"]
    assert last["methods"] == found[6]["methods"] != found[2]["methods"]
    assert best["methods"]["model"]["ari"]["mean"] == pytest.approx(facts["value"])
    names = [f"{OWN}-step{step}" for step in steps]
    assert sorted(folders(run)) == sorted([OWN, f"{OWN}-best", *names])


def test_a_training_ends_with_the_evaluation_that_its_spec_declares(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.replace("{batch_size: 4}", "{batch_size: 4, checkpoint: best}"))
    loaded = prepare(tmp_path / "spec.yaml").loaded
    run = run_training(loaded, tmp_path / "run", device=CPU, report=lambda progress: None)
    [summary] = run_evaluations(run, loaded, [own_condition(loaded)], device=CPU)
    assert (summary["checkpoint"], summary["evaluation"]) == ("best", f"{OWN}-best")


def test_which_checkpoint_is_measured_is_no_part_of_a_runs_identity(made: RunFolder) -> None:
    from slotlab.framework.spec.identity import run_id

    one, other = (prepare(made.spec, sets=sets).loaded.spec for sets in ((), ("evaluation.checkpoint=best",)))
    assert run_id(one) == run_id(other)


def test_a_checkpoint_that_is_not_there(run: RunFolder) -> None:
    with pytest.raises(SlotlabError) as error:
        measure(run, "evaluation.checkpoint=3")
    assert str(error.value) == (
        f"{run.checkpoints.folder} has no checkpoint of step 3; there are those of 2, 4, 6 "
        "(training.checkpoint says which are written and kept)"
    )


def test_the_best_of_a_training_that_keeps_none_is_refused_with_what_to_set(run: RunFolder) -> None:
    text = run.spec.read_text()
    assert "best: ari" in text
    run.spec.write_text(text.replace("best: ari", "best: null"))
    with pytest.raises(SlotlabError) as error:
        prepare(run.spec, sets=["evaluation.checkpoint=best"])
    assert str(error.value) == (
        "--set evaluation.checkpoint=best: evaluation.checkpoint: no checkpoint is the best one: set "
        "training.checkpoint.best to what they are compared by (loss, ari, fg_ari, mse) before the training, "
        "or measure the last one"
    )


# --- going on with other pictures --------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "seed", "warned"), [("generated", 0, False), ("generated", 1, True), ("abc", 0, True)]
)
def test_a_training_that_goes_on_with_other_pictures_says_so(
    run: RunFolder, before: str, seed: int, warned: bool
) -> None:
    provenance = run.read_provenance()
    provenance["data"]["train"]["fingerprint"] = before
    run.write_provenance(provenance)
    run.spec.write_text(run.spec.read_text().replace("\nseed: 0\n", f"\nseed: {seed}\n"))
    told: list[str] = []
    loaded = load_spec(run.spec)
    assert loaded.spec.seed == seed
    run_training(loaded, run.path, device=CPU, report=lambda progress: None, warn=told.append)
    assert any("when the run began" in text for text in told) == warned


@pytest.mark.parametrize("value", ["bst", "0", "-1", "1.5", "[1]"])
def test_what_is_no_checkpoint_is_said_in_one_line(base: str, value: str) -> None:
    with pytest.raises(SlotlabError) as error:
        load_spec("spec.yaml", sets=[f"evaluation.checkpoint={value}"])
    [line] = error.value.lines()
    assert line.startswith(
        f"--set evaluation.checkpoint={value}: evaluation.checkpoint: expected best, last or the step"
    )


@pytest.mark.parametrize(
    ("weights", "written", "left"),
    [("other", False, False), ("other", True, True), ("the same", False, True), ("the same", True, True)],
)
def test_masks_of_other_weights_go_unless_they_were_just_written(
    run: RunFolder, weights: str, written: bool, left: bool
) -> None:
    old = measure(run)
    mask = run.evaluation(OWN) / "masks" / "a.png"
    mask.parent.mkdir()
    mask.touch()
    new = old if weights == "the same" else {**old, "step": old["step"] - 1}
    places = Places.of(run, load_spec(run.spec))
    places.clear(Place("scenes-val-whole"), "decoder", new, masks=written)
    assert mask.exists() is left
