"""Each test is set apart: from the folder, the home, the environment and the shell that the suite is started in."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = {
    "HOME": "/dev/null",
    "XDG_CACHE_HOME": "/dev/null",
    "COLUMNS": "30",
    "TERM": "xterm",
    "LANG": "C",
    "TZ": "Asia/Kathmandu",
    "NO_COLOR": "1",
    "FORCE_COLOR": "1",
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "SLOTLAB_STORES": "/dev/null",
    "WANDB_MODE": "online",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    "RANK": "1",
    "WORLD_SIZE": "2",
    "RAY_ADDRESS": "127.0.0.1:9",
    "OMP_NUM_THREADS": "5",
}
SET = {"HOME", "COLUMNS", "LANG", "TZ", "OMP_NUM_THREADS"}


def test_it_starts_in_an_empty_folder_with_an_empty_home(tmp_path: Path) -> None:
    assert (Path.cwd(), list(tmp_path.iterdir())) == (tmp_path, [])
    assert list(Path.home().iterdir()) == []
    assert not Path.home().is_relative_to(tmp_path)


def test_its_environment_is_the_same_everywhere() -> None:
    assert not {*HOSTILE, "XDG_CONFIG_HOME", "LC_ALL", "SLURM_JOB_ID"} - SET & os.environ.keys()
    assert (os.environ["COLUMNS"], os.environ["TZ"], os.environ["OMP_NUM_THREADS"]) == ("80", "UTC", "1")


@pytest.mark.parametrize("time", ["first", "second"])
def test_what_another_test_changed_is_as_before(time: str) -> None:
    drawn = (random.random(), float(np.random.rand()), float(torch.rand(())))
    assert drawn == (0.8444218515250481, 0.5488135039273248, 0.49625658988952637)
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (1, torch.float32)
    assert not torch.are_deterministic_algorithms_enabled()
    assert "LEFT_BEHIND" not in os.environ
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    os.environ["LEFT_BEHIND"] = time
    os.chdir("/")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def test_processes_that_it_starts_hear_ctrl_c() -> None:
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@pytest.mark.slow
def test_all_this_holds_wherever_the_suite_is_started(tmp_path: Path) -> None:
    """Among files, without a home, behind `&` in a script, with standard input closed."""
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    words = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "-p", "no:cacheprovider"]
    files = [str(Path(__file__)), str(ROOT / "tests" / "framework" / "cli" / "test_compose.py")]
    command = [
        sys.executable,
        "-m",
        "pytest",
        *words,
        "-m",
        "not slow",
        "-k",
        "surroundings or not_done",
        *files,
    ]
    environment = {"PATH": os.environ["PATH"], **HOSTILE}
    done = subprocess.run(
        ["/bin/sh", "-c", "trap '' INT; exec \"$@\" <&-", "sh", *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["runs"], "nothing is left where it was started"
