"""The roofline script counts each operation once, and charges it to the part that computes."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from slotlab.framework.cost.flops import count_flops
from slotlab.framework.spec.load import load_spec

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def roofline() -> Any:
    found = importlib.util.spec_from_file_location("roofline", ROOT / "benchmarks" / "roofline.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_operations_are_those_of_the_cost_report_and_time_is_that_of_the_bounds(roofline: Any) -> None:
    spec = load_spec("slotlab:demo", sets=["training.batch_size=2"]).spec
    machine = roofline.Machine(1e12, 1e11)
    found = roofline.count_step(spec, machine)
    counted = {name: part.flops // 2 for name, part in found.items() if part.flops and name != "optimizer"}
    assert counted == {name: flops for name, flops in count_flops(spec).training.items() if name != "rest"}
    for part in found.values():
        assert part.seconds == pytest.approx(sum(part.bounds.values()))
        assert part.seconds >= max(part.flops / 1e12, part.bytes / 1e11) * (1 - 1e-9)
        assert part.kernels >= 1
