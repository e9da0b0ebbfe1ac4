"""What bounds a training step on a GPU: kernels, bytes and operations of each part, counted without a GPU.

    python benchmarks/roofline.py [SPEC ...] [--batch N] [--precision bfloat16] [--growth]
                                  [--tflops 790] [--tb-per-s 4.3] [--json FILE]

The step is run on the meta device, so that no value is computed: each operation of ATen that is no view
counts as one kernel, which reads its inputs and writes its outputs once (a cache that keeps them is not
modeled, and neither is fusion, so that the bytes are an upper bound for eager PyTorch). Its time is the
longest of operations by TFLOP/s, bytes by TB/s, and what the host needs to launch it. Defaults are an
H200's: 790 TFLOP/s of bfloat16 and 4.3 TB/s, both measured. The last column says what bounds most of a
part's time. `--growth` doubles images and slots, and gives the exponent by which the time of the step
grows.
"""

import argparse
import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

from slotlab.framework.contracts import Batch
from slotlab.framework.model.build import Builder
from slotlab.framework.model.parameter_groups import parameter_groups
from slotlab.framework.spec.load import load_spec
from slotlab.framework.training.nan_guard import parts, tensors_of

REST, OPTIMIZER = "loss and rest", "optimizer"
LAUNCH = 5e-6
"""Seconds that the host needs for one kernel of eager PyTorch."""
FREE = frozenset(
    ("detach", "lift_fresh", "empty", "empty_strided", "empty_like", "new_empty", "_unsafe_view")
)
"""Operations that start no kernel, besides views."""


@dataclass
class Part:
    """What one part of the model does in a step."""

    kernels: int = 0
    bytes: int = 0
    flops: int = 0
    seconds: float = 0.0
    bounds: dict = field(default_factory=lambda: defaultdict(float))


@dataclass(frozen=True)
class Machine:
    """The speeds of a GPU."""

    flops: float
    bandwidth: float

    def longest(self, flops, count):
        """Return the seconds of a kernel and what bounds it."""
        times = {"operations": flops / self.flops, "bytes": count / self.bandwidth, "launches": LAUNCH}
        bound = max(times, key=times.get)
        return times[bound], bound


class Counter(TorchDispatchMode):
    """Charges each kernel to the part of the model that is computing."""

    def __init__(self, machine):
        super().__init__()
        self.machine, self.current, self.parts = machine, REST, defaultdict(Part)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if not (func.is_view or packet.__name__ in FREE):
            tensors = [one for one in tree_iter((args, kwargs, found)) if isinstance(one, torch.Tensor)]
            count = sum(one.numel() * one.element_size() for one in tensors)
            count_flops = flop_registry.get(packet)
            flops = count_flops(*args, **(kwargs or {}), out_val=found) if count_flops else 0
            self.charge(flops, count)
        return found

    def charge(self, flops, count, kernels=1):
        """Add a kernel."""
        seconds, bound = self.machine.longest(flops, count)
        part = self.parts[self.current]
        part.kernels, part.bytes, part.flops = part.kernels + kernels, part.bytes + count, part.flops + flops
        part.seconds += seconds
        part.bounds[bound] += seconds

    def enter(self, name):
        """Charge what comes to a part."""
        self.current = name


def follow(module, name, enter):
    """Call `enter` with a module's name where its passes begin, and with `REST` after the forward pass."""
    module.register_forward_pre_hook(lambda *_: enter(name))

    def leave(module, inputs, output):
        enter(REST)
        for tensor in tensors_of(output):
            if tensor.requires_grad:  # the gradient that arrives here begins the part's backward pass
                tensor.register_hook(lambda gradient: enter(name))

    module.register_forward_hook(leave)


