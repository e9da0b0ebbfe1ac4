"""`slotlab evaluate`, `score` and `published` as a user gives them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SPEC = """
format: 1
name: small
data:
  dataset: {name: scenes, max_objects: 4, num_train: 4, num_val: 3, num_test: 5, textures: [plain]}
  protocol: {name: whole, image_size: 16}
model:
  slots: 5
  slot_dim: 8
  encoder: {name: cnn, channels: [4]}
  initializer: learnable
  grouping: slot_attention
  decoder: {name: spatial_broadcast, channels: [4], strides: [2]}
training:
  batch_size: 2
  phases: [{steps: 2, lr: 1e-2}]
evaluation: {batch_size: 1}
"""
SMALL = "{name: clevrtex-official, image_size: 16}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "spec.yaml").write_text(SPEC)
    program = [sys.executable, "-m", "slotlab.framework.cli"]
    words = ["train", "spec.yaml", "--run", "run", "--no-evaluate"]
    result = subprocess.run([*program, *words], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def slotlab(trained, slotlab, monkeypatch):
    """The command in the folder of the trained run."""
    monkeypatch.chdir(trained)
    return slotlab


def evaluations(out):
    return json.loads(out)["evaluations"]


def test_everything_in_one_call(slotlab):
    words = ("--protocol", SMALL, "--protocol", "whole", "--variant", "full", "--variant", "camo")
    code, out, _ = slotlab("evaluate", "run", *words, "--masks", "both", "--no-figures", "--json", "-")
    found = evaluations(out)
    assert code == 0
    assert json.loads(out)["format"] == 2
    keys = [(one["variant"], one["protocol"].split()[0], one["split"], one["mask_source"]) for one in found]
    assert keys == [
        (variant, protocol, split, masks)
        for variant in ("full", "camo")
        for protocol, split in (("clevrtex-official", "test"), ("whole", "val"))
        for masks in ("decoder", "attention")
    ]
    assert len({one["step"] for one in found}) == 1


def test_every_line_of_numbers_names_its_protocol(slotlab):
    code, out, _ = slotlab("evaluate", "run", "--protocol", SMALL, "--no-figures", "--breakdowns")
    assert code == 0
    lines = [line for line in out.splitlines() if "±" in line and "standard deviation" not in line]
    assert len(lines) == 10
    assert all(line.startswith("clevrtex-official (image_size 16)") for line in lines)
    for word in ("by objects", "by material", "by shape", "by size", "by occlusion", "95 % t interval"):
        assert word in out


def test_several_runs_at_once(slotlab):
    shutil.copytree("run", "again", dirs_exist_ok=True)
    code, out, _ = slotlab("evaluate", "run", "again", "run", "--no-figures", "--json", "-")
    assert code == 0
    one, other = evaluations(out)
    assert (one["run"], other["run"]) == ("run", "again")
    assert one["methods"] == other["methods"]
    code, _, err = slotlab("evaluate", "run", "nothing", "--no-figures")
    assert (code, err) == (1, "error: nothing does not exist\n")


def test_a_published_number_of_the_same_protocol_is_shown(slotlab, monkeypatch):
    from slotlab.framework.evaluation.published import references
    from slotlab.framework.jobs import summary as measured

    rows = [one for one in references() if one.protocol == "seed"]
    monkeypatch.setattr(measured, "comparable", lambda data: rows)
    code, out, _ = slotlab("evaluate", "run", "--no-figures")
    assert code == 0
    assert "0.554" in out
    assert "sources: slotlab published" in out
    assert "caution" not in out


def test_published_numbers_beside_a_part_of_the_data_come_with_the_caution(slotlab, monkeypatch):
    from slotlab.framework.data.selection import Selection
    from slotlab.framework.evaluation.published import references
    from slotlab.framework.jobs import summary as measured

    rows = [one for one in references() if one.protocol == "seed"]
    monkeypatch.setattr(measured, "comparable", lambda data: rows)
    code, out, _ = slotlab("evaluate", "run", "--no-figures", "--set", "evaluation.max_images=2")
    assert code == 0
    assert "caution: measured on the first 2 of 3 images (evaluation.max_images)" in out
    assert "see the caution above" in out
    text = "clevrtex_full: 40 scenes are here, 50,000 were published; results are not those of the whole"
    whole = Selection.__init__

    def partial(self, base, positions, facts=(), notes=(), *more):
        whole(self, base, positions, facts, (*notes, text), *more)

    monkeypatch.setattr(Selection, "__init__", partial)
    code, out, _ = slotlab("evaluate", "run", "--no-figures", "--json", "some.json")
    assert f"caution: {text}" in slotlab("evaluate", "run", "--no-figures")[1]
    assert json.loads(Path("some.json").read_text())["evaluations"][0]["cautions"] == [text]


def test_number_of_slots_is_an_evaluations_setting(slotlab):
    code, _, err = slotlab("evaluate", "run", "--set", "model.slots=11")
    text = "a trained run takes new settings under evaluation and data only; write evaluation.slots"
    assert (code, err) == (1, f"error: --set model.slots=11: {text}\n")


@pytest.mark.parametrize("word", ["beest", "0", "-3", "1.5"])
def test_what_is_no_checkpoint(slotlab, word):
    for command in ("evaluate", "compose", "studio"):
        code, _, err = slotlab(command, "run", "--checkpoint", word)
        assert (code, err) == (
            1,
            f"error: --checkpoint {word}: write best, last or the step of a checkpoint\n",
        )


def test_a_checkpoint_by_its_step_and_the_best_that_there_is_not(slotlab):
    code, out, _ = slotlab("evaluate", "run", "--checkpoint", "2", "--no-figures")
    assert code == 0
    assert "checkpoint 2, step 2" in out
    assert Path("run/evaluation/scenes-val-whole-decoder-step2/summary.json").is_file()
    text = (
        "training.checkpoint.best to what they are compared by (loss, ari, fg_ari, mse) before the training"
    )
    for command in ("evaluate", "compose"):
        code, _, err = slotlab(command, "run", "--checkpoint", "best")
        assert code == 1
        assert err.startswith(
            "error: --checkpoint best: evaluation.checkpoint: no checkpoint is the best one: set "
        )
        assert text in err


def test_composed_pictures_of_another_checkpoint_or_setting_lie_beside_the_first(slotlab):
    words = ("compose", "run", "--mode", "slots", "--image", "0", "--json", "-")
    more = ((), ("--checkpoint", "2"), ("--set", "data.seed=1"))
    found = [json.loads(slotlab(*words, *each)[1])["folder"] for each in more]
    assert len(set(found)) == 3
    assert found[1] == f"{found[0]}-step2"


def test_figures_that_are_listed_are_those_of_the_evaluation(slotlab):
    _, out, _ = slotlab("evaluate", "run", "--json", "-")
    [own] = evaluations(out)
    assert own["figures"]
    assert all(Path(figure).is_file() for figure in own["figures"])
    _, out, _ = slotlab("evaluate", "run", "--no-figures")
    assert "figure: " not in out
    _, out, _ = slotlab("evaluate", "run", "--set", "evaluation.max_images=2", "--json", "-")
    [other] = evaluations(out)
    assert other["figures"]
    assert not set(own["figures"]) & set(other["figures"])
    assert (own["evaluation"], own["images"], other["images"]) == ("scenes-val-whole-decoder", 3, 2)


def test_the_warning_of_few_slots_is_about_those_that_are_used(slotlab, monkeypatch):
    from slotlab.framework.jobs.train import prepare

    sets = ["data.dataset.max_objects=6", "model.initializer=gaussian"]
    many = [*sets, "evaluation.slots=7"]
    assert len(prepare("run/spec.yaml", sets=many).warnings) == 1
    assert prepare("run/spec.yaml", sets=many, trained=True).warnings == []
    [few] = prepare("run/spec.yaml", sets=[*sets, "evaluation.slots=6"], trained=True).warnings
    assert "evaluation.slots: 6 slots for up to 6 objects" in str(few)
    [own] = prepare("run/spec.yaml", sets=sets, trained=True).warnings
    assert "model.slots: 5 slots for up to 6 objects" in str(own)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--masks", "all"), "--masks all: write decoder, attention or both"),
        (
            ("--split", "tset"),
            "evaluation.split: 'scenes' has no split 'tset'; did you mean 'test'? (splits: train, val, test); choose one with --split",
        ),
    ],
)
def test_what_cannot_be_evaluated(slotlab, words, message):
    code, out, err = slotlab("evaluate", "run", *words, "--no-figures")
    assert (code, out, err) == (1, "", f"error: {message}\n")


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one_to_the_bit(slotlab, trained):
    """One image at a time: then also the model's own rounding is the same."""
    words = ["evaluate", "run", "--protocol", SMALL, "--masks", "both", "--no-figures", "--device", "cpu"]
    _, out, _ = slotlab(*words, "--json", "-")
    program = [sys.executable, "-m", "slotlab.framework.cli"]
    result = subprocess.run(
        [*program, *words, "--devices", "2", "--json", "two.json"],
        cwd=trained,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads((trained / "two.json").read_text()) == json.loads(out)


# --- score -------------------------------------------------------------------------------


@pytest.fixture
def masks(slotlab):
    code, out, err = slotlab(
        "evaluate", "run", "--protocol", SMALL, "--no-figures", "--save-masks", "--json", "-"
    )
    assert code == 0, err
    return Path("run/evaluation/scenes-test-clevrtex-official-decoder/masks"), evaluations(out)[0]


def test_score_needs_two_folders_and_nothing_else(slotlab, masks):
    folder, summary = masks
    words = ("--true", folder / "true", "--pred", folder / "predicted", "--slots", 5)
    code, out, _ = slotlab(
        "score", *words, "--protocol", "clevrtex-official", "--json", "-", "--csv", "rows.csv"
    )
    assert code == 0
    found = json.loads(out)
    assert (found["format"], found["images"], found["sizes"]) == (2, 5, {"16x16": 5})
    assert (found["protocol"], found["aggregation"]) == ("clevrtex-official", "images")
    assert found["left_out"] == {"mse_official": "no reconstructions are given; add --images and --recon"}
    for name, statistics in found["methods"]["model"].items():
        assert statistics == summary["methods"]["model"][name], name
    assert len(Path("rows.csv").read_text().splitlines()) == 6
    code, out, _ = slotlab("score", *words, "--metrics", "ari,mbo_per_object", "--breakdowns")
    assert code == 0
    for word in ("5 images (5 of 16x16 pixels)", "protocol none", "ari", "objects", "by occlusion"):
        assert word in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--images", "i"), "--images is given without --recon; give both, or none to score masks alone"),
        (("--recon", "r"), "--recon is given without --images; give both, or none to score masks alone"),
        (("--prepare",), "--prepare needs a protocol that says how; add --protocol NAME"),
        ((), "--true t: there is no such folder; --pred p: there is no such folder"),
    ],
)
def test_what_cannot_be_scored(slotlab, words, message):
    code, out, err = slotlab("score", "--true", "t", "--pred", "p", *words)
    assert (code, out, err) == (1, "", f"error: {message}\n")


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (",", "--metrics names no metric; write such as --metrics ari,fg_ari"),
        (
            "mse,psnr",
            (
                "nothing can be scored: mse: no reconstructions are given; add --images and --recon; "
                "psnr: no reconstructions are given; add --images and --recon"
            ),
        ),
        (
            "lpips",
            (
                "metric 'lpips': needs 'backbone: FILE' with ImageNet weights; take "
                "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth; "
                "settings are given as --metrics '[{name: lpips, ...}]'"
            ),
        ),
    ],
)
def test_metrics_that_cannot_be_scored(slotlab, masks, metrics, message):
    folder, _ = masks
    words = ("--true", folder / "true", "--pred", folder / "predicted", "--metrics", metrics)
    assert slotlab("score", *words) == (1, "", f"error: {message}\n")


