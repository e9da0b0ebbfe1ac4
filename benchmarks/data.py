"""Speed of reading data, as ratios within one run: packed store over files, two packing workers over one.

    python benchmarks/data.py [ROOT] [--quick] [--repeats 5] [--images 4800]

ROOT holds `clevrtex_full`; a larger tree is made of links to its scenes. The measurements take turns, so
that a drift of the machine's speed affects all alike. The medians are printed, by wall time and by CPU
time, which other work on the machine disturbs less.

1. Images/s from files to normalized float32 batches on the CPU, one process with one thread
   each: reading single files as the project does that slotlab started from, and reading the store.
2. Seconds of `pack` with one and with two workers, and its peak memory as data grows.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from functools import partial
from pathlib import Path

import numpy as np
import torch
from budget import QUICK, Budget
from PIL import Image

from slotlab.framework.data.inspection.target import find_target
from slotlab.framework.data.pixels import normalize
from slotlab.framework.data.source import open_source
from slotlab.framework.data.store.pack import pack

BATCH = 64
CPU = torch.device("cpu")


def seeds_image(path):
    from torchvision import transforms
    from torchvision.transforms import functional

    picture = functional.center_crop(Image.open(path).convert("RGB"), 192)
    picture = functional.resize(picture, [128, 128], transforms.InterpolationMode.BILINEAR)
    return functional.normalize(functional.to_tensor(picture), [0.5] * 3, [0.5] * 3)


def seeds_mask(path):
    from torchvision import transforms
    from torchvision.transforms import functional

    mask = functional.center_crop(Image.open(path), 192)
    mask = functional.resize(mask, [128, 128], transforms.InterpolationMode.NEAREST)
    return torch.from_numpy(np.array(mask))


def from_files(paths, order, masks):
    for start in range(0, len(order), BATCH):
        chosen = [paths[index] for index in order[start : start + BATCH]]
        images_BCHW = torch.stack([seeds_image(path) for path in chosen])
        flat = [path.with_name(f"{path.stem}_flat.png") for path in chosen]
        masks_BHW = torch.stack([seeds_mask(path) for path in flat]).to(torch.int64) if masks else None
        yield images_BCHW, masks_BHW


def from_store(store, order, masks):
    for start in range(0, len(order), BATCH):
        raw = store.batch(order[start : start + BATCH], CPU, masks=masks)
        images_BCHW = normalize(raw.images_BCHW, (-1.0, 1.0)).contiguous(memory_format=torch.channels_last)
        yield images_BCHW, raw.masks_BHW.to(torch.int64) if masks else None


def take_turns(ways, repeats):
    """Return, by name, the medians of the numbers that each function returns; the first round warms up."""
    found = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            values = way()
            if repeat:
                found[name].append(values)
    return {
        name: [statistics.median(one) for one in zip(*several, strict=True)]
        for name, several in found.items()
    }


def rate(make, order):
    """Return images per second of wall time, and of CPU time."""
    return [len(order) / value for value in timed(lambda: deque(make(order), maxlen=0))]


def compare_reading(paths, store, masks, repeats):
    few = torch.randperm(len(paths)).tolist()[:240]
    many = few * 10
    for theirs, ours in zip(from_files(paths, few, masks), from_store(store, few, masks), strict=True):
        assert torch.equal(theirs[0], ours[0])
        assert not masks or torch.equal(theirs[1], ours[1])
    ways = {
        "files": lambda: rate(lambda order: from_files(paths, order, masks), few),
        "store": lambda: rate(lambda order: from_store(store, order, masks), many),
    }
    rates = take_turns(ways, repeats)
    text = "images and masks" if masks else "images"
    for what, files, packed in zip(("wall time", "CPU time"), rates["files"], rates["store"], strict=True):
        ratio = f"{packed / files:6.1f}x by {what}"
        print(f"{text:18} files {files:7.0f}/s  store {packed:8.0f}/s  {ratio}")


def compare_parts(store, repeats):
    order = torch.randperm(len(store)).tolist()[:BATCH]
    images_BCHW = store.batch(order, CPU, masks=False).images_BCHW
    seconds = take_turns(
        {
            "gather": lambda: timed(lambda: store.batch(order, CPU, masks=False)),
            "normalize": lambda: timed(lambda: normalize(images_BCHW, (-1.0, 1.0))),
        },
        repeats * 20,
    )
    print(
        "of the store:",
        ", ".join(f"{name} {1e6 * cpu / BATCH:.0f} us an image" for name, (_, cpu) in seconds.items()),
    )


def timed(function):
    """Return the seconds that a call takes: wall time, and CPU time of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return [time.perf_counter() - wall, time.process_time() - cpu]


