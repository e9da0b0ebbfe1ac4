"""Trainings on scenes that are rendered on the device as needed: which component matters?

    python benchmarks/on_scenes.py model [--minutes 10] [--results docs/results] [--runs runs/on_scenes]
    python benchmarks/on_scenes.py precision [--seeds 0 1 2]

`model` trains the reference model with a CNN and with a ResNet18-style encoder, each with slots
drawn from a Gaussian and with learnable ones, all for the number of steps that the slowest of them takes
in `--minutes`. `precision` trains the reference model in float32 and in bfloat16 with the same seeds, and
says whether FG-ARI differs by more than the seeds do. Both write a table, its numbers as JSON, and pictures
to `--results`. Given again, the command continues where it stopped.

`--base slotlab:demo --steps 3000` is a training that a CPU can do; `--set` changes the spec further.
"""

import argparse
import itertools
import json
import shutil
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch

from slotlab.framework.evaluation.conditions import own_condition
from slotlab.framework.jobs.estimate import measure
from slotlab.framework.jobs.evaluate import run_evaluations
from slotlab.framework.jobs.train import choose_device, prepare, run_training
from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.provenance import describe_device

STUDIES = {
    "model": {
        "model.encoder": ("cnn", "resnet18_style"),
        "model.initializer": ("gaussian", "learnable"),
    },
    "precision": {"training.precision": ("float32", "bfloat16")},
}
REFERENCE = "slotlab:clevrtex6"
SCENES = (
    "data.dataset={name: scenes, endless: true, max_objects: 6, num_train: 20000, num_val: 1000}",
    "data.filter=null",
    "evaluation.baselines=[one_segment, position_grid, color_kmeans]",
)
"""Data in place of the reference's; every epoch renders new images."""
SHOWN = ("loss", "ari", "fg_ari")


@dataclass(frozen=True)
class PlannedTraining:
    """One combination of settings, with one seed."""

    settings: dict
    seed: int

    @property
    def label(self):
        return ", ".join(self.settings.values())

    @property
    def name(self):
        return "-".join([*self.settings.values(), str(self.seed)])

    def load(self, base, sets, steps, precision):
        phase = f"{{steps: {steps}, lr: 4e-4, schedule: {{name: cosine, warmup: {steps // 20}}}}}"
        ours = [f"seed={self.seed}", f"training.phases=[{phase}]", f"training.precision={precision}"]
        own = [f"{path}={value}" for path, value in self.settings.items()]
        scenes = SCENES if base == REFERENCE else ()
        return prepare(base, sets=[*scenes, *ours, *sets, *own]).loaded


def arms_of(study, seeds):
    axes = STUDIES[study]
    for values in itertools.product(*axes.values()):
        for seed in seeds:
            yield PlannedTraining(dict(zip(axes, values, strict=True)), seed)


def steps_in(minutes, arms, options, device):
    """Return how many training steps the slowest arm takes in this time, without rendering images."""
    slowest = 0.0
    for arm in arms:
        spec = arm.load(options.base, options.set, 20, options.precision).spec
        seconds = measure(Engine.open(spec, device, warn=print)).step_seconds
        if seconds is None:
            raise SystemExit(f"{arm.name}: the batch does not fit into memory; lower it by --set")
        print(f"{arm.name}: {1 / seconds:.3g} steps/s", flush=True)
        slowest = max(slowest, seconds)
    return max(int(60 * minutes / slowest), 20)


def planned_steps(arms, options, device):
    """Return the number of steps of every arm: as given, or measured once and stored for later calls."""
    plan = options.runs / options.study / "steps.json"
    if options.steps is not None:
        return options.steps
    if not plan.is_file():
        plan.parent.mkdir(parents=True, exist_ok=True)
        firsts = {arm.label: arm for arm in arms}.values()
        plan.write_text(json.dumps(steps_in(options.minutes, firsts, options, device)))
    return json.loads(plan.read_text())


def train_arm(arm, steps, options, device):
    loaded = arm.load(options.base, options.set, steps, options.precision)
    folder = options.runs / options.study / arm.name
    print(f"{arm.name}: {steps} steps into {folder}", flush=True)
    run = run_training(loaded, folder, device=device, report=lambda progress: None, warn=print)
    [summary] = run_evaluations(run, loaded, [own_condition(loaded)], device=device)
    methods = summary["methods"]
    row = {"arm": arm.label, "seed": arm.seed, "steps": steps}
    row |= {"images/s": run.read_cost()["images_per_second"], "minutes": run.read_cost()["seconds"] / 60}
    row["loss"] = last_loss(run.read_log())
    row |= {name: methods["model"][name]["mean"] for name in SHOWN[1:]}
    trivial = {name: {m: of[m]["mean"] for m in SHOWN[1:]} for name, of in methods.items() if name != "model"}
    return run, row, trivial


