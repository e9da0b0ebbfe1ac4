"""A study of made-up runs: folders as slotlab writes them, from chance instead of training.

python benchmarks/synthetic_study.py FOLDER [--arms 8] [--seeds 5] [--images 16]

writes FOLDER/studies/synthetic (plan.json) and FOLDER/runs (one folder a run). For benchmarks and
tests of what reads studies.
"""

import argparse
import copy
import csv
import io
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slotlab.framework.spec.tree import dump

METRICS = {  # name: (higher is better, bounds, mean, spread over arms, over seeds, over images)
    "ari": (True, [-1, 1], 0.55, 0.12, 0.03, 0.10),
    "fg_ari": (True, [-1, 1], 0.70, 0.10, 0.02, 0.12),
    "mse": (False, [0, None], 0.02, 0.004, 0.001, 0.005),
}
AXES = {
    "encoder": ("model.encoder.name", ["cnn", "resnet18_style"]),
    "slots": ("model.slots", list(range(4, 44))),
    "iterations": ("model.grouping.iterations", list(range(1, 6))),
}
SPEC = {
    "format": 1,
    "name": "synthetic",
    "seed": 0,
    "plugins": [],
    "data": {
        "dataset": {
            "name": "scenes",
            "variant": "full",
            "min_objects": 3,
            "max_objects": 6,
            "shapes": ["sphere", "cube", "cylinder", "cone"],
            "sizes": [0.7, 0.9, 1.1],
            "textures": ["plain"],
            "ground_textures": ["plain"],
            "ground_colors": "gray",
            "min_visible": 0.01,
            "num_train": 2000,
            "num_val": 200,
            "num_test": 200,
            "endless": False,
        },
        "protocol": {
            "name": "whole",
            "image_size": 32,
            "crop": None,
            "resize": "pil",
            "value_range": "signed",
            "splits": {"train": [0.2, 1.0], "val": [0.1, 0.2], "test": [0.0, 0.1], "all": [0.0, 1.0]},
            "filter_first": False,
            "max_labels": None,
        },
        "filter": None,
        "augmentation": {"flip": False, "crop": 1.0},
        "train_split": "train",
        "on_error": "fail",
        "store": "auto",
        "stores": None,
        "resident": "auto",
        "workers": 0,
    },
    "model": {
        "slots": 7,
        "slot_dim": 64,
        "encoder": {"name": "cnn", "channels": [32, 32, 32], "strides": [1, 2, 1], "kernel_size": 5},
        "projection": {
            "position": {"name": "linear_grid"},
            "hidden_dim": None,
            "dim": None,
            "layer_norm_eps": 1e-05,
        },
        "initializer": {"name": "gaussian"},
        "grouping": {
            "name": "slot_attention",
            "iterations": 3,
            "mlp_dim": None,
            "epsilon": 1e-08,
            "layer_norm_eps": 1e-05,
        },
        "decoder": {
            "name": "spatial_broadcast",
            "broadcast_size": 8,
            "channels": [32, 16],
            "strides": [],
            "kernel_size": 3,
            "readout_kernel_size": 3,
            "position": {"name": "linear_grid"},
        },
    },
    "objective": {"name": "pixel_mse"},
    "training": {
        "batch_size": 16,
        "phases": [
            {
                "epochs": None,
                "steps": 2000,
                "lr": 0.001,
                "schedule": {"name": "constant", "warmup": 0},
                "interval": "step",
                "optimizer_state": "fresh",
            }
        ],
        "optimizer": {"name": "adam", "betas": [0.9, 0.999], "eps": 1e-08, "weight_decay": 0.0},
        "clip_norm": 1.0,
        "precision": "float32",
        "accumulate": 1,
        "groups": [],
        "anneal": {},
        "sync_batchnorm": False,
        "ema_decay": None,
        "explosion": 1000.0,
        "speed": {"memory_format": "auto", "compile": "off", "fused": "auto", "matmul": "high"},
        "checkpoint": {
            "every_epochs": 1,
            "every_steps": None,
            "every_minutes": 10.0,
            "keep": 2,
            "best": "ari",
        },
        "log_every": 50,
        "validate_every": 1,
        "trackers": [],
    },
    "evaluation": {
        "split": "val",
        "metrics": [{"name": name} for name in METRICS],
        "slots": None,
        "mask_source": "decoder",
        "baselines": ["one_segment"],
        "batch_size": 32,
        "max_images": None,
    },
}
EVALUATION = "scenes-val-whole-decoder"
STEPS = 2000


@dataclass(frozen=True)
class Made:
    """What one run came to."""

    values: dict[str, np.ndarray]  # by metric, one for each image
    objects: np.ndarray
    seconds: float


