"""One synthetic run: random results, and the files that slotlab would have written for them."""

import csv
import io
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
EVALUATION = "scenes-val-whole-decoder"
STEPS = 2000
BATCH_SIZE = 16
FLOPS_PER_IMAGE = 345_243_648


@dataclass(frozen=True)
class Results:
    """The random results of one run."""

    values: dict[str, np.ndarray]
    """By metric, one value per image."""
    objects: np.ndarray
    """The number of objects in each image."""
    seconds: float
    """The wall time of the training."""


def draw_results(
    generator: np.random.Generator, objects: np.ndarray, arm: np.ndarray, seed: np.ndarray
) -> Results:
    """Draw results around the effects of the arm and of the seed, both with one value per metric."""
    values = {}
    for i, (name, (_, _, mean, over_arms, over_seeds, over_images)) in enumerate(METRICS.items()):
        own = generator.standard_normal()
        center = mean + over_arms * arm[i] + over_seeds * (0.7 * seed[i] + 0.7 * own)
        noise = generator.standard_normal(len(objects))
        values[name] = center + over_images * noise - 0.01 * (objects - 4.5)
    return Results(values, objects, float(600 + 300 * generator.random()))


@dataclass(frozen=True)
class RunFiles:
    """The folder of one run, and what its files are about."""

    folder: Path
    run_id: str
    spec: dict
    seed: int
    results: Results

    @property
    def images(self) -> int:
        """The number of images in the evaluation."""
        return len(self.results.objects)

    def write(self, state: str, log_lines: int) -> None:
        """Write the folder of a run in this state (`done`, `running` or `failed`)."""
        self.folder.mkdir(parents=True)
        text = dump(self.spec).replace("\nseed: 0\n", f"\nseed: {self.seed}\n")
        (self.folder / "spec.yaml").write_text(text)
        write_json(self.folder / "provenance.json", self.provenance())
        reason = "loss is nan at step 700" if state == "failed" else ""
        write_json(self.folder / "status.json", {"state": state, "reason": reason})
        write_json(self.folder / "cost.json", self.cost())
        lines = (json.dumps(line) + "\n" for line in self.log(log_lines))
        (self.folder / "metrics.jsonl").write_text("".join(lines))
        if state == "done":
            evaluation = self.folder / "evaluation" / EVALUATION
            write_json(evaluation / "summary.json", self.summary())
            (evaluation / "images.csv").write_text(self.images_csv())

    def provenance(self) -> dict:
        """Return the content of provenance.json."""
        model = self.spec["model"]
        used = [("dataset", "scenes"), ("protocol", "whole")]
        used += [("objective", "pixel_mse"), ("optimizer", "adam")]
        used += [(kind, model[kind]["name"]) for kind in ("encoder", "initializer", "grouping", "decoder")]
        return {
            "run_id": self.run_id,
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
            "data": {"train": data_facts("train", 2000), "evaluation": data_facts("val", self.images)},
            "plugins_not_loaded": {},
        }

    def cost(self) -> dict:
        """Return the content of cost.json."""
        trained, seconds = STEPS * BATCH_SIZE, self.results.seconds
        return {
            "device": "cpu (x86_64)",
            "processes": 1,
            "precision": "float32",
            "images": trained,
            "images_per_second": trained / seconds,
            "flops_per_image": FLOPS_PER_IMAGE,
            "flops_missing": "",
            "flops": FLOPS_PER_IMAGE * trained,
            "memory_of": "the process",
            "memory": 1_200_000_000,
            "seconds": seconds,
            "energy_joules": None,
            "energy_kwh": None,
            "energy_missing": "only GPUs of NVIDIA tell their energy",
        }

    def log(self, lines: int) -> list[dict]:
        """Return the lines of metrics.jsonl: so many of the training, and a validation after every five."""
        found: list[dict] = []
        final = {name: float(values.mean()) for name, values in self.results.values.items()}
        speed = STEPS * BATCH_SIZE / self.results.seconds
        for number in range(1, lines + 1):
            step, part = STEPS * number // lines, number / lines
            place = {"step": step, "epoch": number // 5}
            loss = final["mse"] * (1 + 4 * (1 - part) ** 2)
            train = {"kind": "train", **place, "phase": 0, "loss": loss, "lr": 1e-3}
            found.append({**train, "images_per_second": speed})
            if number % 5 == 0:
                watched = {"loss": loss * 1.1, "ari": final["ari"] * part**0.5}
                found.append({"kind": "validation", **place, **watched})
        return found

    def summary(self) -> dict:
        """Return the content of summary.json."""
        data = data_facts("val", self.images)
        return {
            "format": 2,
            "run": str(self.folder),
            "run_id": self.run_id,
            "dataset": "scenes",
            "variant": None,
            "split": "val",
            "protocol": data["protocol"],
            "filter": None,
            "data": data,
            "images": self.images,
            "image_size": 32,
            "value_range": "signed",
            "mask_source": "decoder",
            "slots": self.spec["model"]["slots"],
            "step": STEPS,
            "aggregation": "images",
            "metrics": {
                name: {"version": "1", "higher_is_better": higher, "bounds": bounds, "aggregation": "images"}
                for name, (higher, bounds, *_) in METRICS.items()
            },
            "left_out": {},
            "methods": {
                "model": {name: statistics(values) for name, values in self.results.values.items()},
                "one_segment": {"ari": statistics(np.zeros(self.images))},
            },
            "set_metrics": {},
            "breakdowns": {"objects": by_objects(self.results)},
            "published": [],
        }

    def images_csv(self) -> str:
        """Return the content of images.csv."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        values = self.results.values
        writer.writerow(["method", "id", "objects", *values])
        for i, number in enumerate(self.results.objects):
            measured = [repr(float(column[i])) for column in values.values()]
            writer.writerow(["model", f"{i:06d}", number, *measured])
            writer.writerow(["one_segment", f"{i:06d}", number, 0.0, *[""] * (len(values) - 1)])
        return text.getvalue()


def data_facts(split: str, images: int) -> dict:
    """Return the facts of a split, as provenance.json and summary.json hold them."""
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


def statistics(values: np.ndarray) -> dict:
    """Return the statistics of a metric over images."""
    return {
        "mean": float(values.mean()),
        "std": float(values.std(ddof=1)),
        "median": float(np.median(values)),
        "min": float(values.min()),
        "max": float(values.max()),
        "count": len(values),
        "undefined": 0,
    }


def by_objects(results: Results) -> list[dict]:
    """Return the breakdown of the metrics by number of objects."""

    def group(members: np.ndarray, values: np.ndarray) -> dict:
        inside = values[members]
        half = 1.96 * float(inside.std()) / len(inside) ** 0.5
        mean = float(inside.mean())
        return {"mean": mean, "low": mean - half, "high": mean + half, "count": len(inside)}

    return [
        {
            "group": int(number),
            **{name: group(results.objects == number, values) for name, values in results.values.items()},
        }
        for number in np.unique(results.objects)
    ]


def write_json(path: Path, data: object) -> None:
    """Write data as JSON; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n")
