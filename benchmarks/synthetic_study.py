"""A study of synthetic runs: folders as slotlab writes them, with random numbers instead of training.

python benchmarks/synthetic_study.py FOLDER [--arms 8] [--seeds 5] [--images 16]

writes FOLDER/studies/synthetic (plan.json) and FOLDER/runs (one folder per run). It is for benchmarks and
tests of everything that reads studies.
"""

import argparse
import copy
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from synthetic_run import METRICS, RunFiles, draw_results, write_json
from synthetic_spec import SPEC

AXES = {
    "encoder": ("model.encoder.name", ["cnn", "resnet18_style"]),
    "slots": ("model.slots", list(range(4, 44))),
    "iterations": ("model.grouping.iterations", list(range(1, 6))),
}


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
        folder: the folder in which `studies/` and `runs/` are written.
        arms: the number of combinations of encoder, slots and iterations, at most 400.
        seeds: the number of runs per arm, with seeds from 0.
        images: the number of images in the evaluation of each run.
        failed: the fraction of runs that failed.
        unfinished: the fraction of runs that are still running.
        log_lines: the number of training lines in each log; every five have one validation line.
        random_seed: the seed of all random numbers.
    """
    generator = np.random.default_rng(random_seed)
    settings = list(itertools.islice(itertools.product(*(values for _, values in AXES.values())), arms))
    seed_effects = generator.standard_normal((seeds, len(METRICS)))
    objects = np.random.default_rng(1).integers(3, 7, images)
    planned = []
    for number, chosen in enumerate(settings):
        arm_effects = generator.standard_normal(len(METRICS))
        runs = []
        for seed in range(seeds):
            run_id = f"{number:06x}{seed:06x}"
            state = draw_state(generator, failed, unfinished)
            results = draw_results(generator, objects, arm_effects, seed_effects[seed])
            files = RunFiles(folder / "runs" / run_id, run_id, spec_of(chosen), seed, results)
            files.write(state, log_lines if state == "done" else log_lines // 2)
            runs.append({"seed": seed, "run_id": run_id, "run": f"../../runs/{run_id}"})
        planned.append(planned_arm(chosen, runs))
    return write_plan(folder / "studies" / "synthetic", planned)


def draw_state(generator: np.random.Generator, failed: float, unfinished: float) -> str:
    """Draw the state of a run, given the fractions of failed and of unfinished runs."""
    shares = {"failed": failed, "running": unfinished, "done": 1 - failed - unfinished}
    return str(generator.choice(list(shares), p=list(shares.values())))


def write_plan(study: Path, arms: list[dict]) -> Path:
    """Write the files of a study's folder, and return it."""
    write_json(study / "plan.json", plan_of(arms))
    (study / "study.yaml").write_text("name: synthetic\nbase: synthetic.yaml\n")
    return study


def planned_arm(chosen: tuple[Any, ...], runs: list[dict]) -> dict:
    """Return an arm of the plan, with one value for each axis."""
    name = " ".join(f"{axis}={value}" for axis, value in zip(AXES, chosen, strict=True))
    paths = [path for path, _ in AXES.values()]
    return {"name": name, "settings": dict(zip(paths, chosen, strict=True)), "runs": runs}


def spec_of(chosen: tuple[Any, ...]) -> dict:
    """Return the spec with one value for each axis."""
    spec: dict = copy.deepcopy(SPEC)
    for (path, _), value in zip(AXES.values(), chosen, strict=True):
        *outer, last = path.split(".")
        section = spec
        for part in outer:
            section = section[part]
        section[last] = value
    return spec


def plan_of(arms: list[dict]) -> dict:
    """Return the content of plan.json."""
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


def main() -> None:
    """Write a study with the options of the command line."""
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
