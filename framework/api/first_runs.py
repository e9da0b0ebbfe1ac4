"""Trains the runs that the arms of an ablation share, before the ablation itself is read."""

from collections.abc import Sequence
from pathlib import Path

from slotlab.framework.api.console import say
from slotlab.framework.jobs.train import prepare, remember
from slotlab.framework.plugin_loading.trust import Ask
from slotlab.framework.spec.merge import Option
from slotlab.framework.study.first_runs import first_run
from slotlab.framework.study.folder import StudyFolder
from slotlab.framework.study.launching import LauncherContext
from slotlab.framework.study.load import read_head
from slotlab.framework.study.run_study import Conductor
from slotlab.registry import SlotlabError


def with_launcher(sets: Sequence[str], launcher: str | None) -> list[str]:
    """Return assignments with that of `--launcher` before them, if one is named."""
    chosen = [] if launcher is None else [Option(f"launcher={launcher}", f"--launcher {launcher}")]
    return [*chosen, *sets]


def train_first(
    name: str | Path,
    studies: Path,
    *,
    sets: Sequence[str],
    plugins: Sequence[Path],
    strict_plugins: bool,
    trust: Ask,
    launcher: str | None,
    device: str,
) -> None:
    """Train what an ablation names under `first` and is not there, one after the other.

    Raises:
        SpecError: with every mistake of the ablation's own sections, or of such a spec.
        SlotlabError: if a run fails, or its folder holds another one.
    """
    _, _, _, spec = read_head(
        name, sets=with_launcher(sets, launcher), plugins=plugins, strict_plugins=strict_plugins
    )
    study = StudyFolder(studies / f"{spec.name}-first")
    for one in spec.first:
        loaded = prepare(one.spec, plugins=plugins, strict_plugins=strict_plugins, trust=trust).loaded
        run = first_run(one, loaded.spec, study)
        if run.is_there:
            continue
        remember(loaded)
        started = spec.launcher.build(LauncherContext(folder=study.path.absolute(), name=spec.name))
        conductor = Conductor(study, started, spec.retries, say, device)
        conductor.conduct([run])
        if conductor.failures:
            [reason] = conductor.failures.values()
            raise SlotlabError(f"{run.folder} could not be trained, which the arms need: {reason}")
