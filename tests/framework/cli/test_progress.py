"""What is shown of a training: a bar on a terminal, lines in a file, nothing beside the first process."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from slotlab.framework.api.progress import TrainingDisplay
from slotlab.framework.training.plan import Progress

TITLE = "training 'tiny' on cpu into runs/tiny"


class Clock:
    """Time that stands still until a test moves it."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def step(number: int, loss: float | None = None, speed: float | None = None, phase: int = 0) -> Progress:
    return Progress(number, 200, phase, number // 10, loss, speed)


def display(terminal: bool = False, memory: int | None = None) -> tuple[TrainingDisplay, io.StringIO, Clock]:
    text, clock = io.StringIO(), Clock()
    console = Console(file=text, force_terminal=terminal, width=100, color_system=None)
    shown = TrainingDisplay(TITLE, phases=2, console=console, memory=lambda: memory, clock=clock)
    return shown, text, clock


def test_a_file_gets_a_line_every_half_minute_and_at_the_end() -> None:
    shown, text, clock = display()
    for number in range(1, 201):
        loss, speed = (0.5 / number, 812.4) if number % 10 == 0 else (None, None)
        shown(step(number, loss, speed, phase=number // 150))
        clock.now += 1.0
    shown.stop()
    assert text.getvalue().splitlines() == [
        TITLE,
        "train: step 31/200, phase 1/2, loss 0.0167, 812 images/s, 0:02:49 left",
        "train: step 61/200, phase 1/2, loss 0.0083, 812 images/s, 0:02:19 left",
        "train: step 91/200, phase 1/2, loss 0.0056, 812 images/s, 0:01:49 left",
        "train: step 121/200, phase 1/2, loss 0.0042, 812 images/s, 0:01:19 left",
        "train: step 151/200, phase 2/2, loss 0.0033, 812 images/s, 0:00:49 left",
        "train: step 181/200, phase 2/2, loss 0.0028, 812 images/s, 0:00:19 left",
        "train: step 200/200, phase 2/2, loss 0.0025, 812 images/s, 0:00:00 left",
    ]


def test_the_time_left_counts_from_the_step_it_goes_on_from() -> None:
    shown, text, clock = display()
    shown(step(100))
    clock.now += 30.0
    shown(step(150, 0.25, 10.0))
    assert text.getvalue().splitlines()[1:] == [
        "train: step 150/200, phase 1/2, loss 0.2500, 10 images/s, 0:00:30 left"
    ]


def test_memory_of_a_gpu_is_shown() -> None:
    shown, text, clock = display(memory=3 * 2**29)
    shown(step(1))
    clock.now += 30.0
    shown(step(11, 0.25, 10.0))
    assert "10 images/s, GPU 1.5 GiB, 0:09:27 left" in text.getvalue()


def test_a_terminal_gets_a_bar() -> None:
    shown, text, _ = display(terminal=True)
    shown(step(1))
    shown(step(50, 0.25, 10.0))
    shown.stop()
    last = next(line for line in reversed(text.getvalue().splitlines()) if "━" in line)
    assert TITLE in text.getvalue()
    assert "50/200 phase 1/2, loss 0.2500, 10 images/s" in last
    assert "train: step" not in text.getvalue()


def test_nothing_is_shown_before_the_first_step() -> None:
    shown, text, _ = display(terminal=True)
    shown.stop()
    assert text.getvalue() == ""


def test_only_the_first_process_prints(
    slotlab: Callable[..., tuple[int, str, str]],
    base: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sets = ["data.dataset={name: scenes, max_objects: 9, num_train: 2, num_val: 2}"]  # 7 slots: a warning
    words = ["train", "spec.yaml", "--device=cpu", *(f"--set={one}" for one in sets)]
    outputs = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        outputs.append(slotlab(*words, "--run", tmp_path / f"run{rank}"))
    code, out, err = outputs[0]
    assert code == 0
    assert err.startswith("warning: spec.yaml")
    assert "train: step 2/2" in err
    assert "weights of step 2" in out
    assert outputs[1] == (0, "", "")
