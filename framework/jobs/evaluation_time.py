"""How long an evaluation will take, as far as the model's own forward pass tells."""

import time
from typing import Any

import torch

from slotlab.framework.contracts import Model, Reconstructs, Sampler
from slotlab.framework.cost.device import wait
from slotlab.framework.evaluation.evaluate import reconstruct
from slotlab.framework.jobs.estimate import OUT_OF_MEMORY, random_batch
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine, precise
from slotlab.framework.training.state import seeded

FEW = 4
"""Images of the batch that is timed on a CPU, where larger ones are hardly faster."""


def evaluation_time(engine: Engine, images: int | None) -> dict[str, Any]:
    """Time the model on random images as an evaluation runs it, without metrics, baselines and figures.

    Args:
        engine: of the spec.
        images: how many are evaluated; None if that is not known without the data.

    Returns:
        `evaluation_images`, `evaluation_images_per_second` and `evaluation_seconds`, each None where it is
        not known, and `evaluation_missing`, why nothing was timed; empty if something was.
    """
    spec, speed = engine.spec, None
    with precise(spec), seeded(spec.seed), torch.no_grad():
        model = engine.place(build_model(spec))
        missing = untimed(engine, model)
        if not missing:
            try:
                speed = images_per_second(engine, model)
            except OUT_OF_MEMORY:
                missing = f"a batch of {spec.evaluation.batch_size} does not fit; lower evaluation.batch_size"
    seconds = None if speed is None or images is None else images / speed
    return {
        "evaluation_images": images,
        "evaluation_images_per_second": speed,
        "evaluation_seconds": seconds,
        "evaluation_missing": missing,
    }


def untimed(engine: Engine, model: Model) -> str:
    """Return why an evaluation of the model is not timed; empty if it can be."""
    if not isinstance(model, Reconstructs):
        return "the model is not evaluated"
    if engine.spec.data.clip is not None:
        return "it runs on whole videos, whose lengths are the data's"
    if any(isinstance(part, Sampler) for part in model.modules()):
        return "its decoder draws pictures in many steps, which can take long"
    return ""


def images_per_second(engine: Engine, model: Model) -> float:
    """Return the speed of one batch, after another one to warm up."""
    most = engine.spec.evaluation.batch_size
    batch = random_batch(engine, most if engine.device.type == "cuda" else min(most, FEW))
    seconds = 0.0
    for _ in range(2):
        begun = time.perf_counter()
        reconstruct(engine.spec, model, batch, range(len(batch.ids)))
        wait(engine.device)
        seconds = time.perf_counter() - begun
    return len(batch.ids) / seconds