def write_study(
    folder: Path,
    *,
    arms: int = 8,
    seeds: int = 5,
    images: int = 16,
    failed: float = 0.0,
    unfinished: float = 0.0,
    log_lines: int = 20,
    random_seed: int = 0,
) -> Path:
    """Write a study of arms times seeds and return its folder, FOLDER/studies/synthetic.

    Args:
        folder: gets `studies/` and `runs/`.
        arms: at most 400, combinations of encoder, slots and iterations.
        seeds: runs an arm, with seeds from 0.
        images: in the evaluation of each run.
        failed: part of the runs that failed.
        unfinished: part of the runs that are still running.
        log_lines: training lines in each log; there is a validation for every five.
        random_seed: of everything.
    """
    chance = np.random.default_rng(random_seed)
    settings = list(itertools.islice(itertools.product(*(values for _, values in AXES.values())), arms))
    seed_effects = chance.standard_normal((seeds, len(METRICS)))
    objects = np.random.default_rng(1).integers(3, 7, images)
    plan_arms = []
    for number, chosen in enumerate(settings):
        spec = copy.deepcopy(SPEC)
        for (path, _), value in zip(AXES.values(), chosen, strict=True):
            put(spec, path, value)
        text = dump(spec)
        arm_effects = chance.standard_normal(len(METRICS))
        runs = []
        for seed in range(seeds):
            run_id = f"{number:06x}{seed:06x}"
            run = folder / "runs" / run_id
            state = chance.choice(
                ["failed", "running", "done"], p=[failed, unfinished, 1 - failed - unfinished]
            )
            made = make(chance, objects, arm_effects, seed_effects[seed])
            write_run(
                run,
                text.replace("\nseed: 0\n", f"\nseed: {seed}\n"),
                run_id,
                spec,
                made,
                str(state),
                log_lines,
            )
            runs.append({"seed": seed, "run_id": run_id, "run": f"../../runs/{run_id}"})
        paths = [path for path, _ in AXES.values()]
        name = " ".join(f"{axis}={value}" for axis, value in zip(AXES, chosen, strict=True))
        plan_arms.append({"name": name, "settings": dict(zip(paths, chosen, strict=True)), "runs": runs})
    study = folder / "studies" / "synthetic"
    write_json(study / "plan.json", plan_of(plan_arms))
    (study / "study.yaml").write_text("name: synthetic\nbase: synthetic.yaml\n")
    return study


def plan_of(arms: list[dict]) -> dict:
    axes = [
        {"name": name, "path": path, "values": [str(value) for value in values]}
        for name, (path, values) in AXES.items()
    ]
    return {
        "format": 1,
        "name": "synthetic",
        "question": "Which encoder, how many slots, how many iterations?",
        "base": "synthetic.yaml",
        "axes": axes,
        "compare": {
            "metrics": list(METRICS),
            "primary": "ari",
            "baseline": arms[0]["name"],
            "protocol": "whole",
            "split": "val",
            "mask_source": "decoder",
            "failed_below": 0.3,
        },
        "arms": arms,
    }


def make(chance: np.random.Generator, objects: np.ndarray, arm: np.ndarray, seed: np.ndarray) -> Made:
    values = {}
    for i, (name, (_, _, mean, over_arms, over_seeds, over_images)) in enumerate(METRICS.items()):
        center = mean + over_arms * arm[i] + over_seeds * (0.7 * seed[i] + 0.7 * chance.standard_normal())
        values[name] = center + over_images * chance.standard_normal(len(objects)) - 0.01 * (objects - 4.5)
    return Made(values, objects, float(600 + 300 * chance.random()))


