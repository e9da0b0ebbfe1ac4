"""Training, evaluating, comparing and scoring in Python are what the command line does, with its words."""

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import slotlab
from slotlab.framework.api.settings import assignments
from slotlab.framework.contracts import Model
from slotlab.framework.jobs import train as job
from slotlab.framework.spec.merge import apply_set
from slotlab.framework.spec.tree import Tree, parse
from slotlab.framework.system.stop_signals import TrainingStopped
from slotlab.framework.training import loop
from slotlab.results import Run

from .conftest import SHORT

Slotlab = Callable[..., tuple[int, str, str]]
LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(-1e6, 1e6)
    | st.text("ab1.:#-'\"[{ ", max_size=6)
)
VALUE = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
)


@given(VALUE)
@settings(max_examples=200)
def test_settings_arrive_as_they_are(value: Any) -> None:
    tree: Tree = parse("a: {b: 1}", origin="test", folder=Path())
    (assignment,) = assignments({"a.c": {"d": value}})
    assert apply_set(tree, assignment).plain() == {"a": {"b": 1, "c": {"d": value}}}


def test_settings_of_numpy_torch_and_paths() -> None:
    found = assignments({"a": np.float64(0.5), "b": torch.tensor(3), "c": Path("x/y"), "d": (1, 2)})
    tree: Tree = parse("{}", origin="test", folder=Path())
    for assignment in found:
        tree = apply_set(tree, assignment)
    assert tree.plain() == {"a": 0.5, "b": 3, "c": "x/y", "d": [1, 2]}
    with pytest.raises(slotlab.SlotlabError) as error:
        assignments({"a": object})
    text = "write a number, a text, true or false, a list or a mapping, not a type"
    assert str(error.value) == f"settings {{'a': {object!r}}}: {text}"


def test_a_spec_says_all_mistakes_in_the_words_of_the_command(slotlab_: Slotlab) -> None:
    code, _, err = slotlab_("validate", "slotlab:demo", "--set", "model.slots=many", "--set", "seeed=1")
    told = slotlab_("validate", "slotlab:demo", "--set", "model.slots=many", "--set", "seeed=1")[1]
    assert code == 1
    assert err == ""
    with pytest.raises(slotlab.SlotlabError) as error:
        slotlab.load_spec("slotlab:demo", {"model.slots": "many", "seeed": 1})
    lines = [
        line.partition(": ")[2].partition(": ")[2] for line in told.splitlines() if line.startswith("error")
    ]
    assert [line.partition("}: ")[2] for line in error.value.lines()] == lines
    assert error.value.lines()[0].startswith("settings {")


def test_a_spec_is_data_that_can_be_changed() -> None:
    spec = slotlab.load_spec("slotlab:demo", {"model.slots": 5})
    other = spec.with_settings({"seed": 3})
    assert (spec.settings["seed"], other.settings["seed"], other.settings["model"]["slots"]) == (0, 3, 5)
    assert repr(other) == f"<Spec 'demo' of slotlab:demo, run id {other.run_id}>"
    Path("again.yaml").write_text(spec.to_yaml())
    assert slotlab.load_spec("again.yaml").run_id == spec.run_id != other.run_id
    assert spec.warnings == []


@pytest.fixture
def slotlab_(request: pytest.FixtureRequest) -> Slotlab:
    """The command, under a name that is not the package's."""
    found: Slotlab = request.getfixturevalue("slotlab")
    return found


def test_a_model_has_the_weights_that_a_training_starts_from(monkeypatch: pytest.MonkeyPatch) -> None:
    class BegunError(Exception):
        """Ends the training before its first step."""

    seen: dict[str, torch.Tensor] = {}

    def note(engine: Any, model: Model, *rest: Any, **options: Any) -> None:
        seen.update({name: value.clone() for name, value in model.state_dict().items()})
        raise BegunError

    monkeypatch.setattr(job, "train", note)
    before = torch.get_rng_state()
    model = slotlab.build_model("slotlab:demo", {**SHORT, "seed": 5})
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    with pytest.raises(BegunError):
        slotlab.train("slotlab:demo", {**SHORT, "seed": 5}, device="cpu")
    built = model.state_dict()
    assert built.keys() == seen.keys()
    assert all(torch.equal(built[name], value) for name, value in seen.items())
    other = slotlab.build_model("slotlab:demo", {**SHORT, "seed": 6}).state_dict()
    assert any(not torch.equal(built[name], other[name]) for name in built)


