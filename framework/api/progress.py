"""How far a training is: a bar on a terminal; in a log file, a line now and then."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from slotlab.framework.api.console import error_console
from slotlab.framework.training.plan import Progress as TrainProgress

GIB = 2**30


def open_bar(what: str, console: Console | None = None) -> Progress:
    """Return a progress bar, on stderr unless told otherwise, so that stdout is free for JSON."""
    return Progress(
        TextColumn(what, markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}", markup=False),
        TimeRemainingColumn(),
        console=console or error_console(),
    )


@dataclass
class TrainingDisplay:
    """Called after each step. Nothing is shown before the first, such as for a run that is refused."""

    title: str
    phases: int
    """How many the training has."""
    console: Console
    memory: Callable[[], int | None] = lambda: None
    """Bytes in use on the GPU; None without one."""
    clock: Callable[[], float] = time.monotonic
    every: float = 30.0
    """Seconds between two lines, where there is no bar."""
    bar: Progress = field(init=False)
    task: TaskID | None = None
    facts: str = ""
    started: tuple[int, float] = (0, 0.0)
    """Step and time of the first call."""
    written: float = 0.0
    """Time of the last line."""

    def __post_init__(self) -> None:
        self.bar = open_bar("train", self.console)

    def __call__(self, progress: TrainProgress) -> None:
        """Show a step."""
        if self.task is None:
            self._begin(progress)
        if progress.loss is not None:
            self.facts = self._describe(progress)
        if self.console.is_terminal:
            assert self.task is not None
            self.bar.update(self.task, completed=progress.step, facts=self.facts)
        elif progress.step == progress.total_steps or self.clock() - self.written >= self.every:
            self._write(progress)

    def stop(self) -> None:
        """Leave the bar as it is, if there is one."""
        if self.task is not None and self.console.is_terminal:
            self.bar.stop()

    def _begin(self, progress: TrainProgress) -> None:
        self._print(self.title)
        self.started = progress.step, self.clock()
        self.written = self.clock()
        # From the step it goes on from: else the steps before would count into the speed.
        self.task = self.bar.add_task("train", total=progress.total_steps, completed=progress.step, facts="")
        if self.console.is_terminal:
            self.bar.start()

    def _describe(self, progress: TrainProgress) -> str:
        words = [f"phase {progress.phase + 1}/{self.phases}", f"loss {progress.loss:.4f}"]
        words.append(f"{progress.images_per_second:.0f} images/s")
        memory = self.memory()
        if memory is not None:
            words.append(f"GPU {memory / GIB:.1f} GiB")
        return ", ".join(words)

    def _write(self, progress: TrainProgress) -> None:
        self.written = self.clock()
        words = [f"step {progress.step}/{progress.total_steps}", self.facts]
        step, time_then = self.started
        if progress.step > step:
            seconds = (self.clock() - time_then) / (progress.step - step)
            left = timedelta(seconds=round(seconds * (progress.total_steps - progress.step)))
            words.append(f"{left} left")
        self._print("train: " + ", ".join(word for word in words if word))

    def _print(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)
