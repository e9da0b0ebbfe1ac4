"""Runs sent to an address and fetched from one: `slotlab.push`, `slotlab.pull`, runs named by addresses."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from slotlab.framework.api.console import warn
from slotlab.framework.api.given import paths_of
from slotlab.framework.transfer.address import is_address
from slotlab.registry.errors import SlotlabError


def push(
    run: Any,
    address: str | Path,
    *,
    checkpoint: str | int | Sequence[str | int] = (),
    evaluations: bool = True,
    figures: bool = True,
    license: str | None = None,  # noqa: A002 - the Hub's word
    public: bool = False,
    code_as_is: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Send a run to a folder, the Hugging Face Hub, S3 or a machine with SSH, as `slotlab push` does.

    What is private stays: paths, names of users and hosts, tokens (docs/how_to/sharing.md). After an
    interruption the same call goes on.

    >>> import slotlab
    >>> sent = slotlab.push("runs/demo", "shared/demo", figures=False)
    >>> run = slotlab.open_run(slotlab.pull("shared/demo"))
    >>> run.state
    'done'

    Args:
        run: a run's folder, or what `train` or `open_run` returned.
        address: a folder, or an address: `hf://OWNER/NAME`, `s3://BUCKET/FOLDER`, `ssh://HOST/FOLDER`,
            `file://` or `memory://`.
        checkpoint: `best`, `last`, a step, or several; without it, the one that the spec's evaluation names.
        evaluations: whether evaluations and probes go along.
        figures: whether pictures go along.
        license: of the weights, for the card, such as `apache-2.0`.
        public: whether a new repository on the Hub is public.
        code_as_is: whether plugins are sent although names or paths are in their code.
        overwrite: whether to replace what lies there.

    Returns:
        Address, name, files and bytes of what was sent, and notes.

    Raises:
        SlotlabError: for what cannot be sent, and a place that is taken or cannot be reached.
    """
    from slotlab.framework.runs.folder import RunFolder
    from slotlab.framework.transfer.contents import Choice
    from slotlab.framework.transfer.push import open_store, push_run

    [path] = paths_of(run, "a run")
    steps = [checkpoint] if isinstance(checkpoint, str | int) else list(checkpoint)
    choice = Choice(tuple(map(_checkpoint, steps)), evaluations, figures, code_as_is)
    store = open_store(str(address), public=public)
    with _bar("push") as report:
        done = push_run(
            RunFolder.open(path), store, choice, license_=license, overwrite=overwrite, report=report
        )
    warn(done.contents.notes)
    return {
        "address": done.address,
        "name": done.contents.name,
        "files": len(done.contents.items),
        "bytes": sum(item.entry.size for item in done.contents.items.values()),
        "sent": done.sent,
        "checkpoints": done.contents.steps,
        "notes": list(done.contents.notes),
    }


def pull(address: str | Path, folder: str | Path | None = None) -> Path:
    """Fetch a run that was pushed, and return its folder, as `slotlab pull` does.

    What arrives is compared with the hashes that were pushed with it. Its code is run only if it is known or
    allowed (docs/explanation/trust.md). After an interruption the same call goes on.

    >>> import slotlab
    >>> slotlab.push("runs/demo", "shared/demo", figures=False)["name"]
    'demo'
    >>> slotlab.pull("shared/demo", "runs/again").name
    'again'

    Args:
        address: where `push` has sent it.
        folder: where it is to lie; a place in the user's cache without it, by content.

    Raises:
        SlotlabError: if no run is there, it cannot be reached, or a file is not as it was pushed.
    """
    from slotlab.framework.transfer.pull import pull_run
    from slotlab.framework.transfer.push import open_store

    store = open_store(str(address))
    with _bar("pull") as report:
        return pull_run(store, None if folder is None else Path(folder), report)


def next_command(run: Path) -> str:
    """Return the command that evaluates a fetched run; `FOLDER` stands where one's own data is to be named.

    Raises:
        SlotlabError: if its spec cannot be read.
    """
    import shlex

    from slotlab.framework.runs.folder import RunFolder
    from slotlab.framework.transfer.card import given_data

    return f"slotlab evaluate {shlex.quote(str(run))}{given_data(RunFolder.open(run).read_spec())}"


def local_run(given: str | Path) -> Path:
    """Return the folder of a run that was given by its path or an address; one at an address is fetched.

    Raises:
        SlotlabError: as `pull`.
    """
    return pull(given) if isinstance(given, str) and is_address(given) else Path(given)


def local_runs(given: Any, what: str = "a run") -> list[Path]:
    """Return folders of what was given as `given.paths_of` does; runs at addresses are fetched.

    Raises:
        SlotlabError: as `pull`, and for what is no path.
    """
    if isinstance(given, str):
        return [local_run(given)]
    if (
        isinstance(given, Iterable)
        and not isinstance(given, PathLike)
        and not isinstance(getattr(given, "path", None), Path)
    ):
        return [path for one in given for path in local_runs(one, what)]
    return paths_of(given, what)


def _checkpoint(given: str | int) -> str | int:
    text = str(given)
    if text in ("best", "last"):
        return text
    if not (text.isdecimal() and int(text[:18]) > 0):
        raise SlotlabError(f"--checkpoint {text}: write best, last or the step of a checkpoint")
    return int(text)


@contextmanager
def _bar(what: str) -> Iterator[Any]:
    """Show on stderr how much is sent or fetched, once there is something to wait for."""
    from slotlab.framework.api.progress import open_bar

    bar = open_bar(what)
    task = bar.add_task(what, total=None, facts="")

    def report(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total, facts=f"{done / 1e6:.1f} of {total / 1e6:.1f} MB")

    try:
        yield report
    finally:
        if bar.live.is_started:
            bar.stop()
