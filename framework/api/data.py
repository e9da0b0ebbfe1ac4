"""What `slotlab.data` offers: datasets looked at, packed and rendered, and slots of runs packed."""

from pathlib import Path
from typing import Any, cast

from slotlab.framework.api.consent import consent
from slotlab.framework.api.extracting import extract_slots
from slotlab.framework.api.fetching import fetch_planned, plan_fetch
from slotlab.framework.api.given import Names, Paths, names_of, paths_of
from slotlab.framework.api.inspecting import inspect_data
from slotlab.framework.api.packing import pack_target, verify_store
from slotlab.framework.api.rendering import render_scenes
from slotlab.framework.api.settings import Settings, assignments
from slotlab.framework.api.transfer import local_run
from slotlab.framework.contracts import Field


def inspect(
    what: str | Path,
    settings: Settings | None = None,
    *,
    protocol: str | None = None,
    split: str | None = None,
    sheet: str | Path | None = None,
    workers: int | None = None,
    plugins: Paths = (),
    trust: bool = False,
) -> dict[str, Any]:
    """Count, measure and check data, or a packed store, as `slotlab data inspect` does.

    >>> import slotlab
    >>> found = slotlab.data.inspect("slotlab:demo", {"data.dataset.num_val": 4}, split="val", workers=0)
    >>> found["splits"]["val"]["images"], found["problems"]
    (4, [])

    Args:
        what: a spec, a folder or file of data, or the folder of a store.
        settings: other settings of the spec, by dotted path.
        protocol: in place of the spec's or the usual one.
        split: the one split to read.
        sheet: where to draw a contact sheet, as PNG.
        workers: processes that read; None for one on each core.
        fields: `flow` and `depth`: what is packed beside each picture, for losses that read it.
        plugins: single-file plugins to load.
        trust: run code that came with another user's run (docs/explanation/trust.md).

    Raises:
        SlotlabError: if the data is not there or not as the settings say. What is wrong with single files is
            under `problems`.
    """
    return inspect_data(
        str(what),
        protocol=protocol,
        split=split,
        sets=assignments(settings),
        plugins=paths_of(plugins, "a plugin"),
        trust=consent(given=trust),
        sheet=None if sheet is None else Path(sheet),
        workers=workers,
    )


def fetch(name: str, folder: str | Path, *parts: str, plugins: Paths = ()) -> dict[str, Any]:
    """Fetch the published files of a dataset into a folder, as `slotlab data fetch --yes` does.

    What is there already is not fetched again, and a file that came in part is gone on with. Archives are
    unpacked where the dataset reads their contents.

    >>> import slotlab
    >>> try:
    ...     slotlab.data.fetch("obj3d", "obj3d")
    ... except slotlab.SlotlabError as error:
    ...     print(str(error)[:38])
    obj3d cannot be fetched: its 7 GB are

    Args:
        name: of the dataset, such as `clevrtex`.
        folder: where the files go.
        parts: which of its files, such as `outd`; the usual ones without any.
        plugins: single-file plugins to load.

    Returns:
        `files`: address, bytes, SHA-256 of each, and whether it was unpacked.

    Raises:
        SlotlabError: for a dataset without public addresses (with what to do by hand), an address that does
            not answer, a wrong checksum, and a disk that is full.
    """
    plan = plan_fetch(name, Path(folder), parts, paths_of(plugins, "a plugin"))
    return fetch_planned(plan)


def pack(
    what: str | Path,
    settings: Settings | None = None,
    *,
    splits: Names = (),
    protocol: str | None = None,
    stores: str | Path | None = None,
    on_error: str | None = None,
    workers: int | None = None,
    fields: Names = (),
    plugins: Paths = (),
    trust: bool = False,
) -> dict[str, Any]:
    """Decode, crop and resize data once, into stores that trainings read, as `slotlab data pack` does.

    Args:
        what: a spec, or a folder or file of data.
        settings: other settings of the spec, by dotted path.
        splits: those to pack; none for the spec's, or all that the data has.
        protocol: in place of the spec's.
        stores: the folder of stores; None for what the spec says.
        on_error: `fail` or `skip`: what to do about broken pictures; None for what the spec says.
        workers: processes that read; None for one on each core.
        fields: `flow` and `depth`: what is packed beside each picture, for losses that read it.
        plugins: single-file plugins to load.
        trust: run code that came with another user's run (docs/explanation/trust.md).

    Returns:
        The facts of each store, under `stores`.

    Raises:
        SlotlabError: if the data is not there, or pictures are broken and are not to be skipped.
    """
    return pack_target(
        str(what),
        splits=names_of(splits),
        workers=workers,
        on_error=on_error,
        stores=None if stores is None else Path(stores),
        protocol=protocol,
        sets=assignments(settings),
        plugins=paths_of(plugins, "a plugin"),
        trust=consent(given=trust),
        fields=as_fields(fields),
    )


