"""Laws of every launcher: exit codes and output come back, and what is stopped ends."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from slotlab.framework.study.launching import LauncherContext
from slotlab.plugins.launchers.local import surroundings, visible_gpus
from slotlab.plugins.launchers.slurm import Command
from slotlab.registry import ComponentError, Registry
from slotlab.registry import optional as libraries

CONFIGS: dict[str, dict[str, Any]] = {
    "local": {"jobs": 2, "gpus": []},
    "ray": {"cpus": 0.5},
    "slurm": {"cluster": "local", "gpus": 0, "cpus": 1, "minutes": 2},
}
LIBRARIES = {"ray": "ray", "slurm": "submitit"}
SHELLS = {
    "foreground": (),
    "background": ("/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh"),
}
LAWS = """
import json, sys, time
from pathlib import Path
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.study.launching import Job, LauncherContext

name, settings, folder = sys.argv[1], json.loads(sys.argv[2]), Path.cwd()
registered = load_registry().find("launcher", name)
config = registered.component.config.model_validate(settings)
launcher = registered.component.build(config, LauncherContext(folder=folder, name="laws"))
assert not list(folder.iterdir()), "nothing is opened before the first start"

def start(name, code):
    command = (sys.executable, "-S", "-c", code)
    return launcher.start(Job(name=name, command=command, log=folder / f"{name}.log"))

def wait(task):
    until = time.monotonic() + 240
    while task.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    return task.poll()

def see(path):
    until = time.monotonic() + 240
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.05)

(folder / "fails.log").write_text("before\\n")
environment = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'), os.environ['OMP_NUM_THREADS'])"
tasks = {"fine": start("fine", environment), "fails": start("fails", "import sys; print('bad'); sys.exit(3)")}
codes = {name: wait(task) for name, task in tasks.items()}
codes["killed"] = wait(start("killed", "import os; os.kill(os.getpid(), 9)"))
sleeper = "import signal, sys, time; signal.signal(15, lambda *_: (print('saved', flush=True), sys.exit(75)))"
stopped = start("stopped", sleeper + "; open('begun', 'w').close(); time.sleep(600)")
see(folder / "begun")
polled = stopped.poll()
stopped.stop()
codes["stopped"] = wait(stopped)
see(folder / "stopped.log")
launcher.close()
until = time.monotonic() + 60
while "saved" not in (folder / "stopped.log").read_text() and time.monotonic() < until:
    time.sleep(0.05)
logs = {path.stem: path.read_text() for path in folder.glob("*.log")}
print(json.dumps({"codes": codes, "polled": polled, "logs": logs, "at_once": launcher.at_once}))
"""


@pytest.mark.parametrize(
    ("name", "shell"),
    [
        ("local", "foreground"),
        pytest.param("local", "background", marks=pytest.mark.slow),
        pytest.param("ray", "foreground", marks=pytest.mark.slow),
        pytest.param("ray", "background", marks=pytest.mark.slow),
        pytest.param("slurm", "foreground", marks=pytest.mark.slow),
    ],
)
def test_exit_codes_and_output_come_back(name: str, shell: str, tmp_path: Path) -> None:
    """Also where Ctrl-C is ignored, as by what a script starts behind `&`."""
    library = LIBRARIES.get(name)
    if library is not None and find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    command = [sys.executable, "-c", LAWS, name, json.dumps(CONFIGS[name])]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    result = subprocess.run(
        [*SHELLS[shell], *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    codes, logs = found["codes"], found["logs"]
    assert (codes["fine"], codes["fails"], codes["killed"]) == (0, 3, -signal.SIGKILL)
    assert codes["stopped"] == 75 if name != "slurm" else codes["stopped"] not in (None, 0), (
        "it ended by itself"
    )
    assert found["polled"] is None, "a job that runs has no exit code"
    assert logs["fails"] == "before\nbad\n", "a log is added to"
    assert "saved" in logs["stopped"], "it was asked to save"
    assert logs["fine"].strip().endswith("1")
    assert found["at_once"] == (2 if name == "local" else None)


def test_every_launcher_obeys_the_laws(registry: Registry) -> None:
    assert set(registry.names("launcher")) == set(CONFIGS)


@pytest.mark.parametrize("name", list(LIBRARIES))
def test_a_library_that_is_missing(name: str, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda library: None)
    registered = registry.find("launcher", name)
    assert registered is not None
    with pytest.raises(ComponentError) as caught:
        registered.component.build(registered.component.config(), LauncherContext(folder=Path(), name="x"))
    assert str(caught.value) == (
        f"needs the package {LIBRARIES[name]}, which is not installed: pip install 'slotlab[{name}]'"
    )


def test_places_have_a_gpu_each_or_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    gpus = ["3", "5"]
    assert [surroundings({}, place, 2, gpus)["CUDA_VISIBLE_DEVICES"] for place in range(2)] == gpus
    assert surroundings({}, 2, 3, gpus)["CUDA_VISIBLE_DEVICES"] == "3"
    assert surroundings({}, 0, 4, []) == {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "2",
    }
    assert surroundings({}, 0, 1, []) == {"CUDA_VISIBLE_DEVICES": ""}
    assert surroundings({"OMP_NUM_THREADS": "8"}, 0, 4, []) == {"CUDA_VISIBLE_DEVICES": ""}
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": " 1,GPU-a "}) == ["1", "GPU-a"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}) == []


def test_a_slurm_job_whose_time_is_up_saves_and_is_queued_again(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    log = tmp_path / "log"
    code = (
        "import signal, sys, time\nsignal.signal(15, lambda *_: (print('saved', flush=True), sys.exit(75)))\n"
    )
    words = (sys.executable, "-S", "-c", code + "print('begun', flush=True)\ntime.sleep(600)")
    command = Command(words, str(log))
    with log.open("wb") as output:
        command.process = subprocess.Popen(words, stdout=output)
    while "begun" not in log.read_text():
        time.sleep(0.02)
    again = command.checkpoint()
    assert command.process.returncode == 75
    assert log.read_text() == "begun\nsaved\n"
    assert again.function == Command(words, str(log))