def test_all_that_is_wrong_with_files_is_listed(slotlab, masks):
    folder, _ = masks
    shutil.copytree(folder / "predicted", "partial", dirs_exist_ok=True)
    for name in ("scenes_test_000001", "scenes_test_000003"):
        Path(f"partial/{name}.png").unlink()
    Path("partial/scenes_test_000002.png").write_text("text")
    code, out, err = slotlab("score", "--true", folder / "true", "--pred", "partial")
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "error: partial/scenes_test_000002.png: cannot be read: it is no picture of a known kind",
        f"error: {folder}/true/scenes_test_000001.png: there is no scenes_test_000001 in --pred partial",
        f"error: {folder}/true/scenes_test_000003.png: there is no scenes_test_000003 in --pred partial",
    ]


# --- published ---------------------------------------------------------------------------


def test_published_lists_numbers_with_their_sources(slotlab):
    code, out, _ = slotlab("published", "--protocol", "boqsa-nocrop")
    assert code == 0
    for word in (
        "protocol boqsa-nocrop: Jia et al. 2023",
        "BO-QSA",
        "fg_ari",
        "0.7245",
        "the released checkpoint",
    ):
        assert word in out
    _, out, _ = slotlab("published", "--json", "-")
    assert {
        "method",
        "data",
        "train",
        "test",
        "protocol",
        "metric",
        "value",
        "std",
        "seeds",
        "source",
        "note",
    } <= set(json.loads(out)[0])
    code, _, err = slotlab("published", "--protocol", "whole")
    known = "boqsa-nocrop, clevr6, clevrtex-official, ocb-ood, seed"
    assert (code, err) == (
        1,
        f"error: no published numbers under protocol 'whole' (there are some under: {known})\n",
    )
