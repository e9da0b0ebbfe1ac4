"""Images/s of the scene renderer, masks and depth included, at several batch sizes.

    python benchmarks/scenes.py [--device auto] [--images 128] [--size 128] [--variant full]

Batch sizes take turns, so that a drift of the machine's speed hits all alike; the median
is printed. Threads: OMP_NUM_THREADS.
"""

import argparse
import statistics
import time

import torch

from slotlab.framework.experiment import choose_device
from slotlab.framework.scenes import RECIPES, draw_pictures

BATCH_SIZES = {"cpu": (1, 8, 64), "cuda": (1, 64, 256, 1024)}


def draw(variant, size, start, batch_size, device):
    indices = range(start, start + batch_size)
    draw_pictures(RECIPES[variant], (size, size), seed=0, split=0, indices=indices, device=device)
    if device.type == "cuda":
        torch.cuda.synchronize()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=128, help="at each batch size and repeat, at most")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--variant", default="full", choices=RECIPES)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    device = choose_device(options.device)
    sizes = [size for size in BATCH_SIZES.get(device.type, BATCH_SIZES["cuda"]) if size <= options.images]
    rates = {batch_size: [] for batch_size in sizes}
    draw(options.variant, options.size, 10**6, max(sizes), device)  # makes the noise tables
    for repeat in range(options.repeats):
        for batch_size in sizes:
            batches = max(1, min(options.images // batch_size, 16))
            started = time.perf_counter()
            for batch in range(batches):
                start = (repeat * batches + batch) * batch_size
                draw(options.variant, options.size, start, batch_size, device)
            rates[batch_size].append(batches * batch_size / (time.perf_counter() - started))
    threads = torch.get_num_threads()
    print(f"scenes {options.variant}, {options.size}x{options.size}, {device}, {threads} threads")
    for batch_size, found in rates.items():
        print(f"batches of {batch_size:5d} {statistics.median(found):8.1f} images/s")


if __name__ == "__main__":
    main()
