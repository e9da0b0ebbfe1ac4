"""What a training takes: operations that are counted, speeds that are measured, and nothing made up."""

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch

from slotlab.framework.cli.units import cost_line, duration, flops, size
from slotlab.framework.cost import energy
from slotlab.framework.cost import tally as cost
from slotlab.framework.cost.device import measure_peak, peak_memory
from slotlab.framework.cost.energy import Energy, both, read_energy, used
from slotlab.framework.cost.flops import count_flops
from slotlab.framework.cost.tally import Tally, images_per_second, operations_of, planned_images
from slotlab.framework.model.build import Builder, build_model
from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.schema import ExperimentSpec

Specs = Callable[..., ExperimentSpec]
CPU = torch.device("cpu")
GIGA = 1e9


def shipped(name: str, **options: Any) -> ExperimentSpec:
    return load_spec(str(resources.files("slotlab.experiments") / f"{name}.yaml"), **options).spec


def open_engine(spec: ExperimentSpec) -> Engine:
    return Engine.open(spec, CPU, warn=print)


# --- operations --------------------------------------------------------------------------


def test_the_reference_model_costs_what_was_counted_by_hand() -> None:
    found = count_flops(shipped("clevrtex6"))
    assert set(found.forward) == set(found.training) == {"encoder", "projection", "grouping", "decoder"}
    assert found.forward["encoder"] / 2 / GIGA == pytest.approx(13.0, rel=0.01)
    assert found.forward["decoder"] / 2 / GIGA == pytest.approx(4.0, rel=0.01)
    tokens = 128 * 128
    projection = tokens * (4 * 64 + 64 * 128 + 128 * 128)
    attention = 3 * 2 * 7 * tokens * 128  # keys and values would be another 2 * tokens * 128 * 128
    slots = 3 * 7 * (3 * 128 * 128 + 6 * 128 * 128 + 2 * 128 * 256)  # queries, keys, values, GRU, MLP
    assert found.forward["projection"] / 2 == pytest.approx(projection, rel=0.01)
    assert found.forward["grouping"] / 2 == attention + slots
    assert sum(found.forward.values()) / 2 / GIGA == pytest.approx(17.5, rel=0.01)
    assert found.image_training / GIGA == pytest.approx(105, rel=0.01)


def test_a_layer_by_hand(tiny: Specs) -> None:
    found = count_flops(tiny())
    pixels, channels, taps = 8 * 8, 3 * 4, 3 * 3
    assert found.forward["encoder"] == 2 * pixels * channels * taps
    assert found.training["encoder"] == 2 * found.forward["encoder"]  # images need no gradient


def test_every_slot_costs_the_decoder_the_same(tiny: Specs) -> None:
    counts = [count_flops(tiny(model={"slots": slots})) for slots in (3, 6, 9)]
    few, more, most = (one.training["decoder"] for one in counts)
    assert most - more == more - few > 0
    assert len({one.training["encoder"] for one in counts}) == 1


def test_frozen_weights_have_no_gradient_to_compute(tiny: Specs) -> None:
    free = count_flops(tiny())
    frozen = count_flops(tiny(training={"groups": [{"weights": ["encoder"], "frozen": True}]}))
    assert frozen.forward == free.forward
    assert frozen.training["encoder"] == frozen.forward["encoder"]
    assert frozen.training["decoder"] == free.training["decoder"]


def test_parameters_are_the_weights_that_are_trained(tiny: Specs) -> None:
    free, frozen = (
        count_flops(tiny(training={"groups": [{"weights": ["encoder"], "frozen": frozen}]})).parameters
        for frozen in (False, True)
    )
    model: Any = Builder(tiny()).model()
    assert free == sum(weight.numel() for weight in model.parameters())
    assert free - frozen == sum(weight.numel() for weight in model.encoder.parameters()) > 0


def test_speed_settings_change_no_count(tiny: Specs) -> None:
    speed = {"recompute": ["encoder", "decoder"], "compile": "default"}
    assert count_flops(tiny(training={"speed": speed})) == count_flops(tiny())


