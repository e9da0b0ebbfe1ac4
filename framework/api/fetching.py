"""Published data fetched: what `slotlab.data.fetch` and the command `data fetch` do."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from slotlab.framework.api.console import error_console, warn
from slotlab.framework.contracts.sources import Downloads, HasDownloads, Source
from slotlab.framework.data.downloads.fetching import Wanted, fetch_all, look, sources_of
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.registry import SlotlabError
from slotlab.registry.component import suggest


@dataclass(frozen=True)
class FetchPlan:
    """What would be fetched into a folder."""

    name: str
    folder: Path
    files: tuple[Wanted, ...]
    by_hand: str
    """What has to be done by hand besides; may be empty."""

    @property
    def sources(self) -> list[Source]:
        """The files."""
        return [one.source for one in self.files]

    @property
    def missing(self) -> int:
        """Bytes that are to come, as far as their number is known."""
        return sum(one.missing or 0 for one in self.files)

    @property
    def unknown(self) -> int:
        """How many files are to come whose size is not known beforehand."""
        return sum(one.missing is None for one in self.files)

    @property
    def complete(self) -> bool:
        """Whether nothing is to be done."""
        return all(one.state == "there" for one in self.files)

    @property
    def free(self) -> int:
        """Bytes that are free on the folder's disk."""
        place = self.folder.absolute()
        while not place.exists():
            place = place.parent
        return shutil.disk_usage(place).free


def plan_fetch(name: str, folder: Path, parts: Sequence[str], plugins: Sequence[Path]) -> FetchPlan:
    """Return what would be fetched; nothing is, and no server is asked.

    Raises:
        SlotlabError: for a name without published files, and parts that do not exist.
    """
    found = downloads_of(name, plugins)
    return FetchPlan(name, folder, tuple(look(sources_of(name, found, parts), folder)), found.by_hand)


def downloads_of(name: str, plugins: Sequence[Path]) -> Downloads:
    """Return what a dataset says of its published files.

    Raises:
        SlotlabError: if there is no such dataset, or it says nothing.
    """
    registry = load_registry(plugins)
    found = [registry.find("dataset", one) for one in registry.names("dataset")]
    known = {item.component.name: item.component.config for item in found if item is not None}
    sourced = sorted(key for key, config in known.items() if isinstance(config, HasDownloads))
    if name not in known:
        hint = suggest(name, known)
        raise SlotlabError(f"there is no dataset '{name}'{hint}; to fetch: {', '.join(sourced)}")
    config = known[name]
    if not isinstance(config, HasDownloads):
        text = f"'{name}' says of no place where its data is published"
        raise SlotlabError(f"{text}; to fetch: {', '.join(sourced)}")
    return config.downloads


def fetch_planned(plan: FetchPlan) -> dict[str, Any]:
    """Fetch and unpack what is missing, with a progress bar on stderr; return facts of each file.

    Raises:
        SlotlabError: if a file cannot be fetched, is not the expected one, or does not fit on the disk.
    """
    with open_transfer() as bar:
        tasks: dict[str, TaskID] = {}

        def report(source: Source, done: int, total: int | None) -> None:
            if source.file not in tasks:
                tasks[source.file] = bar.add_task(source.file, total=total)
            bar.update(tasks[source.file], completed=done, total=total)

        found = fetch_all(plan.sources, plan.folder, report=report, warn=lambda text: warn([text]))
    return {"dataset": plan.name, "folder": str(plan.folder), "files": found, "by_hand": plan.by_hand}


def open_transfer() -> Progress:
    """Return a progress bar for files that come over the network."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=error_console(),
    )
