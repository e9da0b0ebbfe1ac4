"""By which exponent the cost of what slotlab does grows, with a figure each.

    python benchmarks/growth.py [--only runs arms slots tokens images] [--out FOLDER] [--quick] [--json FILE]

* `runs`: `slotlab.compare` over a made-up study of two arms with more seeds
* `arms`: `slotlab.compare` and its report over a made-up study with more arms of four seeds
* `slots`: a training step of `slot_attention_demo` (8 images of 32x32) with more slots
* `tokens`: the same step with larger pictures: the encoder makes a token of every four pixels
* `images`: `evaluate` of that model on more generated pictures, which are rendered for it

Cost is the time of this process on the CPU, on one thread, the least of some repeats: other work on the
machine only adds to it. The exponent is the slope of a line through the logarithms, by least squares, with
its standard error. A part that does not grow makes it smaller, so the slope between the last two sizes has a
column of its own. Memory, for runs and arms, is the peak of what Python allocates (tracemalloc, in a call
that is not timed). With --quick memory is left out, there are fewer repeats, and sizes that do not fit into
three minutes are left out and named.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

from budget import Budget
from synthetic_study import write_study

DEMO = "slotlab:slot_attention_demo"


@dataclass(frozen=True)
class Line:
    """A line through logarithms: cost = scale * size ** exponent."""

    exponent: float
    error: float
    """The standard error of the exponent; NaN with two points."""
    scale: float

    def at(self, size: float) -> float:
        """Return the cost at a size."""
        return self.scale * size**self.exponent


def fit(sizes: list[int], costs: list[float]) -> Line:
    """Fit the line by least squares.

    Raises:
        StatisticsError: with fewer than two sizes.
    """
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    slope, start = statistics.linear_regression(x, y)
    middle = statistics.fmean(x)
    rest = sum((b - start - slope * a) ** 2 for a, b in zip(x, y, strict=True))
    spread = sum((a - middle) ** 2 for a in x)
    error = math.sqrt(rest / (len(x) - 2) / spread) if len(x) > 2 else math.nan
    return Line(slope, error, math.exp(start))


@dataclass
class Growth:
    """What was measured of one quantity."""

    name: str
    what: str
    """What is done at each size."""
    sizes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    """Peaks in MiB; empty where memory is not measured."""

    @property
    def last(self) -> float:
        """The exponent between the last two sizes."""
        return fit(self.sizes[-2:], self.seconds[-2:]).exponent

    def row(self) -> str:
        """Return the line of the table."""
        line = fit(self.sizes, self.seconds)
        memory = "-"
        if self.memory:
            ends = f"{self.memory[0]:.3g} to {self.memory[-1]:.3g} MiB"
            memory = f"{ends}, {fit(self.sizes, self.memory).exponent:.2f}"
        cells = [self.name, self.what, f"{self.sizes[0]} to {self.sizes[-1]}"]
        cells += [f"{self.seconds[0]:.3g} to {self.seconds[-1]:.3g} s"]
        cells += [f"{line.exponent:.2f} ± {line.error:.2f}", f"{self.last:.2f}", memory]
        return f"| {' | '.join(cells)} |"


HEAD = (
    "",
    "cost of",
    "sizes",
    "s of the CPU",
    "exponent",
    "between the last two",
    "peak memory, its exponent",
)
Calls = Iterator[tuple[int, Callable[[], object]]]
"""Sizes, each with what is measured at it."""


def step_of(*sets: str) -> Callable[[], object]:
    """Return a training step of the demo's spec with other settings."""
    import torch

    torch.set_num_threads(1)
    from slotlab.framework.jobs.estimate import TrialTraining, random_batch
    from slotlab.framework.jobs.train import prepare
    from slotlab.framework.model.engine import Engine

    spec = prepare(DEMO, sets=list(sets)).loaded.spec
    training = TrialTraining.of(Engine.open(spec, torch.device("cpu"), warn=print))
    return partial(training.step, random_batch(training.engine, spec.training.batch_size))


