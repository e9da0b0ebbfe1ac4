"""A training step under torch.compile against the same step without, on a CPU.

    python benchmarks/compiled.py [SPEC ...] [--mode default] [--batch N] [--steps 6] [--json FILE]

One thread. For each spec a process of its own makes the model twice from one seed, compiles one of the two
into an empty cache, and lets both take steps by turns on the same random images. A second process does the
same and finds the cache filled. A row has the seconds that the first compiled step takes in each (of the CPU,
the compiler's included), the time of the CPU of a step (medians), after how many steps compiling is paid
back, how many graphs were compiled and where Python came in between (breaks), and how far loss and weights of
the two are apart after the steps, relatively. That a part runs uncompiled is said as a training says it.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

SPECS = ("slotlab:slot_attention_demo", "slotlab:demo", "slotlab:clevrtex6")
BATCHES = {"slotlab:clevrtex6": 2}
"""Of specs whose own batch takes a CPU minutes."""
HEAD = (
    "spec",
    "batch",
    "first step, empty cache: s of the CPU",
    "s by the clock",
    "first step, filled cache: s of the CPU",
    "eager step, ms",
    "compiled step, ms",
    "ratio",
    "paid back after",
    "graphs",
    "breaks",
    "loss",
    "difference of the loss",
    "of the weights",
)


def cpu_seconds():
    """Return the CPU time of this process and of those that it has waited for, such as the compiler's."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both)


def timed(call):
    """Return the seconds that a call takes, of the CPU and by the clock."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    call()
    return cpu_seconds() - cpu, time.perf_counter() - wall


def training_of(spec, compiled):
    """Return training steps of a new model, with one step's batch."""
    import torch

    from slotlab.framework.jobs.estimate import TrialTraining, random_batch
    from slotlab.framework.model.engine import Engine
    from slotlab.framework.training.state import seeded

    speed = spec.training.speed.model_copy(update={"compile": compiled})
    spec = spec.model_copy(update={"training": spec.training.model_copy(update={"speed": speed})})
    engine = Engine.open(spec, torch.device("cpu"), warn=lambda text: print(text, file=sys.stderr))
    with seeded(spec.seed):
        training = TrialTraining.of(engine)
    return training, random_batch(engine, spec.training.batch_size)


def loss_of(training, batch):
    """Return the loss of a batch."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with training.engine.fabric.autocast():
        return float(training.trainee.model.losses(batch, generator=generator).total.detach())


def apart(one, other):
    """Return the distance between the weights of two models, as a part of their length."""
    pairs = list(zip(one.parameters(), other.parameters(), strict=True))
    difference = sum(float((a - b).detach().double().square().sum()) for a, b in pairs)
    return (difference / sum(float(a.detach().double().square().sum()) for a, _ in pairs)) ** 0.5


def measure(options):
    """Measure one spec in this process, and print what was found as JSON."""
    import torch
    from torch._dynamo.utils import counters

    from slotlab.framework.jobs.train import prepare
    from slotlab.framework.model.engine import precise
    from slotlab.framework.system.allocator import keeping_memory

    torch.set_num_threads(1)
    [name] = options.specs
    batch_size = options.batch or BATCHES.get(name)
    sets = [f"training.batch_size={batch_size}"] if batch_size else []
    spec = prepare(name, sets=sets).loaded.spec
    with precise(spec), keeping_memory(torch.device("cpu"), enabled=spec.training.speed.keep_memory):
        sides = [training_of(spec, mode) for mode in ("off", options.mode)]
        first = [timed(lambda one=one: one[0].step(one[1])) for one in sides]
        turns = [
            [timed(lambda one=one: one[0].step(one[1]))[0] for one in sides] for _ in range(options.steps)
        ]
        eager, compiled = (statistics.median(side) for side in zip(*turns, strict=True))
        losses = [loss_of(*one) for one in sides]
    graphs, breaks = counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())
    facts = {"graphs": graphs, "breaks": breaks, "weights": apart(*(one[0].trainee.model for one in sides))}
    facts |= {"batch": spec.training.batch_size, "first": first[1], "eager": eager, "compiled": compiled}
    print(json.dumps(facts | {"losses": losses}))


def in_a_process(name, options, cache):
    """Measure a spec in a process of its own that compiles on one core, with a folder as its cache."""
    command = [sys.executable, __file__, name, "--measure", "--mode", options.mode]
    command += ["--steps", str(options.steps)] + (["--batch", str(options.batch)] if options.batch else [])
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # in the process itself, so that its time is counted
        "TORCHINDUCTOR_CACHE_DIR": cache,
    }
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)


def row_of(name, cold, warm):
    """Return the row of a spec, by the names of the columns."""
    eager, compiled = cold["eager"], cold["compiled"]
    steps = f"{cold['first'][0] / (eager - compiled):,.0f} steps" if compiled < eager else "never"
    cells = [name.removeprefix("slotlab:"), cold["batch"], *cold["first"], warm["first"][0]]
    cells += [1e3 * eager, 1e3 * compiled, eager / compiled, steps]
    first, second = cold["losses"]
    cells += [cold["graphs"], cold["breaks"], first]
    cells += [f"{abs(first - second) / first:.0e}", f"{cold['weights']:.0e}"]
    return dict(zip(HEAD, cells, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("specs", nargs="*", default=SPECS)
    parser.add_argument("--mode", default="default", help="of training.speed.compile")
    parser.add_argument("--batch", type=int, help="images in a step")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options)
        return
    from importlib.metadata import version

    print(f"{date.today()}, torch {version('torch')}, mode {options.mode}, 1 thread\n", flush=True)
    print("|", " | ".join(HEAD), "|\n" + "|---" * len(HEAD) + "|", flush=True)
    found = []
    for name in options.specs:
        with tempfile.TemporaryDirectory() as cache:
            row = row_of(name, *(in_a_process(name, options, cache) for _ in range(2)))
        cells = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()]
        print("|", " | ".join(cells), "|", flush=True)
        found.append(row)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
