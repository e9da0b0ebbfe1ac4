"""slotlab's training step against plain PyTorch: images/s, on random images, in one run.

    python benchmarks/training.py [--quick] [--device auto] [--batch-size N] [--precision bfloat16]
                                  [--all] [--only NAME ...] [--json FILE]

The model is that of `slotlab:clevrtex6`. The baseline is `seed_model.py`: eager, float32, NCHW.
Each variant runs in a process of its own, as a training does, and they take turns, so that a
drift of the machine's speed affects all alike. With --quick each has its turns after the one before, and its
row is printed as it comes; what does not fit into three minutes, or cannot gain on the machine, is left out
and named. The medians are printed as a table in Markdown: by
wall time and, on a CPU, also by CPU time, which other work on the machine disturbs less.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import torch
from budget import Budget
from seed_model import SeedModel

from slotlab.framework.contracts import Slots
from slotlab.framework.cost.device import measure_peak, peak_memory, wait
from slotlab.framework.cost.flops import count_flops
from slotlab.framework.jobs.estimate import TrialTraining, random_batch
from slotlab.framework.jobs.train import choose_device, prepare
from slotlab.framework.model.engine import Engine, precise
from slotlab.framework.system.allocator import give_back, keeping_memory

SPEC = "slotlab:clevrtex6"
BASELINE = "plain PyTorch"
PLAIN = ("memory_format=contiguous", "fused=no", "keep_memory=false")
VARIANTS = {
    "slotlab": (),
    "nothing made fast": PLAIN,
    "contiguous": ("memory_format=contiguous",),
    "memory given back": ("keep_memory=false",),
    "fused optimizer": ("fused=yes",),
    "compile": ("compile=default",),
    "compile, CUDA graphs": ("compile=reduce-overhead",),
    "recompute encoder and decoder": ("recompute=[encoder, decoder]",),
}
WARM = {"cpu": 1, "cuda": 2}
"""Untimed steps at the start of every turn, since memory is given back between turns."""
DECODER = "decoder"
NO_BF16 = "none, so no gain is to be expected"


@dataclass(frozen=True)
class BenchmarkTask:
    """The steps that one process times."""

    name: str
    precision: str
    settings: tuple
    batch_size: int
    slots: int
    device: str

    @property
    def label(self):
        return self.name if self.name == BASELINE else f"{self.name}, {self.precision}"


@dataclass
class TaskProcess:
    """The process of a task, and the times of its turns."""

    task: BenchmarkTask
    process: object
    pipe: object
    turns: list = field(default_factory=list)

    def median(self, what):
        return statistics.median(turn[what] for turn in self.turns)


def baseline(task, device):
    torch.manual_seed(0)
    model = SeedModel(task.slots).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    images = torch.rand(task.batch_size, 3, 128, 128, device=device) * 2 - 1

    def step():
        optimizer.zero_grad()
        model(images).backward()
        optimizer.step()

    return step


def spec_of(task):
    sets = [f"training.speed.{setting}" for setting in task.settings]
    sets += [f"training.precision={task.precision}", f"training.batch_size={task.batch_size}"]
    return prepare(SPEC, sets=[*sets, f"model.slots={task.slots}"]).loaded.spec


def slotlab(spec, task, device):
    bench = TrialTraining.of(Engine.open(spec, device, warn=print))
    batch = random_batch(bench.engine, task.batch_size)
    if task.name != DECODER:
        return lambda: bench.step(batch)
    model, slots = bench.trainee.model, torch.randn(task.batch_size, task.slots, 128, device=device)

    def decode():
        with bench.engine.fabric.autocast():
            decoded = model.decode(Slots(slots))
        decoded.prediction_BCHW.float().sum().backward()

    return decode


def work(task, pipe, threads):
    """Run a turn for each number of steps that comes through the pipe, until it is None."""
    torch.set_num_threads(threads)
    device, spec = torch.device(task.device), spec_of(task)
    with ExitStack() as stack:
        stack.enter_context(precise(spec))
        if task.name == BASELINE:
            step = baseline(task, device)
        else:
            stack.enter_context(keeping_memory(device, enabled=spec.training.speed.keep_memory))
            step = slotlab(spec, task, device)
        while (steps := pipe.recv()) is not None:
            pipe.send(turn(step, steps, device))


def turn(step, steps, device):
    gpu = device.type == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats(device)
    for _ in range(WARM[device.type]):
        step()
    wait(device)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    wait(device)
    taken = {"wall": (time.perf_counter() - wall) / steps, "cpu": (time.process_time() - cpu) / steps}
    taken["memory"] = peak_memory(device)
    if gpu:  # for the other processes
        torch.cuda.empty_cache()
    else:
        give_back()
    return taken


def start(tasks):
    spawn = multiprocessing.get_context("spawn")
    runners = []
    for task in tasks:
        mine, its = spawn.Pipe()
        process = spawn.Process(target=work, args=(task, its, torch.get_num_threads()), daemon=True)
        process.start()
        its.close()
        runners.append(TaskProcess(task, process, mine))
    return runners


def take_turns(runners, device, repeats):
    """Let the processes take turns; the first round warms up. A process that fails is left out."""
    steps, peaks = 10 if device.type == "cuda" else 1, {}
    for repeat in range(repeats + 1):
        note_peaks(peaks, device)
        for runner in list(runners):
            try:
                runner.pipe.send(steps)
                taken = runner.pipe.recv()
            except (EOFError, BrokenPipeError):
                print(f"{runner.task.label} failed, see above")
                runners.remove(runner)
                continue
            if repeat:
                runner.turns.append(taken)
        print(f"round {repeat} of {repeats}, load {os.getloadavg()[0]:.1f}", flush=True)
    for runner in runners:
        runner.pipe.send(None)
        runner.process.join()
    return peaks


def take_turns_quickly(tasks, device, budget):
    """Measure one process after the other within a budget, and print each row as it comes."""
    steps, found, printed = 10 if device.type == "cuda" else 1, [], []
    for task in tasks:
        if reason := no_gain(task, device):
            budget.leave_out(task.label, reason)
            continue
        if not budget.fits(task.label):
            continue
        begun = time.monotonic()
        (runner,) = start([task])
        alive = True
        while alive and len(runner.turns) < 3 and (not runner.turns or budget.left > budget.longest):
            turn_begun = time.monotonic()
            runner.pipe.send(steps)
            alive = answers(runner, budget)
            budget.longest = max(budget.longest, time.monotonic() - turn_begun)
        runner.process.kill()
        runner.process.join()
        if not runner.turns:
            if task.name == BASELINE:  # nothing to compare with
                break
            continue
        found.append(runner)
        budget.longest = max(budget.longest, time.monotonic() - begun)
        if task.name != DECODER:
            (row,) = rows([runner], device, {}, found[0])
            show([row], head=not printed)
            printed.append(row)
    return found, printed


def answers(runner, budget):
    """Wait for a turn as long as the budget allows; return whether it came."""
    if not runner.pipe.poll(max(budget.left, 0.0)):
        if not runner.turns:
            budget.leave_out(runner.task.label, "the time is up")
        return False
    try:
        runner.turns.append(runner.pipe.recv())
    except EOFError:
        budget.leave_out(runner.task.label, "it failed, see above")
        return False
    return True


def no_gain(task, device):
    """Return why a machine cannot gain from a variant; empty if it may."""
    if device.type == "cuda":
        return ""
    if task.precision == "bfloat16" and NO_BF16 in bf16_instructions(device):
        return f"bf16 instructions of this processor: {NO_BF16}"
    if any(setting.startswith("compile") for setting in task.settings):
        return "compiling takes a minute or more of a core; benchmarks/compiled.py measures it"
    return ""


def note_peaks(peaks, device):
    """Measure the device's peak speed of a matrix product, and keep the best."""
    with precise(prepare(SPEC).loaded.spec):
        for precision in ("float32", "bfloat16"):
            peaks[precision] = max(peaks.get(precision, 0), measure_peak(device, precision))
    if device.type == "cuda":
        torch.cuda.empty_cache()


