"""Probes a run, with a progress bar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.progress import Progress, TaskID

from slotlab.framework.api.console import warn
from slotlab.framework.api.evaluating import check_conditions, open_folder, wanted_of
from slotlab.framework.api.frames import as_frame
from slotlab.framework.api.progress import open_bar
from slotlab.framework.jobs.probe import probe_run, table
from slotlab.framework.jobs.train import Prepared, choose_device
from slotlab.framework.plugin_loading.trust import Ask
from slotlab.framework.probing.settings import ProbeSettings
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.errors import dotted
from slotlab.framework.spec.messages import say as in_words
from slotlab.registry import SlotlabError

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, repr=False)
class ProbeOfRun:
    """What a probe found, and where it was written."""

    folder: Path
    summary: Mapping[str, Any]
    """As `summary.json` holds it (docs/how_to/probing.md)."""

    def frame(self) -> "DataFrame":
        """Return one row per method, attribute, matching and head, as `probe.csv` holds them.

        Raises:
            SlotlabError: if pandas is not installed.
        """
        return as_frame(table(self.summary))

    def value(self, metric: str, method: str = "model") -> float | None:
        """Return the accuracy or R^2 of a metric such as `shape_linear_mask`.

        Raises:
            SlotlabError: if there is no such metric or method.
        """
        found = self.summary["methods"].get(method, {})
        if metric not in found:
            methods = ", ".join(self.summary["methods"])
            known = ", ".join(self.summary["metrics"])
            raise SlotlabError(f"there is no '{metric}' of '{method}' (methods: {methods}; metrics: {known})")
        mean: float | None = found[metric]["mean"]
        return mean

    def __repr__(self) -> str:
        means = {name: one["mean"] for name, one in self.summary["methods"]["model"].items()}
        numbers = (f"{name} {'-' if mean is None else f'{mean:.3f}'}" for name, mean in means.items())
        return f"{self.summary['probe']}: {', '.join(numbers)}"


CONDITIONS = ("protocol", "split", "fit_split", "masks")
"""Options of a probe that say which images are probed, and how; the others are its settings."""


def probe_path(
    path: Path, options: Mapping[str, Any], *, sets: Sequence[str], trust: Ask, device: str
) -> dict[str, Any]:
    """Probe a run's folder, write the results, and return the summary with the folder.

    Raises:
        SlotlabError: if it is no run, and for what cannot be probed.
    """
    probe_settings(options)  # before the work
    run, prepared = open_folder(path, sets=sets, plugins=(), trust=trust)
    return probe_folder(run, prepared, options, device=device)


def probe_settings(options: Mapping[str, Any]) -> ProbeSettings:
    """Return the settings among the options of a probe; what is None keeps its default.

    Raises:
        SlotlabError: for settings that there are not, or whose values cannot be.
    """
    given = {name: value for name, value in options.items() if name not in CONDITIONS and value is not None}
    try:
        return ProbeSettings.model_validate(given)
    except ValidationError as error:
        lines = [f"probe: {dotted(one['loc'])}: {in_words(one)}" for one in error.errors(include_url=False)]
        raise SlotlabError("\n".join(lines)) from None


def probe_folder(
    run: RunFolder, prepared: Prepared, options: Mapping[str, Any], *, device: str
) -> dict[str, Any]:
    """Probe an opened run; see `probe_path`."""
    settings, (protocol, split, fit_split, masks) = probe_settings(options), map(options.get, CONDITIONS)
    if masks == "both":
        raise SlotlabError("--masks both: a probe matches by masks of one source; write decoder or attention")
    wanted = wanted_of([] if protocol is None else [protocol], [], split, masks)
    [condition] = check_conditions(prepared, wanted)
    display = ProbeDisplay(open_bar("probe"))
    try:
        return probe_run(
            run,
            prepared.loaded,
            replace(condition, sources=condition.sources[:1]),
            settings,
            fit_split=fit_split,
            device=choose_device(device),
            found=display.found,
            report=display.fitting,
            warn=lambda text: warn([text]),
        )
    finally:
        if display.bar.live.is_started:  # else it would print an empty line
            display.bar.stop()


@dataclass
class ProbeDisplay:
    """Shows on stderr how far a probe is."""

    bar: Progress
    task: TaskID | None = None

    def found(self, done: int, total: int) -> None:
        """Show how many images' slots are found."""
        if self.task is None:
            self.bar.start()
            self.task = self.bar.add_task("probe", total=total, facts="slots")
        self.bar.update(self.task, completed=done)

    def fitting(self, what: str) -> None:
        """Show which head is fitted."""
        if self.task is not None:
            self.bar.update(self.task, facts=f"fit: {what}")