def test_a_run_is_that_of_the_command(here: Path, slotlab_: Slotlab) -> None:
    sets = [f"--set={assignment}" for assignment in assignments({**SHORT, "seed": 1})]
    words = ("--run", "runs/demo-1", "--device", "cpu", "--no-evaluate")
    code, _, err = slotlab_("train", "slotlab:demo", *sets, *words)
    assert code == 0
    assert "runs/demo-1 is trained already; give --overwrite to train it anew" in err
    code, out, _ = slotlab_("evaluate", "runs/demo-1", "--device", "cpu", "--no-figures", "--json", "-")
    (told,) = json.loads(out)["evaluations"]
    (found,) = slotlab.open_run("runs/demo-1", device="cpu").evaluate(figures=False).summaries
    assert json.loads(json.dumps(found)) == told


def test_ctrl_c_saves_and_the_same_call_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    steps, train_step = iter(range(100)), loop.train_step

    def interrupt(*given: Any) -> Any:
        if next(steps) == 2:
            raise KeyboardInterrupt
        return train_step(*given)

    longer = {**SHORT, "training.phases": [{"epochs": 3, "lr": 1e-3}]}
    monkeypatch.setattr(loop, "train_step", interrupt)
    with pytest.raises(TrainingStopped) as error:
        slotlab.train("slotlab:demo", longer, run="run", device="cpu", evaluate=False)
    assert str(error.value) == "training stopped at once; the same command goes on from step 2 (run)"
    assert slotlab.open_run("run", device="cpu").state == "stopped"
    monkeypatch.setattr(loop, "train_step", train_step)
    run = slotlab.train("slotlab:demo", longer, run="run", device="cpu", evaluate=False)
    assert (run.state, run.step, repr(run)) == ("done", 3, "<Run run, done>")
    assert "warning: run goes on from step 2" in capsys.readouterr().err


def test_rows_are_those_in_the_files(run: Run) -> None:
    measured = run.evaluate(figures=False, masks="both")
    assert list(measured.means()) == ["scenes-val-whole-decoder", "scenes-val-whole-attention"]
    for method in ("model", "one_segment"):
        found = measured.rows(method)
        assert len(found) == 12
        for name, part in found.groupby("evaluation", sort=False):
            text = (run.folder.evaluation(str(name)) / "images.csv").read_text()
            rows = [row for row in csv.DictReader(io.StringIO(text)) if row.pop("method") == method]
            assert [row["id"] for row in rows] == part["id"].to_list()
            assert [float(row["ari"]) for row in rows] == part["ari"].to_list()
    assert found["id"].dtype != float
    assert measured.rows()["ari"].head(6).mean() == pytest.approx(
        measured.means()["scenes-val-whole-decoder"]["ari"]
    )
    with pytest.raises(slotlab.SlotlabError) as error:
        measured.rows("two_segments")
    assert str(error.value) == "there are no rows of 'two_segments' (methods: model, one_segment)"


def test_mistakes_of_a_run_are_told_in_words(here: Path) -> None:
    run = slotlab.open_run("runs/demo", device="cpu")
    slots = "a trained run takes new settings under evaluation and data only; write evaluation.slots"
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: slotlab.open_run("none"), "none does not exist (runs here: runs/demo, runs/demo-1)"),
        (
            lambda: slotlab.open_run("runs/demo", settings={"model.slots": 3}),
            f"settings {{'model.slots': 3}}: {slots}",
        ),
        (
            lambda: slotlab.open_run("runs/demo", checkpoint=0),
            "--checkpoint 0: write best, last or the step of a checkpoint",
        ),
        (
            lambda: slotlab.open_run("runs/demo", device="tpu7"),
            "there is no device 'tpu7'; write auto, cpu, cuda or cuda:1",
        ),
        (lambda: run.evaluate(masks="none"), "--masks none: write decoder, attention or both"),  # type: ignore[arg-type]
        (
            lambda: run.images("vall"),
            "'scenes' has no split 'vall'; did you mean 'val'? (splits: train, val, test)",
        ),
        (lambda: run.images("val", [6]), "split 'val' has no image 6: they are 0 to 5"),
        (lambda: run.compose("mixx"), "there is no mode 'mixx'; did you mean 'mix'? (modes: "),
        (
            lambda: slotlab.compare("runs", evaluation={"slot": 1}),
            "--evaluation slot=1: write FACT=VALUE, such as slots=11",
        ),
        (
            lambda: slotlab.list_components("encodr"),
            "no kind is called 'encodr'; did you mean 'encoder'? (kinds: ",
        ),
    ]
    for call, text in cases:
        with pytest.raises(slotlab.SlotlabError) as error:
            call()
        assert str(error.value).startswith(text)