def last_loss(log):
    """Return the mean training loss over the last tenth of the log's lines."""
    losses = [line["loss"] for line in log if line["kind"] == "train"]
    return statistics.fmean(losses[-max(1, len(losses) // 10) :])


def keep_pictures(run, arm, results, study):
    """Copy figures of a run, and return the names of the files."""
    names = []
    for picture in sorted(run.figures.glob("*.png")):
        kind = picture.stem.partition("-")[0]
        if kind in ("panels", "loss"):
            names.append(f"{study}-{arm.name}-{kind}.png")
            shutil.copyfile(picture, results / names[-1])
    return names


def alt(name):
    """Return in words what a picture of a study shows."""
    *arm, kind = name.removesuffix(".png").split("-")
    seen = {
        "loss": "loss over steps",
        "panels": "rows of true mask, predicted mask, image and reconstruction",
    }
    return f"{', '.join(arm[1:])}: {seen[kind]}"


def means(rows):
    """Return, by arm, the mean and standard deviation over seeds of each shown metric."""
    found = {}
    for row in rows:
        found.setdefault(row["arm"], []).append(row)
    return {
        arm: {
            name: (
                statistics.fmean(row[name] for row in some),
                statistics.stdev(row[name] for row in some) if len(some) > 1 else None,
            )
            for name in SHOWN
        }
        for arm, some in found.items()
    }


def verdict(rows):
    """Say whether the two precisions agree: whether their means differ by less than seeds do."""
    found = means(rows)
    (one, first), (other, second) = ((arm, values["fg_ari"]) for arm, values in found.items())
    difference = abs(first[0] - second[0])
    if None in (first[1], second[1]):
        text = f"FG-ARI of {one} and {other} differs by {difference:.4f}"
        return f"{text}; one seed has no spread to compare it with"
    spread = max(first[1], second[1])
    word = "agrees" if difference <= spread else "does not agree"
    return (
        f"FG-ARI of {one} and {other} {word} within the seeds' spread: it differs by {difference:.4f}, "
        f"the seeds by a standard deviation of {spread:.4f}"
    )


def markdown(study, facts, rows, trivial, pictures):
    lines = [f"# On generated scenes: {study}", ""]
    lines += [", ".join(f"{name} {value}" for name, value in facts.items()) + ".", ""]
    lines += table([{name: shown(value) for name, value in row.items()} for row in rows])
    if any(row["seed"] != rows[0]["seed"] for row in rows):
        spreads = [
            {"arm": arm} | {name: f"{mean:.4f} ± {spread:.4f}" for name, (mean, spread) in values.items()}
            for arm, values in means(rows).items()
        ]
        lines += ["", "Mean and standard deviation over seeds:", "", *table(spreads)]
    baselines = [{"baseline": name} | {m: shown(v) for m, v in of.items()} for name, of in trivial.items()]
    if baselines:
        lines += ["", "Trivial baselines on the same images:", "", *table(baselines)]
    if study == "precision":
        lines += ["", verdict(rows) + "."]
    for arm, names in pictures.items():
        lines += ["", f"## {arm}", "", *(f"![{alt(name)}]({name})" for name in names)]
    return "\n".join(lines) + "\n"


def shown(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(rows):
    head = list(rows[0])
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(row.values())} |"


def main(words=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--base", default=REFERENCE, help="the spec to start from")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--minutes", type=float, default=10.0, help="duration of the slowest training")
    parser.add_argument("--steps", type=int, help="steps per training, in place of --minutes")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--precision", default="bfloat16", help="precision of the trainings of `model`")
    parser.add_argument("--runs", type=Path, default=Path("runs/on_scenes"))
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    options = parser.parse_args(words)
    device = choose_device(options.device)
    seeds = options.seeds or ((0,) if options.study == "model" else (0, 1, 2))
    arms = list(arms_of(options.study, seeds))
    steps = planned_steps(arms, options, device)
    options.results.mkdir(parents=True, exist_ok=True)
    rows, pictures, trivial = [], {}, {}
    for arm in arms:
        run, row, trivial = train_arm(arm, steps, options, device)
        rows.append(row)
        pictures[arm.name] = keep_pictures(run, arm, options.results, options.study)
        spec = " with ".join([options.base, *options.set])
        facts = {"spec": spec, "device": describe_device(device), "torch": torch.__version__}
        data = {**facts, "rows": rows, "baselines": trivial}
        if len(rows) == len(arms) and options.study == "precision":
            data["verdict"] = verdict(rows)
        text = json.dumps(data, indent=2) + "\n"
        (options.results / f"{options.study}.json").write_text(text, encoding="utf-8")
    page = markdown(options.study, facts, rows, trivial, pictures)
    (options.results / f"{options.study}.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
