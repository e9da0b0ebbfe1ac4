"""ablate, watch and runs as a person uses them."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from slotlab.framework.api import arm_estimates
from slotlab.framework.cli.watch import status_table
from slotlab.framework.runs.folder import RunFolder

TINY = """
format: 1
name: tiny
question: does it run?
base: spec.yaml
settings:
  data.dataset: {name: scenes, max_objects: 3, num_train: 4, num_val: 2, textures: [plain]}
  data.protocol.image_size: 8
  model: {slots: 4, encoder: {channels: [4]}, decoder: {broadcast_size: 4}}
axes:
  - {name: iterations, path: model.grouping.iterations, values: [1, 2]}
seeds: [0]
launcher: {name: local, jobs: 2, gpus: []}
"""
Slotlab = Callable[..., tuple[int, str, str]]


@pytest.fixture
def slotlab(base: str, write: Callable[[str, str], Path], slotlab: Slotlab) -> Slotlab:
    """The command in a folder with a tiny ablation."""
    write("tiny.yaml", TINY)
    return slotlab


def test_a_dry_run_starts_and_writes_nothing(slotlab: Slotlab, tmp_path: Path) -> None:
    code, out, err = slotlab("ablate", "tiny.yaml", "--dry-run", "--device", "cpu")
    assert (code, err) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spec.yaml", "tiny.yaml"]
    first, head, *rows, total, missing = out.splitlines()
    assert first == "tiny: does it run?"
    assert head.split() == ["arm", "seed", "run", "state", "time"]
    pattern = r"iterations=(\d)\s+0\s+[0-9a-f]{12}\s+to run\s+[\d.]+ s\s*"
    assert [re.fullmatch(pattern, row)[1] for row in rows] == ["1", "2"]  # type: ignore[index]
    assert re.fullmatch(
        r"2 runs: 0 done, 2 to run; about [\d.]+ s of training, 2 at a time, if they do not slow each other down",
        total,
    )
    assert missing == "not included: start, reading data, validation and writing checkpoints; evaluations"
    _, out, _ = slotlab("ablate", "tiny.yaml", "--dry-run", "--no-estimate")
    assert "not included" not in out, "nothing was timed"


def test_images_that_cannot_be_counted_are_told_before_anything_is_timed(
    slotlab: Slotlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = "{name: clevrtex, root: none}"
    axis = f"axes=[{{name: data, values: {{here: {{data.seed: 1}}, lacking: {{data.dataset: {lacking}}}}}}}]"
    told: list[str] = []
    monkeypatch.setattr(arm_estimates, "say", told.append)
    monkeypatch.setattr(
        arm_estimates,
        "estimate",
        lambda *given, **options: told.append("timed") or {"seconds": 1.0, "steps": 2, "warnings": []},
    )
    code, out, err = slotlab("ablate", "tiny.yaml", "--dry-run", "--device", "cpu", "--set", axis)
    assert code == 0, err
    asked, *timed = told
    assert asked.startswith(
        "warning: the number of training images is not known without the data; give --images N ("
    )
    assert timed == ["timed"]
    assert "give --images N" in out


def test_a_launcher_that_there_is_not_is_told_as_it_was_written(slotlab: Slotlab) -> None:
    text = "launcher: no launcher is called 'slrm'; did you mean 'slurm'? (available: local, ray, slurm)"
    for words, written in (
        (("--launcher", "slrm"), "--launcher slrm"),
        (("--set", "launcher=slrm"), "--set launcher=slrm"),
    ):
        code, out, err = slotlab("ablate", "tiny.yaml", "--dry-run", *words)
        assert (code, out, err) == (1, "", f"error: {written}: {text}\n")


@pytest.mark.slow
def test_a_study_from_its_plan_to_its_end_and_once_more(slotlab: Slotlab) -> None:
    code, text, err = slotlab("ablate", "tiny.yaml", "--device", "cpu", "--json", "-")
    assert code == 0, err
    result = json.loads(text)
    assert [(row["arm"], row["state"], row["step"]) for row in result["runs"]] == [
        ("iterations=1", "done", 2),
        ("iterations=2", "done", 2),
    ]
    assert result["failed"] == []
    for row in result["runs"]:
        assert Path(row["run"]) == Path("runs", row["run_id"]).absolute()
        summaries = RunFolder(Path(row["run"])).read_summaries()
        assert [one["methods"]["model"]["ari"]["mean"] for one in summaries.values()] == [
            row["metrics"]["ari"]
        ]
    code, again, err = slotlab("ablate", "tiny.yaml", "--device", "cpu", "--json", "-")
    assert json.loads(again) == result
    assert err == "tiny: 2 runs, 2 done before\n"
    _, out, _ = slotlab(
        "ablate", "tiny.yaml", "--dry-run", "--set", "seeds=[0, 1]", "--set", "name=other", "--no-estimate"
    )
    assert out.count("done (shared with tiny)") == 2
    assert out.splitlines()[-1] == "4 runs: 2 done, 2 to run"
    _, out, _ = slotlab("watch", "studies/tiny", "--once")
    assert out.splitlines()[0].strip() == "tiny: 2 done"
    assert len(re.findall(r"iterations=\d\s+0\s+done .* 2/2 ", out)) == 2
    _, text, _ = slotlab("runs", "--where", "model.grouping.iterations=2", "--json", "-")
    assert [record["run"] for record in json.loads(text)] == [result["runs"][1]["run_id"]]
    _, out, _ = slotlab("runs", "--show", "training.batch_size")
    assert out.splitlines()[0].split()[-1] == "training.batch_size"
    assert out.splitlines()[-1] == "2 runs"


def test_a_run_that_fails_is_told_and_ends_the_command_with_1(slotlab: Slotlab) -> None:
    sets = ["settings.data.dataset={name: image_folder, images: nowhere}", "retries=0", "axes.0.values=[1]"]
    words = [word for one in sets for word in ("--set", one)]
    code, out, err = slotlab("ablate", "tiny.yaml", "--device", "cpu", *words)
    assert code == 1
    where = Path("nowhere").absolute()
    reason = next(line for line in out.splitlines() if line.startswith("failed: "))
    assert reason.startswith("failed: iterations=1, seed 0: ")
    assert str(where) in reason
    assert "iterations=1, seed 0: failed; " in err
    assert "Traceback" not in out + err
    _, out, _ = slotlab("watch", "studies/tiny", "--once")
    assert out.splitlines()[0].strip() == "tiny: 1 failed"


def test_watching_starts_without_torch(tmp_path: Path) -> None:
    code = "import sys; from slotlab.framework.cli.main import main\ntry: main()\nexcept SystemExit: print('torch' in sys.modules)"
    for command in (["watch", "nowhere", "--once"], ["runs", str(tmp_path)]):
        result = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
        assert result.stdout.splitlines()[-1] == "False", result.stderr


def test_a_narrow_window_cuts_no_arm_s_name() -> None:
    row = {"arm": "slots=3, init=learnable", "seed": 0, "state": "waiting", "total_steps": None, "step": 0}
    row |= dict.fromkeys(("loss", "images_per_second", "seconds_left"))
    look = {
        "primary": "ari",
        "name": "s",
        "states": {"waiting": 1},
        "runs": [row | {"metrics": {"ari": None}}],
    }
    written = io.StringIO()
    Console(file=written, width=60).print(status_table(look))
    column = "".join(line[:16].strip() for line in written.getvalue().splitlines()[1:])
    assert column.endswith("armslots=3,init=learnable")


def test_mistakes_are_told_in_words(slotlab: Slotlab) -> None:
    code, out, err = slotlab("watch", "nowhere")
    assert (code, out) == (1, "")
    assert err == "error: nowhere does not exist; 'slotlab ablate FILE' makes one\n"
    code, _, err = slotlab("ablate", "tiny.yaml", "--launcher", "slrm", "--dry-run")
    assert code == 1
    assert err == (
        "error: --launcher slrm: launcher: no launcher is called 'slrm'; did you mean 'slurm'? "
        "(available: local, ray, slurm)\n"
    )
