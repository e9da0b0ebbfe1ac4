"""Images per second: of the time since the last reading that was not spent elsewhere."""

from types import SimpleNamespace

import pytest

from slotlab.framework.training import state
from slotlab.framework.training.state import Meter


def test_speed_counts_images_over_the_time_that_was_not_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(state, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    meter = Meter(started=100.0)
    meter.images += 10
    clock.now = 102.0
    with meter.paused():
        clock.now = 107.0
    clock.now = 110.0
    assert meter.read() == pytest.approx(10 / (2 + 3))
    meter.images += 6
    clock.now = 112.0
    assert meter.read() == pytest.approx(6 / 2)
    assert meter.read() == 0.0, "no image and no time"
