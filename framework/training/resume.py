"""Going on with a training: the run's folder, if it holds the same run, and its last checkpoint."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.runs.metrics_log import MetricsLog
from slotlab.framework.runs.provenance import components
from slotlab.framework.spec.identity import flatten
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.plain import PATH, has_effect, leaves
from slotlab.framework.spec.tree import parse
from slotlab.framework.training.rates import have_changed
from slotlab.registry import SlotlabError

_SHOWN = 12


@dataclass(frozen=True)
class Start:
    """Where a training begins: a new folder, or a checkpoint of one that was there."""

    run: RunFolder
    saved: Mapping[str, Any] | None
    notes: Sequence[str]
    """What the user should know."""


def open_run(loaded: LoadedSpec, folder: Path, *, overwrite: bool, allow: Sequence[str] = ()) -> Start:
    """Create a run's folder, or take up the run that is in it.

    Args:
        loaded: the spec to train.
        folder: the run's.
        overwrite: delete a run that is there.
        allow: paths of settings that may differ from the run's, such as `training.phases`.

    Raises:
        SlotlabError: if the folder holds something else, or a run whose settings differ from
            the spec's.
    """
    run = RunFolder(folder)
    create = partial(RunFolder.create, folder, loaded.spec, plugins=loaded.registry.files)
    if overwrite or not run.spec.is_file() or run.is_begun():
        return Start(create(overwrite=overwrite), None, ())
    run.clear_leavings()
    changed = [line for path, line in differences(run, loaded) if not is_allowed(path, allow)]
    if changed:
        lines = [f"{folder} holds a run with other settings:", *changed[:_SHOWN]]
        if len(changed) > _SHOWN:
            lines.append(f"and {len(changed) - _SHOWN} more")
        lines.append("give --allow PATH to go on all the same, --overwrite to train it again, or --run DIR")
        raise ChangedSettingsError(lines)
    checkpoints = run.checkpoints
    found, complaints = checkpoints.newest_whole()
    if found is None:
        refuse_to_lose(run, complaints)
        run = create(overwrite=True)
        return Start(run, None, (f"{folder}: no checkpoint to go on from; starting anew",))
    one, saved = found
    notes = [f"{complaint}; going on from the checkpoint before it" for complaint in complaints]
    run.write_spec(loaded.spec, loaded.registry.files)
    notes += MetricsLog(run.metrics).restore(saved)
    checkpoints.settle(one, saved.get("best"), keep=loaded.spec.training.checkpoint.keep)
    run.failure.unlink(missing_ok=True)
    if have_changed(saved, loaded.spec):
        saved["new_rates"] = True
    done = run.read_status().get("state") == "done"
    state = f"{folder} goes on from step {saved['step']}"
    if done and not allow:
        state = f"{folder} is trained already; give --overwrite to train it anew"
    return Start(run, saved, (*notes, state))


def refuse_to_lose(run: RunFolder, complaints: Sequence[str]) -> None:
    """Refuse to start a run anew that was trained: what it needs to go on may be elsewhere, or mended.

    Raises:
        SlotlabError: if it has checkpoints, none of which can be read, or has had some.
    """
    if not (complaints or run.has_saved()):
        return
    state = run.read_status().get("state", "of unknown state")
    missing = f"it has saved checkpoints, and none is in {run.checkpoints.folder} any more"
    ways = "put them back, give --overwrite to delete it and train it again, or --run DIR for another folder"
    raise SlotlabError(
        f"{run.path} holds a run ({state}) that cannot be gone on with: {'; '.join(complaints) or missing}. "
        f"Nothing was changed; {ways}"
    )


class ChangedSettingsError(SlotlabError):
    """The settings of a run and of the spec that should go on with it differ."""

    def __init__(self, lines: Sequence[str]):
        self._lines = list(lines)
        super().__init__("\n".join(lines))

    def lines(self) -> list[str]:
        """One line for each difference, between what is wrong and what can be done."""
        return self._lines


def differences(run: RunFolder, loaded: LoadedSpec) -> Iterator[tuple[str, str]]:
    """Yield (path, line) for each setting and component by which a run differs from a spec."""
    # The run's spec is read as plain data: its copies of plugin files must not be imported beside
    # the files that they are copies of.
    before = dict(leaves(read_plain(run.spec)))
    now = dict(leaves(loaded.spec.model_dump(mode="json")))
    files = {path for path, value in flatten(loaded.spec) if value == PATH}
    chosen = dict(leaves(loaded.spec.model_dump(mode="json", exclude_defaults=True)))
    for path in dict.fromkeys((*before, *now)):
        new = path not in before and path not in chosen  # a setting of a newer slotlab, at its default
        if before.get(path) != now.get(path) and path not in files and has_effect(path) and not new:
            was, becomes = (show(settings.get(path)) for settings in (before, now))
            yield path, f"{path}: {was} before, {becomes} now"
    used = {(item["kind"], item["name"]): item for item in run.read_provenance().get("components", ())}
    for item in components(loaded):
        old = used.get((item["kind"], item["name"]), item)
        for fact in ("version", "source"):
            file = "@" in str(item["source"])  # a file's source names its content; a package's its version
            if old[fact] != item[fact] and (fact == "version" or file):
                path = f"components.{item['kind']}.{item['name']}"
                yield path, f"{path}: {fact} {old[fact]} before, {item[fact]} now"


def read_plain(path: Path) -> Any:
    """Return a spec file as plain data, numbers as slotlab reads them."""
    return parse(path.read_text(encoding="utf-8"), origin=str(path), folder=path.parent).plain()


def is_allowed(path: str, allow: Sequence[str]) -> bool:
    """Return whether a path is one of `allow`, or under one."""
    return any(path == one or path.startswith(f"{one}.") for one in allow)


def show(value: Any) -> str:
    """Write a setting that may not be there."""
    return "nothing" if value is None else str(value)