def links(root, folder, number):
    """Make a tree of `number` scenes out of the scenes in `root`."""
    stems = sorted(path.with_suffix("") for path in root.rglob("CLEVRTEX_full_??????.png"))
    for index in range(number):
        place = folder / "clevrtex_full" / str(index // 1000)
        place.mkdir(parents=True, exist_ok=True)
        for ending in (".png", "_flat.png", ".json"):
            stem = stems[index % len(stems)]
            target = place / f"CLEVRTEX_full_{index:06d}{ending}"
            target.symlink_to(stem.with_name(stem.name + ending))
    return folder


def source_of(root):
    target = find_target(str(root), protocol="seed")
    return open_source(target.data, "all")


def pack_alone(root, workers):
    """Pack in a process of its own; return the time, and the peak memory of parent and largest worker."""
    with tempfile.TemporaryDirectory() as stores:
        command = [sys.executable, __file__, "--pack", str(root), stores, str(workers)]
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def measure_pack(root, stores, workers):
    source = source_of(root)
    before = peak()
    wall, parent = timed(lambda: pack(source, Path(stores), workers=workers))
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = parent + children.ru_utime + children.ru_stime
    # Linux counts the parent's memory at the fork for its children, too: this is an upper bound.
    worker = children.ru_maxrss // 1024
    print(json.dumps({"seconds": wall, "cpu": cpu, "before": before, "parent": peak(), "worker": worker}))


def peak():
    """Return the peak memory of this process in MB."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def packing(tree, workers):
    facts = pack_alone(tree, workers)
    return [facts["seconds"], facts["cpu"]]


def compare_packing(root, folder, images, repeats):
    tree = links(root, folder / "many", images)
    facts = take_turns(
        {workers: lambda workers=workers: packing(tree, workers) for workers in (1, 2)}, repeats
    )
    for workers, (wall, cpu) in facts.items():
        print(f"pack of {images} images, {workers} workers: {wall:6.1f} s, {cpu:6.1f} s of CPU time")
    print(f"two workers over one: {facts[1][0] / facts[2][0]:.2f}x by wall time")
    print(f"and with two cores to themselves: {2 * facts[1][1] / facts[2][1]:.2f}x by CPU time")
    for number in (images // 4, images):
        facts = pack_alone(links(root, folder / f"memory-{number}", number), 2)
        text = f"parent {facts['parent']} MB ({facts['before']} before), each worker {facts['worker']} MB"
        print(f"peak memory, {number} images: {text} at most; most of it is torch")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", nargs="?", type=Path, default=Path("../shared/data/clevrtex_sample"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=4800)
    parser.add_argument("--quick", action="store_true", help="few images, one round: does it run?")
    parser.add_argument("--pack", nargs=3, metavar=("ROOT", "STORES", "WORKERS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pack:
        measure_pack(options.pack[0], options.pack[1], int(options.pack[2]))
        return
    repeats, images = (1, 480) if options.quick else (options.repeats, options.images)
    root = options.root.resolve()
    torch.set_num_threads(1)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, load {load} before")
    with tempfile.TemporaryDirectory() as folder:
        store = pack(source_of(root), Path(folder) / "stores")
        paths = sorted(root.rglob("CLEVRTEX_full_??????.png"))
        budget = Budget(QUICK if options.quick else math.inf)
        for masks in (False, True):
            read = partial(compare_reading, paths, store, masks, repeats)
            budget.row(f"reading {'with' if masks else 'without'} masks", read)
        budget.row("parts of reading", partial(compare_parts, store, repeats))
        # Packing is the rest: two workers over one, and the memory of a fourth and of all.
        budget.row("packing", partial(compare_packing, root, Path(folder), images, min(repeats, 3)), 2.0)


if __name__ == "__main__":
    main()