def test_a_run_opens_its_spec_and_other_weights(run: Run) -> None:
    assert run.spec.settings["seed"] == 0
    assert slotlab.build_model(run.spec).state_dict().keys() == run.model.state_dict().keys()
    assert not run.model.training
    assert set(run.log()["kind"]) == {"train", "validation"}
    assert set(run.summaries()) == {"scenes-val-whole-decoder"}
    with pytest.raises(slotlab.SlotlabError, match="no checkpoint of step 7"):
        _ = slotlab.open_run("runs/demo", checkpoint=7, device="cpu").model
    fewer = slotlab.open_run("runs/demo", settings={"evaluation.max_images": 2}, device="cpu")
    assert len(fewer.evaluate(figures=False).rows()) == 2


def test_compositions_are_written_and_shown(run: Run) -> None:
    found = run.compose("mix", images=[0, 1])
    assert found.folder.parent == Path("runs/demo/compositions")
    assert found._repr_png_() == found.sheet.read_bytes()
    assert found.record["mode"] == "mix"
    assert run.composer is run.composer


def test_a_comparison_shows_itself_and_is_that_of_the_command(here: Path, slotlab_: Slotlab) -> None:
    table = slotlab.compare("runs", metrics=["ari", "mse"])
    _, out, _ = slotlab_("compare", "runs", "--metric", "ari", "--metric", "mse")
    assert repr(table) == out.rstrip("\n")
    _, out, _ = slotlab_("compare", "runs", "--metric", "ari", "--metric", "mse", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    frame = table.frame()
    assert list(frame.columns) == list(rows[0])
    assert frame["mean"].to_list() == [float(row["mean"]) for row in rows]
    runs = table.runs_frame()
    assert (runs["seed"].to_list(), runs["run"].to_list()) == ([0, 1], ["runs/demo", "runs/demo-1"])
    assert runs["ari"].mean() == pytest.approx(frame.set_index("metric").loc["ari", "mean"])
    assert table.report("page.html").read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in table.write("out").iterdir())[0] == "comparison.csv"


