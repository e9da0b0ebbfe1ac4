"""What a device can do, by the clock and the kernel's own numbers."""

import resource
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from slotlab.framework.cost import device
from slotlab.framework.cost.device import free_memory, measure_peak, peak_memory

CPU = torch.device("cpu")


@pytest.mark.parametrize(("rate", "side"), [(1e6, 256), (2e10, 512), (2e12, 2048), (1e20, 8192)])
def test_the_peak_is_that_of_the_first_product_that_takes_long_enough(
    monkeypatch: pytest.MonkeyPatch, rate: float, side: int
) -> None:
    """A product of two square matrices has two operations for each of side x side x side terms."""
    asked: list[tuple[int, int]] = []

    def seconds(place: torch.device, precision: str, side: int, *, tries: int) -> float:
        asked.append((side, tries))
        return 2 * side**3 / rate

    monkeypatch.setattr(device, "_product_seconds", seconds)
    assert measure_peak(CPU, "float32") == pytest.approx(rate)
    assert asked[-1] == (side, 10)
    assert all(one < side for one, _ in asked[:-1]) or side == asked[-2][0]


def test_of_several_products_the_fastest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 3.0, 10.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr(device, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert device._product_seconds(CPU, "float32", 4, tries=3) == 1.0


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_memory_is_told_in_bytes(monkeypatch: pytest.MonkeyPatch, platform: str, unit: int) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=7))
    assert peak_memory(CPU) == 7 * unit


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="no Linux")
def test_free_memory_is_what_the_kernel_calls_available() -> None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    [available] = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    found = free_memory(CPU)
    assert found is not None
    assert found == pytest.approx(available, rel=0.5), "others take and free some meanwhile"