def runs(folder: Path) -> Calls:
    """A comparison of more runs of two arms."""
    import slotlab

    for count in (4, 8, 16, 32, 64, 128):
        yield count, partial(slotlab.compare, write_study(folder / str(count), arms=2, seeds=count // 2))


def arms(folder: Path) -> Calls:
    """A comparison and its report with more arms."""
    import slotlab

    for count in (2, 4, 8, 16, 32):
        study = write_study(folder / str(count), arms=count, seeds=4)
        yield count, lambda study=study: slotlab.compare(study).report(folder / "report.html")


def slots(folder: Path) -> Calls:
    """A training step with more slots."""
    for count in (2, 4, 8, 16, 32):
        yield count, step_of(f"model.slots={count}")


def tokens(folder: Path) -> Calls:
    """A training step with larger pictures."""
    for side in (8, 16, 32, 64):
        sets = (f"data.protocol.image_size={2 * side}", f"model.decoder.broadcast_size={side // 2}")
        yield side**2, step_of(*sets)


def images(folder: Path) -> Calls:
    """An evaluation of more images."""
    import slotlab

    settings = {"training.phases": [{"steps": 1, "lr": 1e-4}], "data.dataset.num_val": 1024}
    settings |= {"evaluation.baselines": []}
    run = slotlab.train(DEMO, settings, run=folder / "run", device="cpu", evaluate=False)
    for count in (64, 128, 256, 512, 1024):
        yield count, partial(run.evaluate, settings={"evaluation.max_images": count}, figures=False)


QUANTITIES = {
    "runs": (runs, "`compare`, 2 arms", True),
    "arms": (arms, "`compare` and `report`, 4 seeds an arm", True),
    "slots": (slots, "a training step of `slot_attention_demo`, more slots", False),
    "tokens": (tokens, "a training step of `slot_attention_demo`, larger pictures", False),
    "images": (images, "`evaluate`, rendering included", False),
}
"""By name: the calls, what they do, and whether memory is measured."""


def least(call: Callable[[], object], repeats: int, budget: Budget | None) -> float:
    """Return the least CPU time of some calls; of fewer where the budget ends."""
    found: list[float] = []
    while len(found) < repeats and not (found and budget and budget.left < found[-1]):
        begun = time.process_time()
        call()
        found.append(time.process_time() - begun)
    return min(found)


def peak(call: Callable[[], object]) -> float:
    """Return the most MiB that Python held during a call, above what it held before."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def measure(name: str, repeats: int, budget: Budget | None) -> Growth:
    """Measure one quantity at each size that fits, and print each as it comes."""
    calls, what, memory = QUANTITIES[name]
    found, memory = Growth(name, what), memory and budget is None

    def at(size: int, call: Callable[[], object]) -> None:
        found.seconds.append(least(call, repeats, budget))
        found.memory += [peak(call)] if memory else []
        found.sizes.append(size)
        also = f", {found.memory[-1]:.3g} MiB" if memory else ""
        print(f"{name} {size}: {found.seconds[-1]:.4g} s of the CPU{also}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        for size, call in calls(Path(folder)):
            if budget and not budget.fits(f"{name} {size}", size):
                break
            call()  # warms up, and is no part of what the next size is judged by
            if budget is None:
                at(size, call)
            elif not budget.row(f"{name} {size}", partial(at, size, call), size):
                break
    return found


def draw(found: Growth, stem: Path) -> None:
    """Draw points and line on logarithmic axes, as `stem`.png and .pdf."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    from slotlab.framework.figures.style import FAINT, TRAIN, new_curve, save, styled

    line, ends = fit(found.sizes, found.seconds), (found.sizes[0], found.sizes[-1])
    with styled():
        figure, axis = new_curve(found.name, "seconds of the CPU")
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))  # numbers, no powers
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_xticks(found.sizes, [str(size) for size in found.sizes])
        text = f"exponent {line.exponent:.2f} ± {line.error:.2f}"
        axis.plot(ends, [line.at(size) for size in ends], color=FAINT, linestyle="--", label=text)
        axis.plot(
            found.sizes, found.seconds, color=TRAIN, marker="o", markersize=5, linestyle="", label="measured"
        )
        axis.set_title(found.what.replace("`", ""))
        axis.legend()
        save(figure, stem)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=QUANTITIES, default=list(QUANTITIES))
    parser.add_argument("--out", type=Path, help="draw growth_NAME.png and .pdf into this folder")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--quick", action="store_true", help="within three minutes")
    parser.add_argument("--json", type=Path, help="write what was measured here too")
    options = parser.parse_args(words)
    repeats, rows, end = options.repeats or (2 if options.quick else 5), [], Budget()
    print(f"torch {version('torch')}, 1 thread, least of {repeats}", flush=True)
    for number, name in enumerate(options.only):
        budget = None
        if options.quick:  # each has its part of what is left
            budget = Budget(end.left / (len(options.only) - number), time.monotonic())
            if not end.fits(name, 0.5):
                continue
        begun = time.monotonic()
        found = measure(name, repeats, budget)
        end.longest = max(end.longest, time.monotonic() - begun)
        if len(found.sizes) < 2:
            print(f"left out: {name}: a line needs two sizes", flush=True)
            continue
        rows.append(found)
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            draw(found, options.out / f"growth_{name}")
    print(f"\n| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|")
    for found in rows:
        print(found.row(), flush=True)
    if options.json:
        options.json.write_text(json.dumps([vars(one) for one in rows], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
