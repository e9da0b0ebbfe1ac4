"""A Ray cluster of two nodes loses one in the middle of a study: the study completes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

STUDY = """
format: 1
name: clustered
question: does it matter where it ran?
base: spec.yaml
settings:
  data.dataset: {name: scenes, max_objects: 3, num_train: 12, num_val: 4, textures: [plain]}
  training: {phases: [{steps: 1500, lr: 1e-3}], checkpoint: {every_steps: 10}, log_every: 5}
axes:
  - {name: initializer, path: model.initializer, values: [gaussian, learnable]}
seeds: [0]
"""
CLUSTER = """
import subprocess, sys, time
from pathlib import Path
from ray.cluster_utils import Cluster

node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=node)
second = cluster.add_node(**node)
cluster.wait_for_nodes()
command = [sys.executable, "-m", "slotlab.framework.cli", "ablate", "study.yaml", "--launcher", "ray",
           "--set", f"launcher.address={cluster.address}", "--device", "cpu", "--json", "result.json"]
study = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
until = time.monotonic() + 400
while len({path.parent for path in Path("runs").glob("*/checkpoints/step-*.pt")}) < 2:
    assert study.poll() is None, study.stderr.read()
    assert time.monotonic() < until, "the runs did not start"
    time.sleep(0.05)
cluster.remove_node(second, allow_graceful=False)
print("one node is gone", flush=True)
_, errors = study.communicate(timeout=600)
print(errors)
cluster.shutdown()
sys.exit(study.returncode)
"""


@pytest.mark.slow
def test_a_study_outlives_a_node(base: str, write: Callable[[str, str], Path]) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    write("study.yaml", STUDY)
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
    }
    result = subprocess.run(
        [sys.executable, "-c", CLUSTER], env=environment, capture_output=True, text=True, timeout=1100
    )
    assert result.returncode == 0, result.stdout + result.stderr
    told = result.stdout.partition("one node is gone")[2]
    assert ": goes on from step " in told, result.stdout
    runs = json.loads(Path("result.json").read_text())["runs"]
    assert [(row["state"], row["step"]) for row in runs] == [("done", 1500)] * 2
