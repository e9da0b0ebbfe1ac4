"""Run folders are read from their files alone."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotlab.framework.compare.run_records import load_all, load_run, load_study, settings_of
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.plain_settings import has_effect, load_dumped
from slotlab.framework.spec.tree import dump, parse
from slotlab.registry import SlotlabError

ALLOWED = st.characters(exclude_categories=["Cs", "Cc"])
"""What a setting may hold, and so what is ever dumped: no control characters."""
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64) + 1, 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(ALLOWED, max_size=8)
)
WORDS = st.sampled_from(
    ["on", "1e5", "12:30:00", "0o17", "null", "~", ".inf", "2020-01-01", "yes", "1_000", "=", "<<"]
)
PLAIN = st.recursive(
    SCALARS | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
    ),
)


@given(st.dictionaries(st.text("abc", min_size=1), PLAIN, max_size=4))
def test_what_was_dumped_is_read_as_the_spec_parser_reads_it(data: dict[str, object]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        path.write_text(dump(data), encoding="utf-8")
        expected = parse(path.read_text(encoding="utf-8"), origin="spec.yaml", folder=path.parent).plain()
        assert (load_dumped(path) or {}) == expected == data


def test_a_run_is_what_its_folder_says(study: Path) -> None:
    run = load_run(study.parents[1] / "runs" / "000001000002")
    assert (run.seed, run.state, run.run_id, run.name) == (2, "done", "000001000002", "synthetic")
    assert run.settings["model.grouping.iterations"] == 2
    assert run.settings["model.encoder.channels"] == (32, 32, 32)
    assert not {"seed", "name", "data.workers"} & run.settings.keys()
    assert run.versions["grouping.slot_attention"] == "version 1"
    (one,) = run.evaluations.values()
    assert (one.name, one.dataset, one.split) == ("scenes-val-whole-decoder", "scenes", "val")
    assert (one.protocol, one.mask_source) == ("whole (image_size 32)", "decoder")
    assert one.bounds == {"ari": (-1, 1), "fg_ari": (-1, 1), "mse": (0, None)}
    assert one.higher_is_better == {"ari": True, "fg_ari": True, "mse": False}
    rows = one.rows()
    assert len(rows) == 40
    mean = sum(float(row["ari"]) for row in rows) / 40
    assert one.values["ari"] == pytest.approx(mean)
    assert {line["kind"] for line in run.log} == {"train", "validation"}


def test_paths_do_not_make_arms(synthetic: ModuleType, tmp_path: Path) -> None:
    study = synthetic.write_study(tmp_path, arms=1, seeds=1, images=4)
    spec = next((tmp_path / "runs").iterdir()) / "spec.yaml"
    spec.write_text(spec.read_text().replace("variant: full", "root: /data/here\n    plain: here"))
    (run,) = load_study(study).records
    assert run.settings["data.dataset.root"] == "(a path)"
    assert run.settings["data.dataset.plain"] == "here"


def test_a_files_content_is_part_of_its_version(synthetic: ModuleType, tmp_path: Path) -> None:
    synthetic.write_study(tmp_path, arms=1, seeds=1, images=4)
    run = next((tmp_path / "runs").iterdir())
    facts = json.loads((run / "provenance.json").read_text())
    facts["components"] += [
        {"kind": kind, "name": "mine", "version": 3, "source": "mine.py@1234"}
        for kind in ("encoder", "metric")
    ]
    (run / "provenance.json").write_text(json.dumps(facts))
    versions = load_run(run).versions
    assert versions["encoder.mine"] == "version 3 (mine.py@1234)"
    assert "metric.mine" not in versions  # what was measured later may have another


def test_versions_of_metrics_are_those_of_the_evaluation(synthetic: ModuleType, tmp_path: Path) -> None:
    synthetic.write_study(tmp_path, arms=1, seeds=1, images=4)
    run = next((tmp_path / "runs").iterdir())
    (summary,) = run.glob("evaluation/*/summary.json")
    facts = json.loads(summary.read_text())
    facts["metrics"]["ari"]["version"] = "2@29c634b1"
    facts["metrics"]["fg_ari"]["settings"] = {"threshold": 0.7, "per": "image"}
    del facts["metrics"]["mse"]["version"]
    facts["set_metrics"] = {"fid": {"value": 1.0, "higher_is_better": False, "version": "1"}}
    summary.write_text(json.dumps(facts))
    (evaluation,) = load_run(run).evaluations.values()
    assert evaluation.versions == {
        "ari": "version 2@29c634b1",
        "fg_ari": "version 1, per image, threshold 0.7",
        "mse": "an unknown version",
        "fid": "version 1",
    }


def test_a_group_without_a_setting_that_was_added_is_one_with_its_first_value() -> None:
    """Runs of a version before `scheduled` and of this one are of one recipe."""
    before = {"weights": ["encoder"], "lr_factor": 0.5}
    now = {**before, "scheduled": True}
    assert settings_of({"training": {"groups": [before]}}) == settings_of({"training": {"groups": [now]}})
    held = settings_of({"training": {"groups": [before, {**now, "scheduled": False}]}})
    assert held["training.groups.0.scheduled"] is True
    assert held["training.groups.1.scheduled"] is False


def test_settings_without_effect_are_told_by_their_paths() -> None:
    assert not has_effect("training.speed.compile")
    assert not has_effect("name")
    assert has_effect("training.speedy")
    assert has_effect("model.slots")


def test_a_folder_of_runs_is_searched_and_each_run_taken_once(study: Path) -> None:
    runs = study.parents[1] / "runs"
    found = load_all([runs, study, runs / "000000000000"])
    assert len(found.records) == 12
    assert [one.plan.name for one in found.studies] == ["synthetic"]
    assert found.problems == {}


def test_a_study_may_be_reached_by_a_link(study: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    link = tmp_path / "deep" / "link"
    link.symlink_to(study)
    assert len(load_study(link).records) == 12


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("spec.yaml", "a: [", "{run}/spec.yaml:2: not valid YAML: while parsing a flow node"),
        ("spec.yaml", "7", "{run}/spec.yaml: expected a block of 'key: value' lines, got 7"),
        ("status.json", "{", "{run}/status.json: not valid JSON: Expecting property name"),
        ("status.json", "[]", "{run}/status.json: expected a JSON object {{...}}, and it holds none"),
        (
            "evaluation/scenes-val-whole-decoder/summary.json",
            "{}",
            (
                "{run}/evaluation/scenes-val-whole-decoder/summary.json: this summary has format 1, and format 2 is needed; "
                "evaluate the run again with 'slotlab evaluate'"
            ),
        ),
        (
            "evaluation/scenes-val-whole-decoder/summary.json",
            '{"format": 2}',
            (
                "{run}/evaluation/scenes-val-whole-decoder/summary.json: "
                "dataset: this key is required; evaluate the run again"
            ),
        ),
    ],
)
def test_files_that_cannot_be_read_are_named(
    synthetic: ModuleType, tmp_path: Path, file: str, text: str, message: str
) -> None:
    synthetic.write_study(tmp_path, arms=1, seeds=1, images=4)
    run = next((tmp_path / "runs").iterdir())
    (run / file).write_text(text)
    with pytest.raises(SlotlabError) as error:
        load_run(run)
    assert str(error.value).startswith(message.format(run=run))


def test_a_log_that_cannot_be_read_is_named(synthetic: ModuleType, tmp_path: Path) -> None:
    synthetic.write_study(tmp_path, arms=1, seeds=1, images=4)
    run = load_run(next((tmp_path / "runs").iterdir()))
    (run.path / "metrics.jsonl").write_text('{"kind": "tr\n')
    with pytest.raises(SlotlabError) as error:
        _ = run.log
    assert str(error.value).startswith(
        f"{run.path}/metrics.jsonl, line 1: not valid JSON: Unterminated string"
    )


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "plan.json").write_text('{"arms": [{}]}')
    messages = {
        "empty": "{}: there is no run in it (no spec.yaml); give run folders, folders of runs or a study",
        "nowhere": "{}: it does not exist; give run folders, folders of runs or a study",
        "broken": "{}/plan.json is damaged (name: this key is required); plan it again",
    }
    for name, message in messages.items():
        with pytest.raises(SlotlabError) as error:
            load_all([tmp_path / name])
        assert str(error.value) == message.format(tmp_path / name)
    with pytest.raises(SlotlabError) as error:
        load_study(tmp_path / "empty")
    assert (
        str(error.value)
        == f"{tmp_path / 'empty'} is not a study: it has no plan.json; 'slotlab ablate FILE' makes one"
    )


def test_comparing_imports_neither_torch_nor_plugins(study: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from slotlab.framework.compare.comparison import compare_paths;"
        f"compare_paths([Path({str(study)!r})]);"
        "print([name for name in sys.modules if name == 'torch' or name.startswith('slotlab.plugins')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "[]\n"


BEFORE = Path(__file__).parents[2] / "fixtures" / "before_the_move"


@pytest.mark.parametrize("path", sorted(BEFORE.glob("*/**/spec.yaml")), ids=lambda path: path.parent.name)
def test_what_was_added_since_is_no_difference(path: Path, tmp_path: Path) -> None:
    """A spec that an earlier version resolved, and the same resolved anew, have the same settings."""
    before = load_dumped(path)
    loaded = load_spec(path, of_run=True, trust=lambda codes: True)
    again = tmp_path / "spec.yaml"
    again.write_text(dump(loaded.spec.model_dump(mode="json")))
    assert settings_of(load_dumped(again)) == settings_of(before)
