"""What `train` and `evaluate` do, with a progress bar, and how results are printed."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from slotlab.framework.cli.output import console
from slotlab.framework.cli.progress import TrainingDisplay, open_bar
from slotlab.framework.cli.quantities import cost_line
from slotlab.framework.experiment import choose_device, default_folder, prepare, run_evaluation, run_training
from slotlab.framework.processes import is_first
from slotlab.framework.run import RunFolder
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.trackers import Trackers
from slotlab.registry import SlotlabError


def train_spec(
    name: str,
    folder: Path | None,
    *,
    sets: Sequence[str],
    plugins: Sequence[Path],
    strict_plugins: bool,
    device: str,
    overwrite: bool,
    allow: Sequence[str],
    then_evaluate: bool,
) -> dict[str, Any]:
    """Train, evaluate unless told not to, and return what `print_result` shows."""
    prepared = prepare(name, sets=sets, plugins=plugins, strict_plugins=strict_plugins)
    loaded = prepared.loaded
    warn(prepared.warnings)
    chosen = choose_device(device)
    path = folder or default_folder(loaded, Path("runs"))
    display = TrainingDisplay(
        f"training '{loaded.spec.name}' on {chosen} into {path}",
        phases=len(loaded.spec.training.phases),
        console=Console(file=sys.stderr),
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
        if then_evaluate:
            result |= evaluate_folder(run, loaded, device)
            trackers.evaluated(result)
    return result


def memory_in_use(device: torch.device) -> int | None:
    """Return the bytes that torch holds on a GPU; None for another device."""
    return torch.cuda.memory_reserved() if device.type == "cuda" else None


def warn(warnings: Sequence[object]) -> None:
    """Print warnings on stderr, in the first of several processes."""
    for warning in warnings if is_first() else ():
        print(f"warning: {warning}", file=sys.stderr)


def evaluate_run(path: Path, *, sets: Sequence[str], device: str) -> dict[str, Any]:
    """Evaluate an existing run, with `--set` over its resolved spec."""
    run = RunFolder.open(path)
    for assignment in sets:
        if not assignment.lstrip().startswith(("evaluation.", "data.")):
            hint = "a trained run takes new settings under evaluation and data only"
            raise SlotlabError(f"--set {assignment}: {hint}")
    prepared = prepare(run.spec, sets=[*sets, "training.trackers=[]"])  # told of trainings alone
    warn(prepared.warnings)
    state = run.read_status().get("state", "of unknown state")
    if state != "done":
        warn([f"{path}: the run is {state}; its weights are those of its last finished epoch"])
    return evaluate_folder(run, prepared.loaded, device)


def evaluate_folder(run: RunFolder, loaded: LoadedSpec, device: str) -> dict[str, Any]:
    """Evaluate with a progress bar, on stderr so that stdout is free for JSON."""
    bar = open_bar("evaluate", Console(file=sys.stderr, quiet=not is_first()))
    task = bar.add_task("evaluate", total=None, facts="")

    def report(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        return run_evaluation(run, loaded, device=choose_device(device), report=report)
    finally:
        bar.stop()


def print_result(result: dict[str, Any]) -> None:
    """Print a table of methods by metrics, and where everything lies."""
    out = console()
    if "methods" in result:
        title = "{dataset} {split}: {images} images of {image_size} pixels, masks from the {mask_source}"
        out.print(title.format(**result), style="bold", soft_wrap=True)
        out.print(f"protocol {result['protocol']}; {result['filter'] or 'any number of objects'}")
        names = list(dict.fromkeys(name for metrics in result["methods"].values() for name in metrics))
        table = Table("method", *names, box=None, pad_edge=False, header_style="bold")
        for method, metrics in result["methods"].items():
            table.add_row(method, *(cell(metrics.get(name)) for name in names))
        out.print(table)
        out.print("mean over images ± standard deviation over images", style="dim")
        for name, reason in result["left_out"].items():
            out.print(f"{name}: left out, {reason}")
    if result.get("cost"):
        out.print(f"cost: {cost_line(result['cost'])}", soft_wrap=True)
    out.print(f"run: {result['run']}", soft_wrap=True)
    if "step" in result:
        out.print(f"weights of step {result['step']}")
    for name, reason in result.get("figures_left_out", {}).items():
        out.print(f"figure {name}: left out, {reason}", soft_wrap=True)
    figures = Path(result["run"]) / "figures"
    for figure in sorted(figures.glob("*.png")):
        out.print(f"figure: {figure}", soft_wrap=True)


def cell(statistics: dict[str, Any] | None) -> str:
    """Write one mean with its deviation; a dash where there is none."""
    if statistics is None or statistics["mean"] is None:
        return "-"
    deviation = "" if statistics["std"] is None else f" ± {statistics['std']:.3f}"
    undefined = f" ({statistics['undefined']} undefined)" if statistics["undefined"] else ""
    return f"{statistics['mean']:.3f}{deviation}{undefined}"
