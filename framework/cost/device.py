"""The measured peak speed of a device, and its memory."""

import resource
import sys
import time

import torch

_SMALLEST, _LARGEST = 256, 8192
_LONG = 0.005
"""Seconds: a product that takes this long is large enough to reach the device's peak."""
_REPEATS = 10
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def measure_peak(device: torch.device, precision: str) -> float:
    """Return the FLOP/s of a product of two square matrices, the best of a few tries.

    The matrices grow until a product takes some milliseconds, so that the measurement takes about a second
    on any device. float32 is multiplied in the precision that torch is set to (`precise`
    in `framework.model.engine`).
    """
    side = _SMALLEST
    while side < _LARGEST and _product_seconds(device, precision, side, tries=2) < _LONG:
        side *= 2
    return 2 * side**3 / _product_seconds(device, precision, side, tries=_REPEATS)


def _product_seconds(device: torch.device, precision: str, side: int, *, tries: int) -> float:
    a, b = (torch.rand(side, side, device=device).to(DTYPES[precision]) for _ in range(2))
    seconds = []
    for _ in range(tries):
        wait(device)
        begun = time.perf_counter()
        a @ b
        wait(device)
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def wait(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: of tensors on a GPU, else of the whole process since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts in bytes, Linux in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_memory(device: torch.device) -> int | None:
    """Return the bytes of memory still available; None if the system does not report them."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + held
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123 - no regular file
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
