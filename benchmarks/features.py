"""A training step of DINOSAUR that runs its frozen encoder, against one that reads stored features.

python benchmarks/features.py [--images 32] [--batch 8] [--steps 4] [--widths 2048 1024 256]

The encoder is timm's ViT-S/16 with random weights on 224x224 pictures, the objective `feature_mse`, the
decoder `patch_mlp` with three hidden layers of each of the widths: 2048 as in DINOSAUR on real images, 1024
as on MOVi. Both sides read pictures from the same packed store and do whole steps of the optimizer by turns;
the median counts. The last line times what the store replaces: encoding a batch, against reading it.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
import yaml
from PIL import Image

from slotlab.framework.api.feature_packing import pack_features
from slotlab.framework.api.packing import pack_target
from slotlab.framework.data.loaders import train_loader
from slotlab.framework.jobs.estimate import TrialTraining
from slotlab.framework.jobs.train import prepare
from slotlab.framework.model.engine import Engine
from slotlab.framework.model.feature_stores import with_stores
from slotlab.framework.model.half_features import rounded_features


def spec_file(folder, options):
    stream = np.random.default_rng(0)
    (folder / "images").mkdir()
    for index in range(options.images):
        pixels = stream.integers(0, 256, (224, 224, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{index:04}.png")
    encoder = {"name": "timm", "model": "vit_small_patch16_224", "frozen": True}
    spec = {
        "format": 1,
        "name": "features",
        "data": {
            "dataset": {"name": "image_folder", "images": "images"},
            "protocol": {
                "name": "whole",
                "image_size": 224,
                "splits": {"train": [0.0, 1.0], "val": [0.0, 1.0]},
            },
            "features": "half",
            "stores": "stores",
        },
        "model": {
            "slots": 7,
            "slot_dim": 256,
            "encoder": encoder,
            "projection": {"position": "none", "hidden_dim": 384},
            "initializer": "gaussian",
            "grouping": {"name": "slot_attention", "iterations": 3},
            "decoder": "patch_mlp",
        },
        "objective": "feature_mse",
        "training": {"batch_size": options.batch, "phases": [{"steps": 100, "lr": 0.0004}]},
        "evaluation": {"batch_size": options.batch, "metrics": ["fg_ari"], "baselines": [], "split": "val"},
    }
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    return str(path)


def timed(call):
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def steps_of(training, loader):
    """Yield steps without end, each with the reading of its batch."""
    epoch = 0
    while True:
        for batch in loader.epoch(loader.order(seed=0, epoch=epoch), epoch=epoch):
            training.step(batch)
            yield
        epoch += 1


def measured(spec, options):
    """Return the seconds of a step with the encoder and of one with the store, and of what it replaces."""
    engine = Engine.open(spec, torch.device("cpu"), warn=print)
    training = TrialTraining.of(engine)
    computed = train_loader(spec, engine.placement)
    [stored] = with_stores(spec, training.trainee.model, computed)
    assert stored.features is not None
    sides = [steps_of(training, replace(loader, masks=False)) for loader in (computed, stored)]
    seconds = [[], []]
    for _ in range(1 + options.steps):  # the first warms up
        for side, found in zip(sides, seconds, strict=True):
            found.append(timed(lambda side=side: next(side)))
    batch, rows = next(computed.epoch()), list(range(options.batch))
    encoder = training.trainee.model.encoder
    encode = median(timed(lambda: rounded_features(encoder, batch.images_BCHW)) for _ in range(options.steps))
    read = median(timed(lambda: stored.features.batch(rows, engine.device)) for _ in range(5 * options.steps))
    return *(median(found[1:]) for found in seconds), encode, read


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--widths", type=int, nargs="+", default=[2048, 1024, 256])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        name = spec_file(Path(folder), options)
        pack_target(name, workers=0)
        [facts] = pack_features(name)["stores"]
        size = f"store {facts['bytes'] / 1e6:.1f} MB"
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {size},")
        print(f"packed in {facts['seconds']} s")
        for width in options.widths:
            sets = (f"model.decoder.hidden=[{width}, {width}, {width}]",)
            computed, stored, encode, read = measured(prepare(name, sets=sets).loaded.spec, options)
            sides = f"{computed:.3f} s with the encoder, {stored:.3f} s from the store"
            print(f"decoder of width {width}: {sides}, ratio {computed / stored:.2f}")
        print(f"encoding a batch {encode:.3f} s, reading it {read * 1000:.2f} ms, ratio {encode / read:.0f}")


if __name__ == "__main__":
    main()
