"""A Ray cluster of two nodes loses one in the middle of a study: the study completes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CLUSTER = """
import subprocess, sys, time
from pathlib import Path
from ray.cluster_utils import Cluster

node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=node)
second = cluster.add_node(**node)
cluster.wait_for_nodes()
command = [sys.executable, "-m", "slotlab.framework.cli", "ablate", "slotlab:ablations/demo_ablation",
           "--launcher", "ray", "--set", f"launcher.address={cluster.address}", "--device", "cpu",
           "--json", "result.json", *sys.argv[1:]]
study = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
until = time.monotonic() + 600
def steps(folder):  # of its checkpoints
    return [int(path.name.split("-")[1]) for path in folder.glob("step-*.pt")]
while sum(max(steps(folder), default=0) >= 20 for folder in Path("runs").glob("*/checkpoints")) < 2:
    assert study.poll() is None, study.stderr.read()
    assert time.monotonic() < until, "the runs did not start"
    time.sleep(0.05)
cluster.remove_node(second, allow_graceful=False)
print("one node is gone", flush=True)
_, errors = study.communicate(timeout=1200)
print(errors)
cluster.shutdown()
sys.exit(study.returncode)
"""
SHORT = (
    "settings.training={phases: [{steps: 600, lr: 2e-3}], checkpoint: {every_steps: 10}, log_every: 5}",
    "settings.data.dataset={num_train: 16, num_val: 4}",
    "seeds=[0]",
)


@pytest.mark.slow
def test_the_demo_ablation_outlives_a_node(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
    }
    sets = [f"--set={assignment}" for assignment in SHORT]
    result = subprocess.run(
        [sys.executable, "-c", CLUSTER, *sets],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    told = result.stdout.partition("one node is gone")[2]
    assert ": goes on from step " in told, result.stdout
    runs = json.loads((tmp_path / "result.json").read_text())["runs"]
    assert [(row["state"], row["step"]) for row in runs] == [("done", 600)] * 2
