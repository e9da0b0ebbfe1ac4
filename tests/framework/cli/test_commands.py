"""The slotlab command as a person uses it: results, JSON, mistakes without tracebacks."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from rich.table import Table

from slotlab.framework.api.console import print_whole
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.training import loop as train
from slotlab.registry import KINDS

SMALL = [
    "--set=data.dataset.num_train=4",
    "--set=data.dataset.num_val=2",
    "--set=training.phases=[{steps: 2, lr: 1e-3}]",
    "--set=training.batch_size=2",
    "--set=training.log_every=1",
    "--set=evaluation.baselines=[one_segment, position_grid]",
]


def test_help_does_not_import_torch():
    code = "import sys; from slotlab.framework.cli.main import main\ntry: main()\nexcept SystemExit: print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True
    )
    assert "evaluate" in result.stdout
    assert result.stdout.splitlines()[-1] == "False"


def test_version(slotlab):
    code, out, _ = slotlab("--version")
    assert code == 0
    assert out.startswith("slotlab 0.")


def test_list_shows_every_component_and_json_agrees(slotlab, registry):
    _, out, _ = slotlab("list")
    names = {item.component.name for item in registry.all()}
    for name in names:
        assert name in out
    _, text, _ = slotlab("list", "--json", "-")
    assert {item["name"] for item in json.loads(text)["components"]} == names


def test_a_wide_table_loses_nothing():
    written = io.StringIO()
    out = Console(file=written, width=20)
    table = Table("run", *(f"metric_{number}" for number in range(9)))
    table.add_row("0123456789ab", *(f"{number}.12345" for number in range(9)))
    print_whole(out, table)
    text = written.getvalue()
    assert len(text.splitlines()) == 5
    for word in ("0123456789ab", "metric_8", "8.12345"):
        assert word in text
    assert "…" not in text


def test_list_names_the_specs_and_ablations_that_come_with_slotlab(slotlab):
    _, out, _ = slotlab("list")
    lines = out.splitlines()
    [specs] = [line.split(": ", 1)[1] for line in lines if line.startswith("shipped specs: ")]
    assert {"slotlab:clevrtex11", "slotlab:clevrtex6", "slotlab:demo"} <= set(specs.split(", "))
    assert lines[-1].startswith(
        "shipped ablations: slotlab:ablations/bench, slotlab:ablations/demo_ablation, "
    )
    _, text, _ = slotlab("list", "--json", "-")
    for name in json.loads(text)["ablations"]:
        code, *_ = slotlab("validate", name)
        assert code == 0
    _, text, _ = slotlab("list", "metric", "--json", "-")
    assert json.loads(text)["specs"] == json.loads(text)["ablations"] == []


def test_list_of_a_kind_takes_singular_and_plural(slotlab):
    _, one, _ = slotlab("list", "encoder", "--json", "-")
    _, many, _ = slotlab("list", "encoders", "--json", "-")
    assert json.loads(one) == json.loads(many)
    assert {item["kind"] for item in json.loads(one)["components"]} == {"encoder"}


def test_list_of_an_unknown_kind(slotlab):
    code, out, err = slotlab("list", "encodr")
    assert (code, out) == (1, "")
    kinds = ", ".join(KINDS)
    assert err == f"error: no kind is called 'encodr'; did you mean 'encoder'? (kinds: {kinds})\n"


def test_show_a_component(slotlab):
    _, out, _ = slotlab("show", "encoder", "cnn")
    assert "kernel_size" in out
    _, text, _ = slotlab("show", "encoder", "cnn", "--json", "-")
    settings = {item["name"]: item for item in json.loads(text)["settings"]}
    assert settings["channels"]["default"] == [64, 64, 64, 64]
    assert settings["kernel_size"]["description"].startswith("Side of every kernel")


def test_show_a_protocol_tells_how_it_scores(slotlab, registry):
    for item in registry.all("protocol"):
        config = item.component.config()
        _, text, _ = slotlab("show", "protocol", item.component.name, "--json", "-")
        defaults = {setting["name"]: setting["default"] for setting in json.loads(text)["settings"]}
        assert defaults == config.model_dump(mode="json")
    _, out, _ = slotlab("show", "protocol", "boqsa-nocrop")
    assert '"metrics": ["fg_ari", "ari", "fg_msc", "mse_boqsa"]' in out


def test_show_an_unknown_component(slotlab):
    code, _, err = slotlab("show", "encoder", "cn")
    assert code == 1
    encoders = ", ".join(load_registry().names("encoder"))
    assert err == f"error: no encoder is called 'cn'; did you mean 'cnn'? (available: {encoders})\n"


def test_show_wants_one_or_two_words(slotlab):
    code, _, err = slotlab("show", "a", "b", "c")
    assert (code, err) == (
        1,
        "error: write 'slotlab show SPEC', 'slotlab show ABLATION' or 'slotlab show KIND NAME'\n",
    )


def test_show_a_spec_prints_a_valid_spec_with_the_same_id(slotlab, tmp_path):
    _, out, _ = slotlab("show", "slotlab:demo")
    copy = tmp_path / "copy.yaml"
    copy.write_text(out)
    _, again, _ = slotlab("show", copy)
    assert again == out
    assert "# run id: " in out


def test_show_an_ablation_prints_a_valid_ablation_with_the_same_arms(slotlab, tmp_path):
    _, out, _ = slotlab("show", "slotlab:ablations/slots", "--set", "seeds=[4, 7]")
    copy = tmp_path / "copy.yaml"
    copy.write_text(out)
    _, again, err = slotlab("show", copy)
    assert (again, err) == (out, "")
    assert out.splitlines()[-3:] == [
        "# 3 arms: slots=7, slots=9, slots=11",
        "# baseline: slots=7",
        "# 6 runs: each arm with 2 seeds",
    ]
    shown = yaml.safe_load(out)
    assert shown["compare"]["metrics"] == ["ari", "fg_ari", "mse"], "what is left out is filled in"
    assert (shown["compare"]["primary"], shown["compare"]["baseline"]) == ("ari", {"slots": "7"})
    _, text, _ = slotlab("show", "slotlab:ablations/slots", "--json", "-")
    found = json.loads(text)
    assert [arm["settings"] for arm in found["arms"]] == [{"model.slots": n} for n in (7, 9, 11)]
    assert found["runs"] == 15


def test_show_a_search_tells_how_many_arms_it_proposes(slotlab):
    search = ["sampling=search", "search.trials=2"]
    sets = [word for one in search for word in ("--set", one)]
    _, out, _ = slotlab("show", "slotlab:ablations/slots", *sets)
    assert "# 2 arms, proposed one after the other; first slots=" in out
    assert "# 10 runs: each arm with 5 seeds" in out


def test_show_an_ablation_that_is_wrong(slotlab, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("format: 1\nname: a\nquestion: b?\nbase: slotlab:demo\nseeds: [0]\naxis: []\n")
    code, out, err = slotlab("show", wrong)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {wrong}")


def test_validate_exits_with_1_if_any_spec_is_wrong(slotlab, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("extends: slotlab:demo\nmodel:\n  slotz: 3\n")
    keys = "name, slots, slot_dim, encoder, projection, initializer, grouping, decoder, weight_init"
    code, out, err = slotlab("validate", "slotlab:demo", wrong)
    assert (code, err) == (1, "")
    assert out.splitlines() == [
        "slotlab:demo: valid",
        f"error: {wrong}:3: model.slotz: unknown key; did you mean 'slots'? (keys here: {keys})",
        f"{wrong}: 1 error",
    ]


def test_validate_takes_an_ablation(slotlab, tmp_path):
    text = "format: 1\nname: a\nquestion: b?\nbase: slotlab:demo\nseeds: [0, 1]\naxes:\n"
    axis = "  - {name: slots, path: model.slots, values: [4, 5, 6]}\n"
    good, wrong = tmp_path / "good.yaml", tmp_path / "wrong.yaml"
    good.write_text(text + axis)
    wrong.write_text(text + axis.replace("model.slots", "model.slotz"))
    assert slotlab("validate", good) == (0, f"{good}: valid (3 arms, 6 runs)\n", "")
    code, out, _ = slotlab("validate", wrong)
    assert code == 1
    first, last = out.splitlines()
    assert first.startswith(f"error: {wrong}:7: model.slotz: unknown key; did you mean 'slots'? (keys here: ")
    assert last == f"{wrong}: 1 error"
    _, text, _ = slotlab("validate", good, "--set", "seeds=[3]", "--json", "-")
    assert json.loads(text) == [
        {"spec": str(good), "valid": True, "errors": [], "warnings": [], "arms": 3, "runs": 3}
    ]


def test_validate_json(slotlab, tmp_path):
    code, out, _ = slotlab("validate", "slotlab:demo", tmp_path / "none.yaml", "--json", "-")
    good, bad = json.loads(out)
    assert code == 1
    assert good["valid"]
    assert bad["errors"] == [
        f"there is no spec file {tmp_path / 'none.yaml'} (specs that come with slotlab: slotlab:NAME)"
    ]


def test_schema_goes_to_stdout_or_a_file(slotlab, tmp_path):
    _, out, _ = slotlab("schema")
    slotlab("schema", "--json", tmp_path / "schema.json")
    assert json.loads(out) == json.loads((tmp_path / "schema.json").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small run, trained by the command in a process of its own."""
    folder = tmp_path_factory.mktemp("trained")
    program = [sys.executable, "-m", "slotlab.framework.cli"]
    words = ["train", "slotlab:demo", "--run", "run", "--json", "train.json", *SMALL]
    result = subprocess.run([*program, *words], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder, result


def test_train_prints_the_model_beside_the_baselines(trained):
    folder, result = trained
    assert "training 'demo' on" in result.stderr
    for word in (
        "method",
        "ari",
        "fg_ari",
        "mse",
        "model",
        "one_segment",
        "position_grid",
        "figure: run/figures/loss.png",
    ):
        assert word in result.stdout
    data = json.loads((folder / "train.json").read_text())
    assert data["status"] == "done"
    assert data["methods"]["model"]["ari"]["count"] == 2


def test_evaluate_gives_the_same_numbers_again(trained, slotlab, monkeypatch):
    folder, _ = trained
    monkeypatch.chdir(folder)
    first = json.loads(Path("train.json").read_text())["methods"]
    code, out, _ = slotlab("evaluate", "run", "--json", "-")
    assert code == 0
    [again] = json.loads(out)["evaluations"]
    assert again["methods"] == first
    _, out, _ = slotlab("evaluate", "run", "--set", "evaluation.batch_size=1", "--json", "-")
    [again] = json.loads(out)["evaluations"]
    for method, metrics in again["methods"].items():
        for name, values in metrics.items():
            assert values["mean"] == pytest.approx(first[method][name]["mean"], abs=1e-6)


def test_train_refuses_a_folder_that_holds_another_run(trained, slotlab, monkeypatch):
    monkeypatch.chdir(trained[0])
    code, out, err = slotlab("train", "slotlab:demo", "--run", "run", *SMALL, "--set=seed=5")
    assert (code, out) == (1, "")
    assert err.splitlines()[-3:] == [
        "error: run holds a run with other settings:",
        "error: seed: 0 before, 5 now",
        "error: give --allow PATH to go on all the same, --overwrite to train it again, or --run DIR",
    ]


def test_training_a_finished_run_again_measures_it_again(trained, slotlab, monkeypatch):
    monkeypatch.chdir(trained[0])
    code, out, err = slotlab("train", "slotlab:demo", "--run", "run", *SMALL)
    assert (code, "run: run" in out) == (0, True)
    assert "warning: run is trained already; give --overwrite to train it anew" in err


def test_evaluate_without_a_run(slotlab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = slotlab("evaluate", "nothing")
    assert (code, err) == (1, "error: nothing does not exist\n")


def test_evaluate_takes_no_settings_that_training_used_up(trained, slotlab, monkeypatch):
    monkeypatch.chdir(trained[0])
    code, _, err = slotlab("evaluate", "run", "--set", "model.slots=7")
    hint = "a trained run takes new settings under evaluation and data only"
    assert (code, err) == (1, f"error: --set model.slots=7: {hint}; write evaluation.slots\n")
    code, _, err = slotlab("evaluate", "run", "--set", "training.clip_norm=2")
    assert (code, err) == (1, f"error: --set training.clip_norm=2: {hint}\n")


def test_evaluations_do_not_overwrite_one_another(trained, slotlab, monkeypatch):
    monkeypatch.chdir(trained[0])
    before = Path("run/evaluation/scenes-val-whole-decoder/images.csv").read_text()
    slotlab("evaluate", "run", "--set", "evaluation.mask_source=attention")
    assert Path("run/evaluation/scenes-val-whole-decoder/images.csv").read_text() == before
    assert Path("run/evaluation/scenes-val-whole-attention/images.csv").read_text() != before
    assert Path("run/figures/panels-scenes-val-whole-attention.png").is_file()


def test_evaluate_warns_of_a_run_that_is_not_done(trained, slotlab, monkeypatch, tmp_path):
    shutil.copytree(trained[0] / "run", tmp_path / "run")
    (tmp_path / "run" / "status.json").write_text('{"state": "stopped", "reason": "by Ctrl-C"}')
    monkeypatch.chdir(tmp_path)
    code, _, err = slotlab("evaluate", "run")
    warning = "warning: run: the run is stopped; its weights are those of its last finished epoch"
    assert code == 0
    assert err.splitlines()[0] == warning


def test_interrupted_training_says_what_is_left(slotlab, tmp_path, monkeypatch):
    steps = iter(range(100))

    def interrupt(*arguments):
        if next(steps) == 3:  # in the second epoch of two steps
            raise KeyboardInterrupt
        return train_step(*arguments)

    monkeypatch.chdir(tmp_path)
    train_step = train.train_step
    monkeypatch.setattr(train, "train_step", interrupt)
    code, out, err = slotlab(
        "train", "slotlab:demo", "--run", "run", *SMALL, "--set=training.phases.0.steps=9"
    )
    kept = "the same command goes on from step 2 (run)"
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == f"error: training stopped at once; {kept}"
    assert json.loads(Path("run/status.json").read_text()) == {"state": "stopped", "reason": "by Ctrl-C"}
    steps = iter([3])
    code, out, err = slotlab("train", "slotlab:demo", "--run", "none", *SMALL)
    hint = "training stopped before anything was saved in none"
    assert (code, err.splitlines()[-1]) == (130, f"error: {hint}")


def test_show_a_kind_without_a_name(slotlab):
    code, _, err = slotlab("show", "encoder")
    names = "see 'slotlab list encoder'"
    assert (code, err) == (1, f"error: 'encoder' is a kind; write 'slotlab show encoder NAME' ({names})\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk(slotlab):
    code, _, err = slotlab("list", "--json", "/dev/full")
    assert (code, err) == (1, "error: No space left on device\n")


def test_unknown_device(slotlab):
    code, _, err = slotlab("train", "slotlab:demo", "--device", "tpu9x")
    assert (code, err) == (1, "error: there is no device 'tpu9x'; write auto, cpu, cuda or cuda:1\n")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("", "--json names no file"),
        ("folder", "--json folder: it is a folder; name a file in it"),
        ("file/x.json", "--json file/x.json: {here}/file is no folder"),
    ],
)
def test_a_result_that_could_not_be_written_is_not_worked_for(slotlab, tmp_path, monkeypatch, target, reason):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("folder").mkdir()
    expected = (1, "", f"error: {reason.format(here=tmp_path)}\n")
    assert slotlab("evaluate", "no_run", "--json", target) == expected
    csv = expected[2].replace("--json", "--csv")
    assert slotlab("score", "--true", "a", "--pred", "b", "--csv", target) == (1, "", csv)


def test_a_result_may_go_into_a_new_folder_or_over_a_file(slotlab, tmp_path):
    for _ in range(2):
        code, _, err = slotlab("list", "tracker", "--json", tmp_path / "new" / "x.json")
        assert (code, err) == (0, "")
    assert json.loads((tmp_path / "new" / "x.json").read_text())["components"]


def test_broken_plugin_file_is_fatal_and_named(slotlab, tmp_path):
    plugin = tmp_path / "broken_one.py"
    plugin.write_text("import nothing_of_that_name\n")
    code, _, err = slotlab("list", "--plugin", plugin)
    assert code == 1
    expected = f"error: plugin file {plugin}: cannot be imported: ModuleNotFoundError: No module named 'nothing_of_that_name' (line 1)\n"
    assert err == expected