def rows(runners, device, peaks, first=None):
    first = first or next(runner for runner in runners if runner.task.name == BASELINE)
    for runner in runners:
        if runner.task.name == DECODER:
            continue
        task, wall, cpu = runner.task, runner.median("wall"), runner.median("cpu")
        achieved = count_flops(spec_of(task)).image_training * task.batch_size / wall
        row = {"step": task.label, "images/s": task.batch_size / wall, "ratio": first.median("wall") / wall}
        if device.type == "cpu":
            row["ratio of CPU time"] = first.median("cpu") / cpu
        row["TFLOP/s"] = achieved / 1e12
        if task.precision in peaks:
            row["of the matrix peak"] = achieved / peaks[task.precision]
        row["memory, GiB"] = max(turn["memory"] for turn in runner.turns) / 2**30
        row["memory ratio"] = row["memory, GiB"] / (max(t["memory"] for t in first.turns) / 2**30)
        yield row


def show(found, head=True):
    if head:
        print("|", " | ".join(found[0]), "|")
        print("|", " | ".join("---" for _ in found[0]), "|")
    for row in found:
        cells = [f"{value:.3g}" if isinstance(value, float) else value for value in row.values()]
        print("|", " | ".join(cells), "|", flush=True)


def bf16_instructions(device):
    if device.type == "cuda":
        return "not applicable on a GPU"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii").split()
    except OSError:
        return "unknown"
    return ", ".join(name for name in ("amx_bf16", "avx512_bf16") if name in flags) or NO_BF16


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="within three minutes")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--slots", type=int, default=7)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--precision", nargs="*", default=["float32", "bfloat16"])
    parser.add_argument("--all", action="store_true", help="every switch, not the defaults alone")
    parser.add_argument("--only", nargs="*", help="names of variants")
    parser.add_argument("--json", type=Path, help="write the table here too")
    return parser.parse_args()


