"""Images/s of a training step, as ratios to a baseline in the same run.

    python benchmarks/training.py [SPEC] [--batch-size 8] [--repeats 5]

The baseline is the spec's model with contiguous tensors, float32. Variants take turns with
the baseline, so that a drift of the machine's speed hits all alike; the median is printed.
"""

import argparse
import statistics
import time

import torch

from slotlab.framework.assemble import build_model
from slotlab.framework.experiment import choose_device, prepare

FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


def make_step(spec, device, memory_format, batch_size):
    model = build_model(spec).to(device).to(memory_format=memory_format)
    size = spec.data.image_size
    images_BCHW = torch.rand(batch_size, 3, size, size, device=device).contiguous(memory_format=memory_format)

    def step():
        output = model(images_BCHW, generator=torch.Generator(device))
        model.objective.loss(output.decoded, output.target_BCHW).total.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", nargs="?", default="slotlab:demo")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    spec = prepare(options.spec).loaded.spec
    steps = {name: make_step(spec, device, form, options.batch_size) for name, form in FORMATS.items()}
    seconds = {name: [] for name in steps}
    for repeat in range(options.repeats + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    base = statistics.median(seconds["contiguous"])
    print(f"{spec.name}, {device}, torch {torch.__version__}, {torch.get_num_threads()} threads, float32")
    for name, times in seconds.items():
        middle = statistics.median(times)
        print(f"{name:15} {options.batch_size / middle:8.1f} images/s  {base / middle:5.2f}x")


if __name__ == "__main__":
    main()
