"""Where the time of a training step on a CPU goes: by part of the model, and by kind of work.

    python benchmarks/step_parts.py [SPEC ...] [--set PATH=VALUE] [--steps 9] [--json FILE]

One thread, time of the CPU, medians over steps; both passes of a part count together. `products`
are convolutions and products of matrices, timed in steps of their own, since timing each operation slows a
step down. `other` is the rest of a part's time: small kernels, autograd, Python. `fixed` is what a step of no
images would take, by a line through the spec's batch and a quarter of it. `of the peak` is the time that the
counted operations would take at the speed of the best product of two square matrices in the same process, by
the time that the part takes. `data` is reading a batch of pictures that are in memory.
"""

import argparse
import json
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
from roofline import REST, follow
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from slotlab.framework.cost.flops import count_flops
from slotlab.framework.data.loaders import train_loader
from slotlab.framework.jobs.estimate import TrialTraining
from slotlab.framework.jobs.train import prepare
from slotlab.framework.model.engine import Engine, precise
from slotlab.framework.system.allocator import keeping_memory
from slotlab.framework.training.nan_guard import parts

DATA, OPTIMIZER = "data", "clipping and optimizer"
FEWER = 4
"""How many times fewer images a step has of which the fixed part is told."""
SIDE = 1024
"""Of the matrices whose product is the peak."""


class Stopwatch:
    """The CPU time of each part, charged where the next one begins."""

    def __init__(self):
        self.current, self.begun, self.seconds = None, 0.0, defaultdict(float)

    def enter(self, name):
        """Charge the time until now to the part before; None stops the watch."""
        now = time.process_time()
        if self.current is not None:
            self.seconds[self.current] += now - self.begun
        self.current, self.begun = name, time.process_time()

    def take(self):
        """Return the seconds by part, and forget them."""
        found, self.seconds = self.seconds, defaultdict(float)
        return found


class Products(TorchDispatchMode):
    """The CPU time inside convolutions and products of matrices, by part."""

    def __init__(self, watch):
        super().__init__()
        self.watch, self.seconds = watch, defaultdict(float)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket not in flop_registry:
            return func(*args, **(kwargs or {}))
        begun = time.process_time()
        found = func(*args, **(kwargs or {}))
        self.seconds[self.watch.current] += time.process_time() - begun
        return found


def peak():
    """Return the FLOP/s of a product of two square matrices by CPU time, the best of ten."""
    a, b, seconds = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE), []
    for _ in range(10):
        begun = time.process_time()
        a @ b
        seconds.append(time.process_time() - begun)
    return 2 * SIDE**3 / min(seconds)


@dataclass
class TimedTraining:
    """Training steps on a spec's data that are timed by part."""

    training: TrialTraining
    batches: Iterator
    watch: Stopwatch

    @classmethod
    def of(cls, spec):
        engine, watch = Engine.open(spec, torch.device("cpu"), warn=print), Stopwatch()
        training = TrialTraining.of(engine)
        for name, module in parts(training.trainee.model):
            follow(module, name, watch.enter)
        training.trainee.optimizer.register_step_pre_hook(lambda *_: watch.enter(OPTIMIZER))
        return cls(training, batches_of(train_loader(spec, engine.placement), watch), watch)

    def step(self):
        """Take a step, and return its seconds by part."""
        clip = Engine.clip

        def clipping(*args):
            self.watch.enter(OPTIMIZER)
            clip(*args)

        with patch.object(Engine, "clip", clipping):
            batch = next(self.batches)
            self.watch.enter(REST)
            self.training.step(batch)
            self.watch.enter(None)
        return self.watch.take()

    def products(self):
        """Take a step, and return the seconds of its products by part."""
        with Products(self.watch) as found:
            self.step()
        return found.seconds


def batches_of(loader, watch):
    """Yield batches without end, timed as data."""
    epoch = 0
    while True:
        batches = iter(loader.epoch(loader.order(seed=0, epoch=epoch), epoch=epoch))
        watch.enter(DATA)
        for batch in batches:
            watch.enter(None)
            yield batch
            watch.enter(DATA)
        watch.enter(None)
        epoch += 1


def measure(spec, steps):
    """Return the seconds of steps by part, those of products, and those of steps with fewer images."""
    few = spec.training.model_copy(update={"batch_size": max(spec.training.batch_size // FEWER, 1)})
    many, few = (TimedTraining.of(one) for one in (spec, spec.model_copy(update={"training": few})))
    turns = [(many.step(), many.products(), few.step()) for _ in range(1 + steps)]
    return list(zip(*turns[1:], strict=True))  # the first warms up


def rows_of(spec, steps):
    """Return a row for each part and one for the sum, as dictionaries by column, and the peak in FLOP/s."""
    whole, products, few = measure(spec, steps)
    flops, images, best = count_flops(spec).training, spec.training.batch_size * spec.data.frames, peak()
    times = spec.training.batch_size / max(spec.training.batch_size // FEWER, 1)
    rows = []
    for name in sorted({name for step in whole for name in step}, key=lambda name: -median(whole, name)):
        seconds, inside = median(whole, name), median(products, name)
        fixed = (times * median(few, name) - seconds) / (times - 1) if times > 1 else math.nan
        counted = flops.get("rest" if name == REST else name, 0) * images
        row = {"part": name, "ms": 1e3 * seconds, "products": 1e3 * inside, "other": 1e3 * (seconds - inside)}
        row |= {"fixed": 1e3 * fixed, "GFLOP": counted / 1e9}
        rows.append(row | {"at the peak": 1e3 * counted / best})
    rows.append({"part": "all"} | {key: sum(row[key] for row in rows) for key in rows[0] if key != "part"})
    for row in rows:
        row["share"] = row["ms"] / rows[-1]["ms"]
        row["of the peak"] = row["at the peak"] / row["ms"]
    return rows, best


def median(steps, key):
    """Return the median over steps of what a key has."""
    return statistics.median(step.get(key, 0.0) for step in steps)


def show(rows):
    """Print the table."""
    columns = list(rows[0])
    print("|", " | ".join(columns), "|\n" + "|---" * len(columns) + "|")
    for row in rows:
        cells = [row["part"]] + [
            f"{row[name]:.0%}" if name in ("share", "of the peak") else f"{row[name]:.2f}"
            for name in columns[1:]
        ]
        print("|", " | ".join(cells), "|", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("specs", nargs="*", default=["slotlab:slot_attention_demo"])
    parser.add_argument("--set", action="append", default=[], help="another setting: PATH=VALUE")
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name in options.specs:
        spec = prepare(name, sets=options.set).loaded.spec
        with precise(spec), keeping_memory(torch.device("cpu"), enabled=spec.training.speed.keep_memory):
            found[name], best = rows_of(spec, options.steps)
        print(f"\n{name}: torch {torch.__version__}, 1 thread, peak {best / 1e9:.0f} GFLOP/s\n")
        show(found[name])
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
