"""The energy used by GPUs, by NVIDIA's own counter, or the reason why it is unknown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Energy:
    """Joules since some time in the past, or why they are unknown."""

    joules: float | None
    missing: str = ""


def read_energy(devices: Sequence[torch.device]) -> Energy:
    """Read the sum of the counters of GPUs in this machine; take the difference of two readings.

    NVML counts the millijoules of the whole board since its driver was loaded, by all users
    (`nvmlDeviceGetTotalEnergyConsumption`, Volta and later).
    """
    if any(device.type != "cuda" for device in devices):
        return Energy(None, "only GPUs of NVIDIA tell their energy")
    try:
        import pynvml  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        return Energy(None, "the package nvidia-ml-py is not installed")
    nvml: Any = pynvml
    try:
        nvml.nvmlInit()
        try:
            handles = [nvml.nvmlDeviceGetHandleByUUID(uuid(device)) for device in devices]
            return Energy(sum(nvml.nvmlDeviceGetTotalEnergyConsumption(one) for one in handles) / 1000)
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        return Energy(None, f"NVML does not tell: {error}")


def uuid(device: torch.device) -> str:
    """Return NVML's name of a GPU, which does not depend on CUDA_VISIBLE_DEVICES."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def used(before: Energy, after: Energy) -> Energy:
    """Return the energy used between two readings."""
    if before.joules is None or after.joules is None:
        return before if before.joules is None else after
    return Energy(after.joules - before.joules)


def both(one: Energy, other: Energy) -> Energy:
    """Return the sum; unknown if one of the two is unknown."""
    if one.joules is None or other.joules is None:
        return one if one.joules is None else other
    return Energy(one.joules + other.joules)