def plan(options, device, batch_size):
    names = options.only or (list(VARIANTS) if options.all else ["slotlab"])
    shared = (batch_size, options.slots, str(device))
    tasks = [BenchmarkTask(BASELINE, "float32", (), *shared)]
    tasks += [
        BenchmarkTask(name, precision, VARIANTS[name], *shared)
        for precision in options.precision
        for name in names
    ]
    last = options.precision[0 if options.quick else -1]
    return [*tasks, *(BenchmarkTask(DECODER, last, (), batch_size, slots, str(device)) for slots in (7, 11))]


def main():
    options = parse()
    device = choose_device(options.device)
    batch_size = options.batch_size or (64 if device.type == "cuda" else 2 if options.quick else 8)
    repeats = options.repeats or (3 if options.quick else 7)
    facts = {"date": str(date.today()), "torch": torch.__version__, "device": str(device)}
    facts |= {"threads": torch.get_num_threads(), "batch": batch_size, "slots": options.slots}
    facts |= {"repeats": repeats, "bf16 instructions": bf16_instructions(device)}
    print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    tasks = plan(options, device, batch_size)
    if options.quick:
        peaks = {}
        runners, found = take_turns_quickly(tasks, device, Budget())
    else:
        runners = start(tasks)
        peaks = take_turns(runners, device, repeats)
        found = list(rows(runners, device, peaks))
        show(found)
    for precision, peak in peaks.items():
        print(f"matrix product in {precision}: {peak / 1e12:.3g} TFLOP/s", flush=True)
    what, ratio = "wall" if device.type == "cuda" else "cpu", None
    decoders = [runner.median(what) for runner in runners if runner.task.name == DECODER]
    if len(decoders) == 2:
        ratio = decoders[1] / decoders[0]
        print(f"decoder, forward and backward, 11 slots against 7: {ratio:.2f} (by count {11 / 7:.2f})")
    if options.json:
        text = json.dumps({**facts, "peaks": peaks, "rows": found, "decoder 11 against 7": ratio}, indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
