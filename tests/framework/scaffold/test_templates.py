"""Every template of `slotlab new` is a component that keeps all laws, and trains by its own spec."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import slotlab as front
from slotlab.framework.scaffold.files import kinds, package_files, plain_files
from slotlab.registry import KINDS

QUICK = ("codec", "metric")
"""The kinds that train in the quick suite."""
TINY_VIDEO = ["--set=training.phases=[{steps: 1, lr: 1e-3}]", "--set=evaluation.baselines=[]"]
TINY_VIDEO += [f"--set=data.dataset.{split}=2" for split in ("num_train", "num_val", "num_test")]


def test_there_is_a_template_for_each_kind_and_for_new_ones():
    assert set(kinds()) == {*KINDS, "kind"}


@pytest.mark.parametrize("kind", kinds())
def test_every_template_keeps_the_laws_and_its_spec_is_valid(kind, slotlab):
    name = f"my_{kind}"
    code, out, err = slotlab("new", kind, name)
    assert (code, err) == (0, "")
    named = f" --plugin {name}.py" if kind == "launcher" else ""
    assert out.splitlines() == [
        *(f"wrote {file}" for file in (f"{name}.py", "spec.yaml", f"test_{name}.py")),
        "next:",
        f"  slotlab check {name}.py",
        f"  slotlab {'ablate' if named else 'train'} spec.yaml{named}",
        f"  python -m pytest test_{name}.py",
    ]
    assert [str(one) for one in front.check(f"{name}.py") if one.state == "failed"] == []
    code, out, err = slotlab("validate", "spec.yaml", *shlex.split(named))
    if kind == "dynamics":  # they need the run of a model, and the message says how to train it
        assert "train it first: slotlab train slotlab:savi_demo" in out
    else:
        assert "spec.yaml: valid" in out
        assert "warning" not in out


@pytest.mark.parametrize(
    "kind", [one if one in QUICK else pytest.param(one, marks=pytest.mark.slow) for one in kinds()]
)
def test_every_template_trains_for_ten_steps(kind, slotlab):
    slotlab("new", kind, "mine")
    if kind == "dynamics":
        assert slotlab("train", "slotlab:savi_demo", "--run", "runs/savi_demo", *TINY_VIDEO)[0] == 0
    if kind == "launcher":
        code, out, err = slotlab("ablate", "spec.yaml", "--plugin", "mine.py")
        [run] = [path.parent for path in Path("runs").glob("*/metrics.jsonl")]
    else:
        run = Path("run")
        code, out, err = slotlab("train", "spec.yaml", "--run", run)
    assert code == 0, err
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in lines) == 10
    if kind in ("metric", "set_metric"):
        assert "mine" in out
    if kind == "tracker":
        assert Path("run/mine.txt").read_text().splitlines()[-1] == "ended"


@pytest.mark.parametrize("kind", kinds())
def test_what_is_written_is_clean_by_the_rules_of_slotlab(kind):
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.exists():
        pytest.skip("ruff is not installed")
    config = Path(__file__).resolve().parents[3] / "pyproject.toml"
    texts = plain_files(kind, "my_part") | package_files(kind, "my_part")
    for name, text in texts.items():
        if name.endswith(".py"):
            for words in (["check", "--quiet"], ["format", "--quiet", "--check"]):
                command = [ruff, *words, f"--config={config}", f"--stdin-filename={Path(name).name}", "-"]
                found = subprocess.run(command, input=text, capture_output=True, text=True)
                assert found.returncode == 0, found.stdout + found.stderr
