"""Start a training in a run's folder, or resume the same run from its newest checkpoint."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from slotlab.framework.runs.checkpoints import Checkpoint
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.runs.metrics_log import MetricsLog
from slotlab.framework.runs.provenance import components
from slotlab.framework.spec.identity import file_settings
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.plain_settings import has_effect, leaves
from slotlab.framework.spec.tree import parse
from slotlab.framework.training.learning_rates import have_changed
from slotlab.framework.training.watching import forget_after
from slotlab.registry import SlotlabError

_SHOWN = 12


@dataclass(frozen=True)
class Start:
    """Where a training starts: in a new run, or at a checkpoint of an existing one."""

    run: RunFolder
    saved: Mapping[str, Any] | None
    notes: Sequence[str]
    """Messages for the user."""


def open_run(loaded: LoadedSpec, folder: Path, *, overwrite: bool, allow: Sequence[str] = ()) -> Start:
    """Create a run's folder, or resume the run that is in it.

    Args:
        loaded: the spec to train.
        folder: of the run.
        overwrite: delete an existing run.
        allow: paths of settings that may differ from the run's, such as `training.phases`.

    Raises:
        SlotlabError: if the folder holds something else, or a run with other settings than the spec.
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
    found, complaints = run.checkpoints.newest_whole()
    if found is None:
        refuse_to_lose(run, complaints)
        run = create(overwrite=True)
        return Start(run, None, (f"{folder}: no checkpoint to go on from; starting anew",))
    return resume(run, loaded, *found, complaints, allow)


def resume(
    run: RunFolder,
    loaded: LoadedSpec,
    newest: Checkpoint,
    saved: dict[str, Any],
    complaints: Sequence[str],
    allow: Sequence[str],
) -> Start:
    """Return the start from a run's newest intact checkpoint, and bring the run's files in step with it.

    `complaints` are about damaged newer checkpoints.
    """
    notes = [f"{complaint}; going on from the checkpoint before it" for complaint in complaints]
    run.write_spec(loaded.spec, loaded.registry.files)
    notes += MetricsLog(run.metrics).restore(saved)
    run.checkpoints.settle(newest, saved.get("best"), keep=loaded.spec.training.checkpoint.keep)
    run.failure.unlink(missing_ok=True)
    forget_after(run, saved["step"])
    if have_changed(saved, loaded.spec):
        saved["new_rates"] = True
    done = run.read_status().get("state") == "done"
    state = f"{run.path} goes on from step {saved['step']}"
    if done and not allow:
        state = f"{run.path} is trained already; give --overwrite to train it anew"
    return Start(run, saved, (*notes, state))


def refuse_to_lose(run: RunFolder, complaints: Sequence[str]) -> None:
    """Refuse to restart a trained run whose checkpoints are gone or damaged, since they may be recovered.

    Raises:
        SlotlabError: if it has checkpoints, none of which can be read, or once had some.
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
    """The settings of a run and of the spec that should resume it differ."""

    def __init__(self, lines: Sequence[str]):
        self._lines = list(lines)
        super().__init__("\n".join(lines))

    def lines(self) -> list[str]:
        """Return the problem, one line per difference, and the remedies."""
        return self._lines


def differences(run: RunFolder, loaded: LoadedSpec) -> Iterator[tuple[str, str]]:
    """Yield (path, message) for each setting and component in which a run differs from a spec."""
    # The run's spec is read as plain data, so that its copies of plugin files are not imported beside the
    # original files.
    before = dict(leaves(read_plain(run.spec)))
    now = dict(leaves(loaded.spec.model_dump(mode="json")))
    files = file_settings(loaded.spec)
    chosen = dict(leaves(loaded.spec.model_dump(mode="json", exclude_defaults=True)))
    for path in dict.fromkeys((*before, *now)):
        new = path not in before and path not in chosen  # added by a newer slotlab, at its default
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
    """Return a spec file as plain data, with numbers as slotlab parses them."""
    return parse(path.read_text(encoding="utf-8"), origin=str(path), folder=path.parent).plain()


def is_allowed(path: str, allow: Sequence[str]) -> bool:
    """Return whether a path is in `allow`, or below a path in it."""
    return any(path == one or path.startswith(f"{one}.") for one in allow)


def show(value: Any) -> str:
    """Return a setting as text; `nothing` if it is missing."""
    return "nothing" if value is None else str(value)