def test_a_comparison_in_html_holds_every_cell_as_text(synthetic: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    table = slotlab.compare(synthetic.write_study(tmp_path, arms=2, seeds=3, images=4))
    first, *rest = table.comparison.arms
    odd = replace(table.comparison, arms=(replace(first, name="<b>&x"), *rest), baseline="<b>&x")
    html = replace(table, comparison=odd)._repr_html_()
    assert '<td style="text-align: left">&lt;b&gt;&amp;x</td>' in html
    assert html.count("<table>") == html.count("</table>") == len(html.split("<caption")) - 1
    names = [path for path in table.comparison.differing if path in table.frame().columns]
    assert names == list(table.comparison.differing)
    assert len(table.runs_frame()) == 6


@pytest.mark.parametrize("form", ["array", "tensor", "list", "folders"])
def test_masks_in_memory_score_as_those_in_files(form: str, run: Run) -> None:
    run.evaluate(figures=False, save_masks=True)
    folder = run.folder.evaluation("scenes-val-whole-decoder") / "masks"
    images = run.images("val", range(6))
    assert images.masks_BHW is not None
    true, predicted = images.masks_BHW, run.segment(images).labels_BHW
    forms: dict[str, tuple[Any, Any]] = {
        "array": (true.numpy(), predicted.numpy()),
        "tensor": (true, predicted),
        "list": ([one.numpy() for one in true], list(predicted)),
        "folders": (folder / "true", str(folder / "predicted")),
    }
    found = slotlab.score(*forms[form], metrics=["ari", "fg_ari", {"name": "boundary_f", "tolerance": 0.02}])
    rows = run.evaluate(figures=False).rows()
    for name in ("ari", "fg_ari"):
        assert found.rows()[name].to_list() == rows[name].to_list()
        assert found.means[name] == pytest.approx(rows[name].mean())
    assert found.result["metrics"]["boundary_f"]["settings"]["tolerance"] == 0.02
    assert repr(found).startswith("6 images: ari ")


def test_reconstructions_are_scored_and_void_is_left_out(run: Run) -> None:
    images = run.images("val", range(3))
    made = run.segment(images)
    found = slotlab.score(
        images.masks_BHW, made.labels_BHW, images=images.images_BCHW, reconstructions=made.reconstruction_BCHW,
        metrics=["ari", "mse"],
    )  # fmt: skip
    assert found.left_out == {}
    true = np.array([[[0, 0, 1, 1], [9, 9, 9, 9]]])
    guess = np.array([[[0, 0, 1, 1], [0, 1, 2, 3]]])
    assert slotlab.score(true, guess, metrics=["ari"], void=9).means == {"ari": 1.0}


def test_what_cannot_be_scored_is_told_in_words() -> None:
    one = np.zeros((1, 4, 4), dtype=np.int64)
    cases: list[tuple[Callable[[], Any], str]] = [
        (
            lambda: slotlab.score(one, one.repeat(2, 0)),
            "there are 1 of --true and 2 of --pred; give one for each image",
        ),
        (lambda: slotlab.score(one[:, :3], one), "--pred 0: it has 4x4 pixels, its true mask 4x3"),
        (
            lambda: slotlab.score(one + 0.5, one),
            "--true 0: holds float64; a mask is an array of whole numbers",
        ),
        (lambda: slotlab.score([], []), "there are no masks; give at least one"),
        (
            lambda: slotlab.score(one, "folder"),
            "some of what is to be scored are folders, and some are not; give all in one way",
        ),
        (
            lambda: slotlab.score(one, one, images=one),
            "--images is given without --recon; give both, or none to score masks alone",
        ),
        (
            lambda: slotlab.score(one, one, metrics=["arii"]),
            "--metrics [\"arii\"]: no metric is called 'arii'",
        ),
        (
            lambda: slotlab.score("a", "b"),
            "--true a: there is no such folder; --pred b: there is no such folder",
        ),
    ]
    for call, text in cases:
        with pytest.raises(slotlab.SlotlabError) as error:
            call()
        assert str(error.value).startswith(text)


def test_without_pandas_a_frame_says_how_to_get_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(slotlab.SlotlabError) as error:
        run.log()
    hint = "install it with pip install 'slotlab[frames]'"
    assert str(error.value) == f"data frames need pandas, which is not installed; {hint}"


def test_components_are_those_of_the_command(slotlab_: Slotlab) -> None:
    _, out, _ = slotlab_("list", "--json", "-")
    listed = [(item["kind"], item["name"], item["version"]) for item in json.loads(out)["components"]]
    assert [(one.kind, one.name, one.version) for one in slotlab.list_components()] == listed
    (cnn,) = (one for one in slotlab.list_components("encoders") if one.name == "cnn")
    _, out, _ = slotlab_("show", "encoder", "cnn", "--json", "-")
    assert [setting.name for setting in cnn.settings] == [
        item["name"] for item in json.loads(out)["settings"]
    ]


def test_an_ablation_is_planned_and_shown() -> None:
    study = slotlab.ablate("slotlab:ablations/demo_ablation", {"seeds": [0]}, dry_run=True)
    assert study.path == Path("studies/demo_ablation")
    assert len(study.frame()) == len(study.runs) == 2
    assert repr(study) == "<Study studies/demo_ablation: 2 waiting>"
    assert not study.path.exists()
    with pytest.raises(slotlab.SlotlabError):
        study.compare()
