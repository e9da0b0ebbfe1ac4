"""A training step that runs the frozen codec of its objective, against one that reads stored targets.

python benchmarks/targets.py [--images 32] [--batch 8] [--steps 4] [--side 64]

Two families: a U-Net that takes noise from the latents of a VQ-VAE of the default size, and a transformer
that predicts the tokens of a discrete VAE of 4096 codes. The codecs are trained for one step: only time is
measured. Both sides read pictures from the same packed store and do whole steps of the optimizer by turns;
the median counts. Time of the CPU, and the operations of a step (of products of matrices and convolutions),
tell more than the clock on a busy machine. The last line of each family is what the store replaces: encoding
a batch, against reading it.
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
from features import steps_of
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

import slotlab
from slotlab.framework.api.feature_packing import pack_features
from slotlab.framework.api.packing import pack_target
from slotlab.framework.data.loaders import train_loader
from slotlab.framework.jobs.estimate import TrialTraining
from slotlab.framework.jobs.train import prepare
from slotlab.framework.model.engine import Engine
from slotlab.framework.model.feature_stores import with_stores
from slotlab.framework.model.half_targets import rounded_target

CODECS = {"latents": {"name": "vqvae"}, "tokens": {"name": "dvae", "codes": 4096}}
OBJECTIVES = {"latents": "latent_noise", "tokens": "token_cross_entropy"}
DECODERS = {
    "latents": {
        "name": "latent_diffusion",
        "width": 64,
        "multipliers": [1, 2, 4],
        "blocks": 1,
        "attention_at": [2, 4],
    },
    "tokens": {"name": "autoregressive", "blocks": "slate", "layers": 4, "heads": 4, "width": 192},
}


def spec_file(folder, family, options):
    """Write the spec of a family, and return its path; train its codec first."""
    data = {
        "dataset": {"name": "image_folder", "images": "images"},
        "protocol": {
            "name": "whole",
            "image_size": options.side,
            "splits": {"train": [0.0, 1.0], "val": [0.0, 1.0]},
        },
        "stores": "stores",
    }
    common = {"format": 1, "evaluation": {"batch_size": options.batch, "baselines": [], "metrics": ["mse"]}}
    codec = {
        **common,
        "name": f"codec_{family}",
        "data": data,
        "model": {"name": "codec", "codec": CODECS[family]},
        "training": {"batch_size": options.batch, "phases": [{"steps": 1, "lr": 0.0004}]},
    }
    (folder / "codec.yaml").write_text(yaml.safe_dump(codec))
    run = folder / f"codec_{family}"
    slotlab.train(folder / "codec.yaml", run=run, device="cpu", evaluate=False)
    spec = {
        **common,
        "name": family,
        "data": {**data, "targets": "half"},
        "model": {
            "slots": 7,
            "slot_dim": 192,
            "encoder": {"name": "cnn", "channels": [64, 64, 64, 64], "strides": [2, 2, 1, 1]},
            "initializer": "gaussian",
            "grouping": {"name": "slot_attention", "iterations": 3},
            "decoder": DECODERS[family],
        },
        "objective": {
            "name": OBJECTIVES[family],
            "codec": {"name": "trained", "source": {"run": f"codec_{family}"}},
        },
        "training": {"batch_size": options.batch, "phases": [{"steps": 100, "lr": 0.0004}]},
    }
    spec["evaluation"] = {**common["evaluation"], "mask_source": "attention"}
    path = folder / f"{family}.yaml"
    path.write_text(yaml.safe_dump(spec))
    return str(path)


def timed(call):
    """Return the seconds that a call takes, by the clock and of the CPU."""
    begun = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - begun[0], time.process_time() - begun[1]


def counted(call):
    """Return the operations of a call, in units of 10^9."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


def medians(pairs):
    """Return the median by the clock and that of the CPU."""
    return tuple(median(side) for side in zip(*pairs, strict=True))


def measured(spec, options):
    """Return times and operations of a step with the codec, the same with the store, and what it replaces."""
    engine = Engine.open(spec, torch.device("cpu"), warn=print)
    training = TrialTraining.of(engine)
    model = training.trainee.model
    computed = train_loader(spec, engine.placement)
    [stored] = with_stores(spec, model, computed)
    assert stored.targets is not None
    sides = [steps_of(training, replace(loader, masks=False)) for loader in (computed, stored)]
    operations = [counted(lambda side=side: next(side)) for side in sides]  # which also warms up
    seconds = [[], []]
    for _ in range(options.steps):
        for side, found in zip(sides, seconds, strict=True):
            found.append(timed(lambda side=side: next(side)))
    batch, rows = next(computed.epoch()), list(range(options.batch))
    images_BCHW = batch.images_BCHW
    encode = medians(
        timed(lambda: rounded_target(model.objective, images_BCHW)) for _ in range(options.steps)
    )
    read = medians(timed(lambda: stored.targets.batch(rows, engine.device)) for _ in range(5 * options.steps))
    sums = ((*medians(found), count) for found, count in zip(seconds, operations, strict=True))
    return *sums, encode, read


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--side", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stream = np.random.default_rng(0)
        (folder / "images").mkdir()
        for index in range(options.images):
            pixels = stream.integers(0, 256, (options.side, options.side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"{index:04}.png")
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
        for family in CODECS:
            path = spec_file(folder, family, options)
            pack_target(path, workers=0)
            [facts] = pack_features(path, kinds=("targets",), device="cpu")["stores"]
            computed, stored, encode, read = measured(prepare(path).loaded.spec, options)
            print(f"{family}, {facts['bytes'] / options.images:.0f} bytes a picture, {facts['type']}")
            for place, what in enumerate(("s by the clock", "s of the CPU", "10^9 operations")):
                sides = f"{computed[place]:.3f} with the codec, {stored[place]:.3f} from the store"
                print(f"{what}: {sides}, ratio {computed[place] / stored[place]:.2f}")
            print(f"s of the CPU: encoding a batch {encode[1]:.3f} s, reading it {read[1] * 1000:.2f} ms")


if __name__ == "__main__":
    main()
