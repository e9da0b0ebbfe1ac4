"""The scripts that measure how cost grows, where the time of a step goes, and what compiling it gains."""

import importlib
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from slotlab.framework.cost.flops import count_flops
from slotlab.framework.model.engine import Engine
from slotlab.framework.spec.load import load_spec

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a script of the benchmarks by name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


@pytest.fixture
def growth(script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a quantity that costs nearly nothing."""

    def sums(folder: Path) -> Iterator[tuple[int, Callable[[], object]]]:
        for size in (1000, 2000, 4000):
            yield size, lambda size=size: sum(range(100 * size))

    found = script("growth")
    monkeypatch.setattr(found, "QUANTITIES", {"sums": (sums, "adding", True)})
    return found


def test_the_exponent_is_that_of_a_power_and_its_error_that_of_least_squares(growth: Any) -> None:
    sizes = [2, 4, 8, 16, 32]
    line = growth.fit(sizes, [3 * size**1.5 for size in sizes])
    assert (line.exponent, line.scale) == (pytest.approx(1.5), pytest.approx(3))
    assert line.error == pytest.approx(0, abs=1e-7)
    assert line.at(64) == pytest.approx(3 * 64**1.5)
    costs = [1.0, 2.5, 3.5, 9.0, 14.0]
    (slope, _), covariance = np.polyfit(np.log(sizes), np.log(costs), 1, cov=True)
    noisy = growth.fit(sizes, costs)
    assert (noisy.exponent, noisy.error) == pytest.approx((slope, covariance[0, 0] ** 0.5))
    with pytest.raises(statistics.StatisticsError):
        growth.fit([2], [1.0])


def test_each_size_is_printed_and_drawn_with_its_memory(
    growth: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    growth.main(["--only", "sums", "--repeats", "2", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert [f"sums {size}: " in printed for size in (1000, 2000, 4000)] == [True] * 3
    assert "| sums | adding | 1000 to 4000 |" in printed
    assert "MiB" in printed
    assert (tmp_path / "growth_sums.png").read_bytes().startswith(b"\x89PNG")


def test_what_does_not_fit_into_the_time_is_named(
    growth: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(growth, "Budget", lambda *_: growth_budget(seconds=-1.0))
    growth_budget = importlib.import_module("budget").Budget
    growth.main(["--only", "sums", "--quick"])
    printed = capsys.readouterr().out
    assert "left out: sums: " in printed
    assert "sums 1000:" not in printed


def test_the_parts_of_a_step_have_all_its_operations_and_products_where_there_are_some(
    script: Callable[[str], Any],
) -> None:
    step_parts, clip = script("step_parts"), Engine.clip
    sets = ["data.dataset.num_train=8", "data.protocol.image_size=16", "model.decoder.channels=[8]"]
    spec = load_spec("slotlab:demo", sets=[*sets, "training.batch_size=4"]).spec
    *rows, whole = step_parts.rows_of(spec, 1)[0]
    assert Engine.clip is clip
    assert {"encoder", "grouping", "decoder", step_parts.DATA, step_parts.OPTIMIZER} <= {
        row["part"] for row in rows
    }
    counted = sum(count_flops(spec).training.values()) * 4 / 1e9
    assert whole["GFLOP"] == pytest.approx(counted)
    assert sum(row["ms"] for row in rows) == pytest.approx(whole["ms"])
    for row in rows:
        assert row["ms"] > 0
        assert bool(row["products"]) == bool(row["GFLOP"])
        assert row["products"] + row["other"] == pytest.approx(row["ms"])


def test_what_compiling_costs_and_changes_is_in_a_row(script: Callable[[str], Any]) -> None:
    compiled = script("compiled")
    cold = {"batch": 8, "first": [50.0, 60.0], "eager": 0.035, "compiled": 0.030, "losses": [0.5, 0.5005]}
    cold |= {"graphs": 3, "breaks": 0, "weights": 2e-8}
    row = compiled.row_of("slotlab:demo", cold, {"first": [3.0, 4.0]})
    assert (row["spec"], row["paid back after"], row["difference of the loss"]) == (
        "demo",
        "10,000 steps",
        "1e-03",
    )
    assert row["ratio"] == pytest.approx(35 / 30)
    slower = compiled.row_of("slotlab:demo", cold | {"compiled": 0.04}, {"first": [3.0, 4.0]})
    assert slower["paid back after"] == "never"
    one, other = torch.nn.Linear(2, 1, bias=False), torch.nn.Linear(2, 1, bias=False)
    one.weight.data, other.weight.data = torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 4.5]])
    assert compiled.apart(one, other) == pytest.approx(0.1)