def verify(
    what: str | Path,
    settings: Settings | None = None,
    *,
    protocol: str | None = None,
    stores: str | Path | None = None,
    fields: Names = (),
    plugins: Paths = (),
    trust: bool = False,
) -> dict[str, Any]:
    """Read packed stores whole and compare their checksums, as `slotlab data verify` does.

    Args:
        what: the folder of a store, or what it was packed from.
        settings: other settings of the spec, by dotted path.
        protocol: in place of the spec's.
        stores: the folder of stores; None for what the spec says.
        fields: `flow` and `depth`: whose stores are read too.
        plugins: single-file plugins to load.
        trust: run code that came with another user's run (docs/explanation/trust.md).

    Returns:
        The facts of each store, under `stores`, each with its `problems`.

    Raises:
        SlotlabError: if there is no store, or it is out of date.
    """
    return verify_store(
        str(what),
        stores=None if stores is None else Path(stores),
        protocol=protocol,
        sets=assignments(settings),
        plugins=paths_of(plugins, "a plugin"),
        trust=consent(given=trust),
        fields=as_fields(fields),
    )


def as_fields(names: Names) -> tuple[Field, ...]:
    """Return the names of fields; whoever receives them checks them."""
    return cast("tuple[Field, ...]", tuple(names_of(names)))


def extract(
    run: str | Path,
    settings: Settings | None = None,
    *,
    data: str | Path | None = None,
    split: str | None = None,
    checkpoint: str | int | None = None,
    stores: str | Path | None = None,
    device: str = "auto",
    plugins: Paths = (),
    trust: bool = False,
) -> dict[str, Any]:
    """Find the slots of clips once by a trained run, into a store, as `slotlab extract` does.

    Args:
        run: the folder or address of a run of a model with slots.
        settings: other settings of the spec of the data, by dotted path.
        data: the spec whose clips are meant, that of a `slot_dynamics`; None for the run's own.
        split: in place of the spec's `data.train_split`.
        checkpoint: `last`, `best` or a step; None for the last one.
        stores: the folder of stores; None for what the spec says.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        plugins: single-file plugins to load.
        trust: run code that came with another user's run (docs/explanation/trust.md).

    Returns:
        The facts of the store.

    Raises:
        SlotlabError: if the run has no slots, or takes other images, or the data has no such clips.
    """
    return extract_slots(
        local_run(run),
        data=None if data is None else str(data),
        split=split,
        checkpoint=None if checkpoint is None else str(checkpoint),
        stores=None if stores is None else Path(stores),
        sets=assignments(settings),
        plugins=paths_of(plugins, "a plugin"),
        trust=consent(given=trust),
        device=device,
    )


def render(
    out: str | Path,
    *,
    count: int = 1000,
    variant: str = "full",
    size: tuple[int, int] = (320, 240),
    seed: int = 0,
    start: int = 0,
    workers: int | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Write generated scenes as CLEVRTex is on disk, as `slotlab data render` does; those there stay.

    >>> import slotlab
    >>> slotlab.data.render("made", count=2, size=(32, 24), device="cpu")["written"]
    2

    Args:
        out: the folder that will hold `clevrtex_<variant>`.
        count: how many scenes.
        variant: `full`, `outd`, `camo`, `pbg`, `vbg` or `grassbg`.
        size: columns and rows of the pictures.
        seed: of the scenes.
        start: the number of the first scene.
        workers: threads that write files; None for one on each core.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        SlotlabError: for settings that are not possible, or a folder with other scenes.
    """
    return render_scenes(
        Path(out),
        count=count,
        variant=variant,
        size="x".join(map(str, size)),
        seed=seed,
        device=device,
        start=start,
        workers=workers,
    )
