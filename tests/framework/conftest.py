"""A spec small enough to train in a moment, a dataset of noise and a model for it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import slotlab
from slotlab.framework.contracts import Sample
from slotlab.framework.data.loader import Loader
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.merge import SHIPPED
from slotlab.framework.spec.schema import ExperimentSpec

REGISTRY = load_registry()


def tiny_data() -> dict[str, Any]:
    return {
        "format": 1,
        "name": "tiny",
        "data": {"dataset": {"name": "scenes"}, "protocol": {"name": "whole", "image_size": 8}},
        "model": {
            "slots": 3,
            "slot_dim": 8,
            "encoder": {"name": "cnn", "channels": [4], "kernel_size": 3},
            "initializer": "gaussian",
            "grouping": {"name": "slot_attention", "iterations": 1},
            "decoder": {"name": "spatial_broadcast", "broadcast_size": 4, "channels": [4]},
        },
        "training": {"batch_size": 2, "log_every": 1, "phases": [{"steps": 2, "lr": 0.01}]},
    }


def overlay(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both = isinstance(value, dict) and isinstance(old, dict) and "name" not in value
        merged[key] = overlay(old, value) if both and old is not None else value
    return merged


@pytest.fixture
def tiny() -> Callable[..., ExperimentSpec]:
    """Return a function that makes the small spec with changes."""

    def make(**changes: Any) -> ExperimentSpec:
        data = overlay(tiny_data(), changes)
        return ExperimentSpec.model_validate(data, context={"registry": REGISTRY})

    return make


@dataclass
class Noise:
    """A dataset of random images and masks; `unmasked` names those without truth."""

    size: int = 5
    side: int = 8
    unmasked: frozenset[int] = frozenset()
    background: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.size:
            raise IndexError(index)
        stream = torch.Generator().manual_seed(index)
        image = torch.randint(0, 256, (3, self.side, self.side), generator=stream, dtype=torch.uint8)
        mask = torch.randint(0, 4, (self.side, self.side), generator=stream)
        mask = torch.zeros_like(mask) if index in self.background else mask
        return Sample(id=f"n{index}", image_CHW=image, mask_HW=None if index in self.unmasked else mask)


@pytest.fixture
def noise_loader() -> Callable[..., Loader]:
    """Return a function that makes a loader of random samples."""

    def make(batch_size: int = 2, workers: int = 0, dataset: Any = None, **settings: Any) -> Loader:
        chosen = Noise(**settings) if dataset is None else dataset
        return Loader(chosen, batch_size, torch.device("cpu"), (-1.0, 1.0), workers)

    return make


@pytest.fixture(scope="session")
def clip_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `savi_demo`, which follows slots, and `slotformer_demo`, which foretells them, both small."""
    settings: dict[str, Any] = {
        "data.protocol.image_size": 16,
        "data.dataset": {"num_train": 2, "num_val": 3, "num_test": 1},
        "training.batch_size": 2,
        "training.phases": [{"steps": 1, "lr": 1e-3}],
        "evaluation.baselines": [],
    }
    folder = tmp_path_factory.mktemp("clips")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, more in (("savi_demo", {"model.decoder.broadcast_size": 4}), ("slotformer_demo", {})):
            run = f"runs/{name}"
            slotlab.train(f"{SHIPPED}{name}", settings | more, run=run, device="cpu", evaluate=False)
    return folder / "runs"
