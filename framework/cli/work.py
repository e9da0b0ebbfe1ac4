"""What `train` and `evaluate` do, with a progress bar, and how results are printed."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from slotlab.framework.cli.output import console
from slotlab.framework.experiment import choose_device, default_folder, prepare, run_evaluation, run_training
from slotlab.framework.run import RunFolder
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.train import Progress as TrainProgress
from slotlab.registry import SlotlabError


def open_progress(what: str) -> Progress:
    """Return a progress bar on stderr, so that stdout is free for JSON."""
    return Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
    )


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
    bar = open_progress("train")
    task = bar.add_task("train", total=None, facts="")

    def report(progress: TrainProgress) -> None:
        if not bar.live.is_started:  # a run that is refused before its first step shows no bar
            print(f"training '{loaded.spec.name}' on {chosen} into {path}", file=sys.stderr)
            bar.start()
        bar.update(task, completed=progress.step, total=progress.total_steps)
        if progress.loss is not None:
            facts = f"loss {progress.loss:.4f}  {progress.images_per_second:.0f} images/s"
            bar.update(task, facts=facts)

    try:
        run = run_training(
            loaded,
            path,
            device=chosen,
            overwrite=overwrite,
            allow=allow,
            report=report,
            warn=lambda text: warn([text]),
        )
    finally:
        bar.stop()
    result: dict[str, Any] = {"run": str(run.path), "status": run.read_status()["state"]}
    if then_evaluate:
        result |= evaluate_folder(run, loaded, device)
    return result


def warn(warnings: Sequence[object]) -> None:
    """Print warnings on stderr."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def evaluate_run(path: Path, *, sets: Sequence[str], device: str) -> dict[str, Any]:
    """Evaluate an existing run, with `--set` over its resolved spec."""
    run = RunFolder.open(path)
    for assignment in sets:
        if not assignment.lstrip().startswith(("evaluation.", "data.")):
            hint = "a trained run takes new settings under evaluation and data only"
            raise SlotlabError(f"--set {assignment}: {hint}")
    prepared = prepare(run.spec, sets=sets)
    warn(prepared.warnings)
    state = run.read_status().get("state", "of unknown state")
    if state != "done":
        warn([f"{path}: the run is {state}; its weights are those of its last finished epoch"])
    return evaluate_folder(run, prepared.loaded, device)


def evaluate_folder(run: RunFolder, loaded: LoadedSpec, device: str) -> dict[str, Any]:
    """Evaluate with a progress bar."""
    bar = open_progress("evaluate")
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
    out.print(f"run: {result['run']}", soft_wrap=True)
    if "step" in result:
        out.print(f"weights of step {result['step']}")
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
