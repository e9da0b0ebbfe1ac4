"""The cost of a training: operations, speed, memory, time and energy, in RUN/cost.json.

During the training the file holds the time and energy so far, so that they add up over
restarts, including work that a kill undid. At the end it holds the whole report.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

from slotlab.framework.cost.device import measure_peak, peak_memory
from slotlab.framework.cost.energy import Energy, both, read_energy, used
from slotlab.framework.cost.flops import count_flops
from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.runs.provenance import describe_device
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.json_files import write_json

_EVERY = 30.0
"""Seconds between two writes of the time so far."""


@dataclass
class Tally:
    """Counts the time and energy of a training between two restarts, on top of those before."""

    engine: Engine
    run: RunFolder
    before_seconds: float
    before_energy: Energy
    begun_energy: Energy
    begun: float = field(default_factory=time.monotonic)
    noted: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, engine: Engine, run: RunFolder) -> "Tally":
        """Begin to count, on top of what the run's file holds."""
        known = run.read_cost()
        before = Energy(known.get("energy_joules", 0.0), known.get("energy_missing", ""))
        return cls(engine, run, known.get("seconds", 0.0), before, read_own_energy(engine))

    def totals(self) -> dict[str, Any]:
        """Return seconds and energy so far, over all restarts."""
        now = used(self.begun_energy, read_own_energy(self.engine))
        energy = both(self.before_energy, now)
        kwh = None if energy.joules is None else energy.joules / 3.6e6
        return {
            "seconds": self.before_seconds + time.monotonic() - self.begun,
            "energy_joules": energy.joules,
            "energy_kwh": kwh,
            "energy_missing": energy.missing,
        }

    def note(self, *, always: bool = False) -> None:
        """Write the totals from time to time. A full disk does not stop the training here."""
        if self.engine.is_first and (always or time.monotonic() - self.noted > _EVERY):
            with suppress(OSError):
                known = self.run.read_cost()
                memory = max(known.get("memory", 0), peak_memory(self.engine.device))
                write_json(self.run.cost, {**known, **self.totals(), "memory": memory})
            self.noted = time.monotonic()

    def finish(self, images: int) -> None:
        """Write the whole report, in every process together; `images` counts all images trained on."""
        totals = self.totals()
        before = self.run.read_cost().get("memory", 0)  # before the last restart
        memory = max(before, *self.engine.gather([peak_memory(self.engine.device)]))
        if self.engine.is_first:
            speed = images_per_second(self.run.read_log(), restarts(self.run.read_provenance()))
            write_json(self.run.cost, {**report(self.engine, speed, images), "memory": memory, **totals})


def read_own_energy(engine: Engine) -> Energy:
    """Read the counters of all devices of a training, if all of them are in this machine."""
    if engine.processes == 1 or engine.device.type != "cuda":
        return read_energy([engine.device])
    if engine.processes > torch.cuda.device_count():
        return Energy(None, "the training ran on several machines")
    return read_energy([torch.device("cuda", number) for number in range(engine.processes)])


def report(engine: Engine, speed: float | None, images: int) -> dict[str, Any]:
    """Return operations and speeds as JSON-ready data; None for what is unknown."""
    spec, precision = engine.spec, engine.spec.training.precision
    peak, missing = peak_of(engine)
    operations = operations_of(spec)
    each = operations["flops_per_image"]
    achieved = None if speed is None or each is None else speed * each
    return {
        "device": describe_device(engine.device),
        "processes": engine.processes,
        "precision": precision,
        "images": images,
        "images_per_second": speed,
        **operations,
        "flops": None if each is None else each * images,
        "flops_per_second": achieved,
        "peak_flops_per_second": peak,
        "peak_missing": missing,
        "fraction_of_peak": None if achieved is None or peak is None else achieved / peak,
        "memory_of": "tensors on the GPU" if engine.device.type == "cuda" else "the process",
    }


def peak_of(engine: Engine) -> tuple[float | None, str]:
    """Measure the peak FLOP/s of all devices together; None and the reason if that fails."""
    try:
        return measure_peak(engine.device, engine.spec.training.precision) * engine.processes, ""
    except RuntimeError as error:  # the training succeeded all the same
        return None, str(error).partition("\n")[0]


def operations_of(spec: ExperimentSpec) -> dict[str, Any]:
    """Return trained weights and operations per training image, in all and by part; None if uncounted."""
    try:
        found = count_flops(spec)
    except Exception as error:  # a third party's component may fail in any way
        reason = f"cannot be counted: {type(error).__name__}: {error}"
        nothing = {"parameters": None, "flops_per_image": None, "flops_by_part": None}
        return {**nothing, "flops_missing": reason}
    return {
        "parameters": found.parameters,
        "flops_per_image": found.image_training,
        "flops_by_part": {"forward": found.forward, "training": found.training},
        "flops_missing": "",
    }


def planned_images(spec: ExperimentSpec, num_images: int) -> int:
    """Return the images, or frames, that a whole training is trained on, each as often as it is seen."""
    training = spec.training
    samples = sum(phase.length.in_images(num_images, training.batch_size) for phase in training.phases)
    return samples * spec.data.frames


def restarts(provenance: Mapping[str, Any]) -> list[int]:
    """Return the steps at which a training was resumed."""
    return [item["step"] for item in provenance.get("restarts", ())]


def images_per_second(log: Sequence[Mapping[str, Any]], restarted: Sequence[int] = ()) -> float | None:
    """Return the median speed of the log's lines, without the first after each start, which is a warm-up.

    If there are only such lines, their median; None for an empty log.
    """
    lines = [line for line in log if line["kind"] == "train"]
    steps = [line["step"] for line in lines]
    first = {min((step for step in steps if step > start), default=0) for start in (0, *restarted)}
    warm = [line["images_per_second"] for line in lines if line["step"] not in first]
    every = warm or [line["images_per_second"] for line in lines]
    return float(median(every)) if every else None
