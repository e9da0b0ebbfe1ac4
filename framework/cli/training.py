"""What `train` does, with a progress bar."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from slotlab.framework.cli.evaluating import evaluate_folder
from slotlab.framework.cli.output import error_console, warn
from slotlab.framework.cli.progress import TrainingDisplay
from slotlab.framework.evaluation.conditions import own_condition
from slotlab.framework.jobs.train import choose_device, default_folder, prepare, run_training
from slotlab.framework.plugin_loading.trust import Ask
from slotlab.framework.system.processes import is_first
from slotlab.framework.training.trackers import Trackers


def train_spec(
    name: str,
    folder: Path | None,
    *,
    sets: Sequence[str],
    plugins: Sequence[Path],
    strict_plugins: bool,
    trust: Ask,
    device: str,
    overwrite: bool,
    allow: Sequence[str],
    then_evaluate: bool,
) -> dict[str, Any]:
    """Train, evaluate unless told not to, and return what `print_result` shows."""
    prepared = prepare(name, sets=sets, plugins=plugins, strict_plugins=strict_plugins, trust=trust)
    loaded = prepared.loaded
    warn(prepared.warnings)
    chosen = choose_device(device)
    path = folder or default_folder(loaded, Path("runs"))
    display = TrainingDisplay(
        f"training '{loaded.spec.name}' on {chosen} into {path}",
        phases=len(loaded.spec.training.phases),
        console=error_console(),
        memory=partial(memory_in_use, chosen),
    )
    with Trackers(warn=lambda text: warn([text])) as trackers:
        try:
            run = run_training(
                loaded,
                path,
                device=chosen,
                overwrite=overwrite,
                allow=allow,
                report=display if is_first() else lambda progress: None,
                warn=lambda text: warn([text]),
                trackers=trackers,
            )
        finally:
            display.stop()
        result: dict[str, Any] = {"run": str(run.path), "status": run.read_status()["state"]}
        result["cost"] = run.read_cost()
        curves = [str(run.figures / f"{name}.png") for name in ("learning_rate", "loss")]
        if then_evaluate:
            result |= evaluate_folder(run, loaded, [own_condition(loaded)], device)[0]
            trackers.evaluated(result)
        result["figures"] = [*curves, *result.get("figures", ())]
    return result


def memory_in_use(device: torch.device) -> int | None:
    """Return the bytes that torch holds on a GPU; None for another device."""
    return torch.cuda.memory_reserved() if device.type == "cuda" else None