def count_step(spec, machine):
    """Return the parts of a training step of a spec, by name."""
    counter = Counter(machine)
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = Builder(spec).model()
        parameter_groups(spec, model, 1.0)
        frames, size = spec.data.frames, spec.data.size
        images = spec.training.batch_size * frames
        batch = Batch(
            images_BCHW=torch.zeros(images, 3, *size),
            masks_BHW=torch.zeros(images, *size, dtype=torch.int64),
            ids=tuple(map(str, range(spec.training.batch_size))),
            attributes=({},) * images,
            frames=frames,
        )
        for name, module in parts(model):
            follow(module, name, counter.enter)
        bf16 = spec.training.precision == "bfloat16"
        with counter, torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = model.losses(batch).total
        with counter:
            counter.current = REST
            loss.backward()
    counter.current = OPTIMIZER
    learned = sum(one.numel() for one in model.parameters() if one.requires_grad)
    counter.charge(
        12 * learned, 7 * 4 * learned
    )  # one kernel: weight, gradient and two moments in, three out
    return counter.parts


def report(name, spec, found):
    """Print a table of the parts, and return it as plain data."""
    total = sum(part.seconds for part in found.values())
    images = spec.training.batch_size * spec.data.frames
    print(f"\n### {name}: batch {images}, {spec.training.precision}, {1e3 * total:.2f} ms a step,", end=" ")
    print(f"{images / total:.0f} images/s predicted\n")
    print("| part | kernels | GB | TFLOP | ms | bound by |\n|---|---|---|---|---|---|", flush=True)
    rows = []
    for part, one in sorted(found.items(), key=lambda item: -item[1].seconds):
        bound = max(one.bounds, key=one.bounds.get)
        share = one.bounds[bound] / one.seconds
        row = (
            part,
            one.kernels,
            one.bytes / 1e9,
            one.flops / 1e12,
            1e3 * one.seconds,
            f"{bound} ({share:.0%})",
        )
        print("| {} | {} | {:.3g} | {:.3g} | {:.3g} | {} |".format(*row), flush=True)
        rows.append(dict(zip(("part", "kernels", "GB", "TFLOP", "ms", "bound"), row, strict=True)))
    return {"spec": name, "images": images, "ms": 1e3 * total, "parts": rows}


def growth(name, base, machine):
    """Print by which exponent the time of a step grows with slots, pixels and images."""
    print(f"\n### {name}: growth\n\n| doubled | ms | exponent |\n|---|---|---|", flush=True)
    rows, size = [], base.data.size
    first = sum(part.seconds for part in count_step(base, machine).values())
    changes = {
        "images": f"training.batch_size={2 * base.training.batch_size}",
        "slots": f"model.slots={2 * (base.slots or 1)}",
    }
    for what, change in changes.items():
        second = sum(
            part.seconds for part in count_step(load_spec(name, sets=[change]).spec, machine).values()
        )
        rows.append({"doubled": what, "ms": 1e3 * second, "exponent": math.log2(second / first)})
        print(
            f"| {what} | {1e3 * first:.3g} to {1e3 * second:.3g} | {rows[-1]['exponent']:.2f} |", flush=True
        )
    return {"spec": name, "size": list(size), "growth": rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("specs", nargs="*", default=["slotlab:clevrtex11"])
    parser.add_argument("--batch", type=int, help="images, or clips, in a step; the spec's without it")
    parser.add_argument("--precision", help="bfloat16 or float32; the spec's without it")
    parser.add_argument("--tflops", type=float, default=790.0)
    parser.add_argument("--tb-per-s", type=float, default=4.3)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine, found = Machine(1e12 * options.tflops, 1e12 * options.tb_per_s), []
    print(f"torch {torch.__version__}, {options.tflops:g} TFLOP/s, {options.tb_per_s:g} TB/s", flush=True)
    sets = [f"training.batch_size={options.batch}"] if options.batch else []
    sets += [f"training.precision={options.precision}"] if options.precision else []
    for name in options.specs:
        try:
            spec = load_spec(name, sets=sets).spec
            found.append(report(name, spec, count_step(spec, machine)))
            if options.growth:
                found.append(growth(name, spec, machine))
        except Exception as error:  # a part that needs a run or values, which the meta device has not
            print(f"\n{name} is left out: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