def test_a_model_that_cannot_be_counted(tiny: Specs, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(spec: ExperimentSpec) -> None:
        raise RuntimeError("needs values")

    monkeypatch.setattr(cost, "count_flops", fail)
    assert operations_of(tiny()) == {
        "parameters": None,
        "flops_per_image": None,
        "flops_by_part": None,
        "flops_missing": "cannot be counted: RuntimeError: needs values",
    }


# --- images and speed --------------------------------------------------------------------


def test_images_of_a_training(tiny: Specs) -> None:
    phases = [{"epochs": 3, "lr": 1.0}, {"steps": 7, "lr": 1.0}]
    spec = tiny(training={"phases": phases})  # batches of 2
    assert planned_images(spec, 5) == 15 + 5 + 5 + 2
    assert planned_images(spec, 4) == 12 + 4 + 4 + 4 + 2
    assert planned_images(tiny(training={"phases": [{"steps": 3, "lr": 1.0}]}), 5) == 5


def line(step: int, speed: float) -> dict[str, Any]:
    return {"kind": "train", "step": step, "images_per_second": speed}


def test_speed_is_the_median_without_warm_up() -> None:
    log = [line(10, 1.0), line(20, 5.0), {"kind": "validation", "step": 20}, line(30, 7.0), line(40, 6.0)]
    assert images_per_second(log) == 6.0
    assert images_per_second(log, [25]) == 5.5  # the line of step 30 is the first after a restart
    assert images_per_second(log, [20]) == 5.5, "nor is the line warm-up after which it was resumed"
    assert images_per_second(log[:1]) == 1.0
    assert images_per_second([]) is None


def test_a_stretch_that_stood_still_or_ran_ahead_moves_no_median() -> None:
    log = [line(step, speed) for step, speed in enumerate((1.0, 10.0, 11.0, 12.0, 900.0), start=1)]
    assert images_per_second(log) == 11.5
    assert images_per_second([*log, line(6, 0.0)]) == 11.0
    assert images_per_second([*log, line(6, 0.0)], restarted=[5]) == 11.5, (
        "the first line after it is left out"
    )


def test_the_peak_is_a_positive_number_and_memory_only_grows() -> None:
    before = peak_memory(CPU)
    assert measure_peak(CPU, "float32") > 0
    held = torch.ones(2**22)
    assert peak_memory(CPU) >= before > held.nbytes


# --- energy ------------------------------------------------------------------------------


def test_energy_of_a_processor_is_not_known() -> None:
    assert read_energy([CPU]) == Energy(None, "only GPUs of NVIDIA tell their energy")


def test_energy_without_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    assert read_energy([torch.device("cuda", 0)]) == Energy(None, "the package nvidia-ml-py is not installed")


def test_energy_by_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nvml:
        NVMLError = RuntimeError

        def __init__(self, works: bool):
            self.works = works
            self.nvmlInit = self.nvmlShutdown = lambda: None

        def nvmlDeviceGetHandleByUUID(self, name: str) -> str:
            return name

        def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
            if not self.works:
                raise RuntimeError("Not Supported")
            return {"GPU-0": 1500, "GPU-1": 500}[handle]

    monkeypatch.setattr(energy, "uuid", lambda device: f"GPU-{device.index}")
    devices = [torch.device("cuda", number) for number in (0, 1)]
    monkeypatch.setitem(__import__("sys").modules, "pynvml", Nvml(works=True))
    assert read_energy(devices) == Energy(2.0)
    monkeypatch.setitem(__import__("sys").modules, "pynvml", Nvml(works=False))
    assert read_energy(devices) == Energy(None, "NVML does not tell: Not Supported")


def test_what_is_not_known_stays_so() -> None:
    unknown = Energy(None, "why")
    assert used(Energy(2.0), Energy(5.0)) == Energy(3.0)
    assert both(Energy(2.0), Energy(5.0)) == Energy(7.0)
    for one, other in ((unknown, Energy(1.0)), (Energy(1.0), unknown), (unknown, unknown)):
        assert used(one, other) == both(one, other) == unknown


# --- the report --------------------------------------------------------------------------


def test_time_and_energy_add_up_over_restarts(
    tiny: Specs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, joules = [100.0], [7.0]
    monkeypatch.setattr(cost.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(cost, "read_energy", lambda devices: Energy(joules[0]))
    run = RunFolder.create(tmp_path / "run", tiny())
    engine = open_engine(tiny())

    def stretch(seconds: float, used_joules: float) -> Tally:
        tally = Tally.start(engine, run)
        tally.begun = tally.noted = clock[0]
        clock[0] += seconds
        joules[0] += used_joules
        return tally

    stretch(20, 5.0).note()
    assert run.read_cost() == {}  # too soon to be written
    stretch(40, 5.0).note()
    assert run.read_cost()["seconds"] == 40
    stretch(2, 3.6e6).note(always=True)
    assert run.read_cost()["seconds"] == 42
    assert run.read_cost()["energy_joules"] == 3.6e6 + 5
    assert run.read_cost()["energy_kwh"] == pytest.approx(1.0, rel=1e-4)
    monkeypatch.setattr(cost, "read_energy", lambda devices: Energy(None, "broken"))
    stretch(1, 0).finish(10)
    found = run.read_cost()
    assert (found["seconds"], found["energy_joules"], found["energy_missing"]) == (43, None, "broken")
    assert found["flops"] == 10 * found["flops_per_image"]


def test_the_report_of_a_run(tiny: Specs, tmp_path: Path) -> None:
    spec = tiny()
    run = RunFolder.create(tmp_path / "run", spec)
    build_model(spec)
    tally = Tally.start(open_engine(spec), run)
    for step, speed in ((1, 1.0), (2, 10.0)):
        run.log(line(step, speed))
    tally.finish(4)
    found = json.loads(run.cost.read_text())
    assert found["images_per_second"] == 10.0
    assert found["flops_per_image"] == count_flops(spec).image_training
    assert found["flops_per_second"] == 10 * found["flops_per_image"]
    assert found["fraction_of_peak"] == found["flops_per_second"] / found["peak_flops_per_second"]
    assert found["memory"] > 2**20
    assert found["energy_kwh"] is None
    assert found["energy_missing"] == "only GPUs of NVIDIA tell their energy"


def test_the_most_memory_is_that_of_all_stretches(tiny: Specs, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", tiny())
    run.cost.write_text('{"seconds": 3.0, "memory": 1000000000000}')
    tally = Tally.start(open_engine(tiny()), run)
    tally.note(always=True)
    assert run.read_cost()["memory"] == 10**12
    tally.finish(4)
    assert run.read_cost()["memory"] == 10**12
    assert run.read_cost()["images_per_second"] is None  # nothing was logged


def test_a_full_disk_stops_no_training(tiny: Specs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, data: Any) -> None:
        raise OSError(28, "No space left on device")

    run = RunFolder.create(tmp_path / "run", tiny())
    tally = Tally.start(open_engine(tiny()), run)
    monkeypatch.setattr(cost, "write_json", fail)
    tally.note(always=True)
    assert run.read_cost() == {}


def test_a_peak_that_cannot_be_measured_loses_no_training(
    tiny: Specs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(device: torch.device, precision: str) -> float:
        raise RuntimeError("out of memory\nand a page of advice")

    monkeypatch.setattr(cost, "measure_peak", fail)
    run = RunFolder.create(tmp_path / "run", tiny())
    run.log(line(1, 3.0))
    Tally.start(open_engine(tiny()), run).finish(4)
    found = run.read_cost()
    assert (found["peak_flops_per_second"], found["fraction_of_peak"]) == (None, None)
    assert found["peak_missing"] == "out of memory"


def test_the_line_for_people() -> None:
    known = {
        "images_per_second": 1234.5,
        "seconds": 5000.0,
        "memory": 12.3 * 2**30,
        "memory_of": "tensors on the GPU",
        "flops_per_image": 108.14e9,
        "flops_per_second": 1.33e14,
        "fraction_of_peak": 0.336,
        "energy_kwh": 0.4512,
    }
    line = "1.23e+03 images/s, 1 h 23 min, 12.3 GiB of memory (tensors on the GPU), 108 GFLOP per image, "
    assert cost_line(known) == f"{line}133 TFLOP/s, 34% of the speed of a matrix product, 0.451 kWh"
    unknown = dict.fromkeys(known) | {"seconds": 4.0, "memory": 512.0, "memory_of": "the process"}
    assert cost_line(unknown) == "4.0 s, 512 B of memory (the process)"


def test_units() -> None:
    assert [duration(seconds) for seconds in (0.04, 59.9, 61, 3600, 90_000, 8e6)] == [
        "0.0 s",
        "59.9 s",
        "1 min 1 s",
        "1 h 0 min",
        "1 d 1 h",
        "92 d 14 h",
    ]
    assert [size(count) for count in (0, 1023, 1536, 3 * 2**40, 2**60)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "3 TiB",
        "1048576 TiB",
    ]
    assert [flops(count) for count in (5, 4.2e6, 999.4, 999.6)] == [
        "5 FLOP",
        "4.2 MFLOP",
        "999 FLOP",
        "1 kFLOP",
    ]
