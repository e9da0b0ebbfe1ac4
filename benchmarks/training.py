"""slotlab's training step against plain PyTorch: images/s, on random images, in one run.

    python benchmarks/training.py [--quick] [--device auto] [--batch-size N] [--precision bfloat16]
                                  [--only NAME ...]

The model is that of `slotlab:clevrtex6`. The baseline is `seed_model.py`: eager, float32, NCHW.
The variants take turns with it, so that a drift of the machine's speed hits all alike; medians
are printed, as a table in Markdown.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from datetime import date

import torch
from seed_model import SeedModel

from slotlab.framework.ceiling import measure_peak, wait
from slotlab.framework.engine import Engine, precise
from slotlab.framework.estimate import Bench, random_batch
from slotlab.framework.experiment import choose_device, prepare
from slotlab.framework.flops import count_flops

SPEC = "slotlab:clevrtex6"
PLAIN = ("memory_format=contiguous", "fused=no")
VARIANTS = {
    "slotlab, nothing made fast": PLAIN,
    "slotlab": (),
    "channels_last": ("memory_format=channels_last",),
    "fused optimizer": ("fused=yes",),
    "compile": ("compile=default",),
    "recompute encoder and decoder": ("recompute=[encoder, decoder]",),
}


@dataclass
class Runner:
    """One variant: a training step, and the times it took."""

    name: str
    step: object
    seconds: list
    memory: int = 0


def baseline(device, batch_size, slots):
    torch.manual_seed(0)
    model = SeedModel(slots).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    images = torch.rand(batch_size, 3, 128, 128, device=device) * 2 - 1

    def step():
        optimizer.zero_grad()
        model(images).backward()
        optimizer.step()

    return step


def slotlab(device, batch_size, slots, precision, settings):
    sets = [f"training.speed.{setting}" for setting in settings]
    sets += [f"training.precision={precision}", f"training.batch_size={batch_size}", f"model.slots={slots}"]
    spec = prepare(SPEC, sets=sets).loaded.spec
    bench = Bench.of(Engine.open(spec, device, warn=print))
    batch = random_batch(bench.engine, batch_size)

    def step():
        with precise(spec):
            bench.step(batch)

    return step


def turns(runners, device, repeats):
    """Let the runners take turns; the first round warms up."""
    for repeat in range(repeats + 1):
        for runner in runners:
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            wait(device)
            begun = time.perf_counter()
            runner.step()
            wait(device)
            if repeat:
                runner.seconds.append(time.perf_counter() - begun)
            if device.type == "cuda":
                runner.memory = torch.cuda.max_memory_allocated(device)
        print(f"round {repeat} of {repeats}", flush=True)


def table(runners, device, batch_size, peaks):
    spec = prepare(SPEC).loaded.spec
    each = count_flops(spec).image_training
    gpu = device.type == "cuda"
    head = ["step", "images/s", "ratio", "TFLOP/s", "of the matrix peak", *(["memory, GiB"] if gpu else [])]
    print("|", " | ".join(head), "|")
    print("|", " | ".join("---" for _ in head), "|")
    base = statistics.median(runners[0].seconds)
    for runner in runners:
        middle = statistics.median(runner.seconds)
        achieved = each * batch_size / middle
        peak = peaks["bfloat16" if "bfloat16" in runner.name else "float32"]
        row = [runner.name, f"{batch_size / middle:.2f}", f"{base / middle:.2f}"]
        row += [f"{achieved / 1e12:.3g}", f"{achieved / peak:.0%}"]
        print("|", " | ".join([*row, *([f"{runner.memory / 2**30:.1f}"] if gpu else [])]), "|")


def decoder_ratio(device, batch_size, repeats):
    """Print the decoder's time at 11 slots as a ratio to that at 7."""
    times = {}
    models = {slots: SeedModel(slots).to(device) for slots in (7, 11)}
    for repeat in range(repeats + 1):
        for slots, model in models.items():
            vectors = torch.randn(batch_size, slots, 128, device=device)
            wait(device)
            begun = time.perf_counter()
            model.decode(vectors).sum().backward()
            wait(device)
            if repeat:
                times.setdefault(slots, []).append(time.perf_counter() - begun)
    seven, eleven = (statistics.median(times[slots]) for slots in (7, 11))
    print(f"decoder, forward and backward, 11 slots against 7: {eleven / seven:.2f} (by count {11 / 7:.2f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds, a small batch on a CPU")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--slots", type=int, default=7)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--precision", nargs="*", default=["float32", "bfloat16"])
    parser.add_argument("--only", nargs="*", help="names of variants")
    options = parser.parse_args()
    device = choose_device(options.device)
    batch_size = options.batch_size or (64 if device.type == "cuda" else 2 if options.quick else 8)
    repeats = options.repeats or (3 if options.quick else 7)
    print(f"{date.today()}, torch {torch.__version__}, {device}, {torch.get_num_threads()} threads, ", end="")
    print(f"batch {batch_size}, {options.slots} slots, medians of {repeats}", flush=True)
    peaks = {}
    with precise(prepare(SPEC).loaded.spec):
        for precision in ("float32", "bfloat16"):
            peaks[precision] = measure_peak(device, precision)
            print(f"matrix product in {precision}: {peaks[precision] / 1e12:.3g} TFLOP/s", flush=True)
    runners = [Runner("plain PyTorch", baseline(device, batch_size, options.slots), [])]
    for precision in options.precision:
        for name, settings in VARIANTS.items():
            if options.only and name not in options.only:
                continue
            step = slotlab(device, batch_size, options.slots, precision, settings)
            runners.append(Runner(f"{name}, {precision}", step, []))
    turns(runners, device, repeats)
    table(runners, device, batch_size, peaks)
    if device.type == "cuda":
        decoder_ratio(device, batch_size, repeats)


if __name__ == "__main__":
    main()
