"""A training step of SlotFormer that runs its parent, against one that reads stored slots.

python benchmarks/slots.py [--steps 5] [--frames 12] [--image-loss 1.0]

The parent is `savi_demo` after one step: its weights do not matter for the time. Both sides read the same
generated videos, which are rendered before, and do whole steps of the optimizer by turns; the median counts,
by the clock and by the CPU's time. The last line times what the store replaces: finding the slots of a batch,
against reading it.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from slotlab.framework.api.extracting import extract_slots
from slotlab.framework.data.loaders import train_loader
from slotlab.framework.jobs.estimate import TrialTraining
from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.model.engine import Engine
from slotlab.framework.model.slot_stores import with_slots

DATA = ("data.dataset.num_train=16", "data.dataset.num_val=2", "data.dataset.num_test=2")


def timed(call):
    begun, used = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - begun, time.process_time() - used


def steps_of(training, loader):
    """Yield steps without end, each with the reading of its batch."""
    epoch = 0
    while True:
        for batch in loader.epoch(loader.order(seed=0, epoch=epoch), epoch=epoch):
            training.step(batch)
            yield
        epoch += 1


def middle(times):
    return tuple(median(one) for one in zip(*times, strict=True))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--image-loss", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "savi_demo")
        phases = "training.phases=[{steps: 1, lr: 0.001}]"
        parent = prepare("slotlab:savi_demo", sets=(*DATA, phases)).loaded
        run_training(parent, run, device=torch.device("cpu"), report=lambda progress: None)
        sets = (
            *DATA,
            f"model.source.run={run}",
            f"data.clip.frames={options.frames}",
            f"data.dataset.num_frames={options.frames}",
            f"model.image_loss={options.image_loss}",
            f"data.stores={folder}",
        )
        facts = extract_slots(run, data="slotlab:slotformer_demo", sets=sets)
        spec = prepare("slotlab:slotformer_demo", sets=sets).loaded.spec
        engine = Engine.open(spec, torch.device("cpu"), warn=print)
        training = TrialTraining.of(engine)
        model = training.trainee.model
        found = replace(train_loader(spec, engine.placement), masks=False)
        stored = with_slots(spec, model, found)
        assert stored.slots is not None
        sides = [steps_of(training, loader) for loader in (found, stored)]
        times = [[], []]
        for _ in range(1 + options.steps):  # the first warms up
            for side, kept in zip(sides, times, strict=True):
                kept.append(timed(lambda side=side: next(side)))
        batch, rows = next(found.epoch()), list(range(spec.training.batch_size))
        find = middle([timed(lambda: model.slot_source.find(batch)) for _ in range(options.steps)])
        read = middle([timed(lambda: stored.slots.batch(rows, engine.device)) for _ in range(50)])
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {facts['bytes'] / 1e6:.2f} MB,")
    print(f"{facts['clips']} clips extracted in {facts['seconds']} s")
    for index, name in enumerate(("by the clock", "of the CPU")):
        with_parent, from_store = (middle(kept[1:])[index] for kept in times)
        ratio = with_parent / from_store
        print(f"a step, s {name}: {with_parent:.3f} with the parent, {from_store:.3f} stored, {ratio:.2f}")
    print(f"finding the slots of a batch {find[1]:.3f} s of the CPU, reading them {read[1] * 1000:.2f} ms")


if __name__ == "__main__":
    main()
