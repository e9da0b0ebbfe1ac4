"""Images/s of the scene renderer, masks and depth included, at several batch sizes.

    python benchmarks/scenes.py [--device auto] [--images 128] [--size 128] [--variant full]
    python benchmarks/scenes.py --videos 48 --size 64 --variant movi_a    # clips/min of moving scenes

On the CPU, also with spawned worker processes that render batches of 8 with one thread each, as those of
a data loader do. Batch sizes take turns, so that a drift of the machine's speed affects all alike; the
median is printed. OMP_NUM_THREADS sets the number of threads.
"""

import argparse
import multiprocessing
import os
import statistics
import time

import torch

from slotlab.framework.jobs.train import choose_device
from slotlab.framework.scenes import RECIPES, draw_pictures
from slotlab.framework.scenes.moving_recipe import MOVING
from slotlab.framework.scenes.videos import draw_videos

BATCH_SIZES = {"cpu": (1, 8, 64), "cuda": (1, 64, 256, 1024)}


def draw(variant, size, start, batch_size, device):
    indices = range(start, start + batch_size)
    draw_pictures(RECIPES[variant], (size, size), seed=0, split=0, indices=indices, device=device)
    if device.type == "cuda":
        torch.cuda.synchronize()


def work(ready, go, number, options):
    torch.set_num_threads(1)
    device = torch.device("cpu")
    draw(options.variant, options.size, 10**6, 8, device)
    ready.release()
    go.wait()
    for start in range(0, options.images, 8):
        draw(options.variant, options.size, number * options.images + start, 8, device)


def measure_workers(workers, options):
    """Return the total images/s of spawned processes, without the time of their start."""
    spawn = multiprocessing.get_context("spawn")
    ready, go = spawn.Semaphore(0), spawn.Event()
    processes = [
        spawn.Process(target=work, args=(ready, go, number, options), daemon=True)
        for number in range(workers)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        if not ready.acquire(timeout=120):
            raise SystemExit("a worker did not start within two minutes")
    started = time.perf_counter()
    go.set()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("a worker failed")
    made = workers * 8 * len(range(0, options.images, 8))
    return made / (time.perf_counter() - started)


def measure_videos(options, device):
    """Print clips/min of videos, by CPU time on a CPU, and of as many still pictures of like scenes."""
    recipe, motion = MOVING[options.variant]
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    common = {"size": (options.size, options.size), "seed": 0, "device": device}
    draws = {
        "videos": lambda split, count: draw_videos(
            recipe, motion, split=split, indices=range(count), **common
        ),
        "still pictures": lambda split, count: draw_pictures(
            recipe, split=split, indices=range(count * motion.frames), **common
        ),
    }
    seconds = {name: [] for name in draws}
    for repeat in range(options.repeats + 1):
        for name, draw in draws.items():
            started = clock()
            draw(repeat, options.videos)
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(clock() - started)
    print(f"{options.variant}, {options.size}x{options.size}, {motion.frames} frames a clip, {device}")
    spent = {name: statistics.median(times[1:]) for name, times in seconds.items()}  # the first makes tables
    for name, value in spent.items():
        print(f"{name:14s} {60 * options.videos / value:8.0f} clips/min")
    print(f"a frame takes {spent['videos'] / spent['still pictures']:.2f} times as long as a still picture")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=128, help="images per batch size and repeat, at most")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--variant", default="full", choices=[*RECIPES, *MOVING])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--videos", type=int, default=0, help="measure so many videos, not pictures")
    options = parser.parse_args()
    device = choose_device(options.device)
    if options.videos and options.variant in MOVING:
        measure_videos(options, device)
        return
    if options.videos or options.variant in MOVING:
        parser.error(f"--videos N goes with a variant of videos: {', '.join(MOVING)}")
    sizes = [size for size in BATCH_SIZES.get(device.type, BATCH_SIZES["cuda"]) if size <= options.images]
    rates = {batch_size: [] for batch_size in sizes}
    cpu_rates = {batch_size: [] for batch_size in sizes}
    draw(options.variant, options.size, 10**6, max(sizes), device)  # makes the noise tables
    for repeat in range(options.repeats):
        for batch_size in sizes:
            batches = max(1, min(options.images // batch_size, 16))
            started, cpu = time.perf_counter(), time.process_time()
            for batch in range(batches):
                start = (repeat * batches + batch) * batch_size
                draw(options.variant, options.size, start, batch_size, device)
            rates[batch_size].append(batches * batch_size / (time.perf_counter() - started))
            cpu_rates[batch_size].append(batches * batch_size / (time.process_time() - cpu))
    threads = torch.get_num_threads()
    print(f"scenes {options.variant}, {options.size}x{options.size}, {device}, {threads} threads")
    for batch_size, found in rates.items():
        text = f"batches of {batch_size:5d} {statistics.median(found):8.1f} images/s"
        by_cpu = f", {statistics.median(cpu_rates[batch_size]):8.1f} per second of CPU time"
        print(text + (by_cpu if device.type == "cpu" else ""))
    if device.type == "cpu":
        for workers in (1, 2):
            found = [measure_workers(workers, options) for _ in range(options.repeats)]
            print(f"{workers} worker processes {statistics.median(found):8.1f} images/s")
        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