def write_run(
    run: Path, spec_text: str, run_id: str, spec: dict, made: Made, state: str, log_lines: int
) -> None:
    run.mkdir(parents=True)
    (run / "spec.yaml").write_text(spec_text)
    write_json(run / "provenance.json", provenance(run_id, spec, len(made.objects)))
    reason = "loss is nan at step 700" if state == "failed" else ""
    write_json(run / "status.json", {"state": state, "reason": reason})
    write_json(run / "cost.json", cost(made))
    lines = log(made, log_lines if state == "done" else log_lines // 2)
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if state == "done":
        folder = run / "evaluation" / EVALUATION
        write_json(folder / "summary.json", summary(run, run_id, spec, made))
        (folder / "images.csv").write_text(images_csv(made))


def facts(split: str, images: int) -> dict:
    return {
        "dataset": "scenes",
        "split": split,
        "protocol": "whole (image_size 32)",
        "filter": None,
        "images": images,
        "listed": images,
        "store": None,
        "fingerprint": "generated-5ca1ab1e",
        "skipped": [],
    }


def provenance(run_id: str, spec: dict, images: int) -> dict:
    model = spec["model"]
    used = [("dataset", "scenes"), ("protocol", "whole"), ("objective", "pixel_mse"), ("optimizer", "adam")]
    used += [(kind, model[kind]["name"]) for kind in ("encoder", "initializer", "grouping", "decoder")]
    return {
        "run_id": run_id,
        "started": "2026-01-01T00:00:00+00:00",
        "command": ["slotlab", "train", "synthetic.yaml"],
        "spec_file": "synthetic.yaml",
        "slotlab": "0.1.0",
        "commit": None,
        "python": "3.11.7",
        "platform": "Linux",
        "packages": {"torch": "2.8.0", "numpy": "2.3.0"},
        "device": "cpu (x86_64)",
        "threads": 1,
        "components": [
            {"kind": kind, "name": name, "version": 1, "source": "slotlab 0.1.0"} for kind, name in used
        ],
        "data": {"train": facts("train", 2000), "evaluation": facts("val", images)},
        "plugins_not_loaded": {},
    }


def cost(made: Made) -> dict:
    images = STEPS * 16
    return {
        "device": "cpu (x86_64)",
        "processes": 1,
        "precision": "float32",
        "images": images,
        "images_per_second": images / made.seconds,
        "flops_per_image": 345243648,
        "flops_missing": "",
        "flops": 345243648 * images,
        "memory_of": "the process",
        "memory": 1_200_000_000,
        "seconds": made.seconds,
        "energy_joules": None,
        "energy_kwh": None,
        "energy_missing": "only GPUs of NVIDIA tell their energy",
    }


def log(made: Made, lines: int) -> list[dict]:
    found: list[dict] = []
    final = {name: float(values.mean()) for name, values in made.values.items()}
    for number in range(1, lines + 1):
        step, part = STEPS * number // lines, number / lines
        loss = final["mse"] * (1 + 4 * (1 - part) ** 2)
        train = {"kind": "train", "step": step, "epoch": number // 5, "phase": 0, "loss": loss, "lr": 1e-3}
        found.append({**train, "images_per_second": STEPS * 16 / made.seconds})
        if number % 5 == 0:
            watched = {"loss": loss * 1.1, "ari": final["ari"] * part**0.5}
            found.append({"kind": "validation", "step": step, "epoch": number // 5, **watched})
    return found


def statistics(values: np.ndarray) -> dict:
    return {
        "mean": float(values.mean()),
        "std": float(values.std(ddof=1)),
        "median": float(np.median(values)),
        "min": float(values.min()),
        "max": float(values.max()),
        "count": len(values),
        "undefined": 0,
    }


def summary(run: Path, run_id: str, spec: dict, made: Made) -> dict:
    def group(members: np.ndarray, values: np.ndarray) -> dict:
        inside = values[members]
        half = 1.96 * float(inside.std()) / len(inside) ** 0.5
        mean = float(inside.mean())
        return {"mean": mean, "low": mean - half, "high": mean + half, "count": len(inside)}

    by_objects = [
        {
            "group": int(number),
            **{name: group(made.objects == number, values) for name, values in made.values.items()},
        }
        for number in np.unique(made.objects)
    ]
    found = facts("val", len(made.objects))
    return {
        "format": 2,
        "run": str(run),
        "run_id": run_id,
        "dataset": "scenes",
        "variant": None,
        "split": "val",
        "protocol": found["protocol"],
        "filter": None,
        "data": found,
        "images": len(made.objects),
        "image_size": 32,
        "value_range": "signed",
        "mask_source": "decoder",
        "slots": spec["model"]["slots"],
        "step": STEPS,
        "aggregation": "images",
        "metrics": {
            name: {"version": "1", "higher_is_better": higher, "bounds": bounds, "aggregation": "images"}
            for name, (higher, bounds, *_) in METRICS.items()
        },
        "left_out": {},
        "methods": {
            "model": {name: statistics(values) for name, values in made.values.items()},
            "one_segment": {"ari": statistics(np.zeros(len(made.objects)))},
        },
        "set_metrics": {},
        "breakdowns": {"objects": by_objects},
        "published": [],
    }


def images_csv(made: Made) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "id", "objects", *made.values])
    for i, number in enumerate(made.objects):
        measured = [repr(float(values[i])) for values in made.values.values()]
        writer.writerow(["model", f"{i:06d}", number, *measured])
        writer.writerow(["one_segment", f"{i:06d}", number, 0.0, *[""] * (len(made.values) - 1)])
    return text.getvalue()


def put(spec: dict, path: str, value: object) -> None:
    *outer, last = path.split(".")
    for part in outer:
        spec = spec[part]
    spec[last] = value


def write_json(path: Path, data: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arms", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--failed", type=float, default=0.0)
    parser.add_argument("--unfinished", type=float, default=0.0)
    options = vars(parser.parse_args())
    print(write_study(options.pop("folder"), **options))


if __name__ == "__main__":
    main()
