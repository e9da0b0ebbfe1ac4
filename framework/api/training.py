"""Trains specs: what `slotlab.train` and the command `train` do, with a progress bar."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from slotlab.framework.api.console import error_console, say, warn
from slotlab.framework.api.evaluating import evaluate_folder
from slotlab.framework.api.given import Names, Paths, names_of
from slotlab.framework.api.progress import TrainingDisplay
from slotlab.framework.api.run import Run, open_run
from slotlab.framework.api.settings import Settings
from slotlab.framework.api.specs import Spec, as_spec
from slotlab.framework.evaluation.conditions import own_condition
from slotlab.framework.evaluation.evaluate import NOTHING
from slotlab.framework.jobs.train import choose_device, default_folder, prepare, run_training
from slotlab.framework.model.build import can_reconstruct
from slotlab.framework.plugin_loading.trust import Ask
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.system.processes import is_first
from slotlab.framework.system.stop_signals import TrainingHalted
from slotlab.framework.training.trackers import Trackers

RUNS = Path("runs")
"""Where runs lie unless their folder is named."""


def train(
    spec: str | Path | Spec,
    settings: Settings | None = None,
    *,
    run: str | Path | None = None,
    plugins: Paths = (),
    strict_plugins: bool = False,
    trust: bool = False,
    device: str = "auto",
    overwrite: bool = False,
    allow: Names = (),
    evaluate: bool = True,
    until: int | None = None,
) -> Run:
    """Train a spec into a run folder, or go on with the run that is there; then evaluate it.

    Does what `slotlab train` does: progress and warnings on stderr, checkpoints, figures. Ctrl-C saves and
    stops; the same call goes on from there. A run that is trained already is evaluated alone.

    >>> import slotlab
    >>> short = {"training.phases": [{"steps": 2, "lr": 1e-3}], "data.dataset.num_train": 8}
    >>> run = slotlab.train("slotlab:demo", short, evaluate=False)
    >>> run.state, run.step
    ('done', 2)

    Args:
        spec: a file, `slotlab:NAME` for a spec that comes with slotlab, or what `load_spec` returned.
        settings: other settings by dotted path, such as `{"training.batch_size": 16}`.
        run: the run's folder; `runs/NAME-ID` without it, which the settings determine.
        plugins: single-file plugins to load besides those that the spec names.
        strict_plugins: fail if an installed plugin cannot be loaded.
        trust: run code that came with another user's run (docs/explanation/trust.md).
        device: `auto`, `cpu`, `cuda` or `cuda:N`. A script that `torchrun` starts trains on several.
        overwrite: delete a run that is there and train anew.
        allow: settings that may differ from those of the run that is there.
        evaluate: evaluate after training, and draw figures.
        until: save after this step and end, before the evaluation; a later call goes on from there.

    Returns:
        The run, opened.

    Raises:
        SpecError: with every mistake of the spec.
        TrainingStopped: after Ctrl-C, with what was saved.
        SlotlabError: if the folder is taken, data is not there, or training fails.
    """
    chosen = as_spec(spec, settings, plugins=plugins, strict_plugins=strict_plugins, trust=trust)
    result = train_loaded(
        chosen.loaded,
        None if run is None else Path(run),
        device=device,
        overwrite=overwrite,
        allow=names_of(allow),
        then_evaluate=evaluate,
        until=until,
    )
    return open_run(result["run"], device=device)


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
    until: int | None = None,
) -> dict[str, Any]:
    """Load a spec, print its warnings, train it, and return what `print_result` shows."""
    prepared = prepare(name, sets=sets, plugins=plugins, strict_plugins=strict_plugins, trust=trust)
    warn(prepared.warnings)
    return train_loaded(
        prepared.loaded,
        folder,
        device=device,
        overwrite=overwrite,
        allow=allow,
        then_evaluate=then_evaluate,
        until=until,
    )


def train_loaded(
    loaded: LoadedSpec,
    folder: Path | None,
    *,
    device: str,
    overwrite: bool,
    allow: Sequence[str],
    then_evaluate: bool,
    until: int | None = None,
) -> dict[str, Any]:
    """Train, evaluate unless told not to, and return what `print_result` shows."""
    chosen = choose_device(device)
    path = folder or default_folder(loaded, RUNS)
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
                until=until,
            )
        except TrainingHalted as halted:
            display.stop()
            say_first(str(halted))
            return {"run": str(path), "status": "stopped", "figures": []}
        finally:
            display.stop()
        result: dict[str, Any] = {"run": str(run.path), "status": run.read_status()["state"]}
        result["cost"] = run.read_cost()
        curves = [str(run.figures / f"{name}.png") for name in ("learning_rate", "loss")]
        if then_evaluate and not can_reconstruct(loaded.spec):
            warn([NOTHING.format(loaded.spec.model.name)])
        elif then_evaluate:
            result |= evaluate_folder(run, loaded, [own_condition(loaded)], device)[0]
            trackers.evaluated(result)
        result["figures"] = [*curves, *result.get("figures", ())]
    return result


def say_first(text: str) -> None:
    """Print a line on stderr, in the first of several processes."""
    if is_first():
        say(text)


def memory_in_use(device: torch.device) -> int | None:
    """Return the bytes that torch holds on a GPU; None for another device."""
    return torch.cuda.memory_reserved() if device.type == "cuda" else None
