"""What of a run is sent: the files that it needs, without what is private."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slotlab.framework.plugin_loading.plugin_copies import FOLDER as PLUGINS
from slotlab.framework.runs.checkpoints import Checkpoint
from slotlab.framework.runs.folder import SAMPLES, SUMMARY, RunFolder
from slotlab.framework.runs.json_shapes import Means, checked
from slotlab.framework.spec.tree import dump
from slotlab.framework.system.json_files import fault, parse_json, read_file, to_json
from slotlab.framework.system.privacy import nameless_data
from slotlab.framework.transfer.clean_checkpoint import clean_checkpoint
from slotlab.framework.transfer.clean_png import clean_png
from slotlab.framework.transfer.manifest import Entry, Manifest, digest, folder_name, hash_file, may_travel
from slotlab.framework.transfer.private import Privacy
from slotlab.registry import SlotlabError

RECORDS = ("provenance.json", "status.json", "metrics.jsonl", "cost.json")
MEASURED, DRAWN = ("evaluation", "probe"), ("figures", "compositions")
LAST, BEST = "last", "best"


@dataclass(frozen=True)
class Choice:
    """What of a run is sent."""

    checkpoints: Sequence[str | int] = ()
    """`best`, `last` or steps; without any, the one that the spec's evaluation names."""
    evaluations: bool = True
    """Whether evaluations and probes go along."""
    figures: bool = True
    """Whether pictures go along: figures, compositions and the samples of evaluations."""
    code_as_is: bool = False
    """Whether plugins are sent although names or paths are in their code."""


@dataclass(frozen=True)
class Item:
    """A file to send: its content in memory, or a file of the run that is sent as it is."""

    entry: Entry
    data: bytes | None = None
    path: Path | None = None

    @classmethod
    def of(cls, content: bytes | Path) -> "Item":
        """Return what is to be sent."""
        if isinstance(content, bytes):
            return cls(Entry(digest(content), len(content)), data=content)
        return cls(hash_file(content), path=content)

    def read(self) -> bytes:
        """Return the content."""
        return self.data if self.data is not None else Path(self.path or "").read_bytes()


@dataclass
class Contents:
    """The files of a run as they are sent, by name, and what is to be said of them."""

    name: str
    run_id: str = ""
    items: dict[str, Item] = field(default_factory=dict)
    records: dict[str, Any] = field(default_factory=dict)
    """Specs, summaries and other records as clean data, by the names of their files."""
    notes: list[str] = field(default_factory=list)
    """Messages: what was left out or changed."""
    steps: dict[str, int] = field(default_factory=dict)
    """The steps of the checkpoints, by their files' names."""

    @property
    def manifest(self) -> Manifest:
        """The list of the files."""
        return Manifest(self.name, self.run_id, {name: item.entry for name, item in self.items.items()})

    @property
    def order(self) -> list[str]:
        """The names in the order of sending: what makes a folder a run comes last."""
        return sorted(self.items, key=lambda name: (name == "spec.yaml", name))


def contents_of(run: RunFolder, choice: Choice) -> Contents:
    """Return the files of a run that are sent.

    Raises:
        SlotlabError: if the run is being trained, has no such checkpoint, or cannot be read; and for code
            that holds something private.
    """
    if run.read_state() == "running":
        raise SlotlabError(f"{run.path} is being trained; push it when the training has ended")
    spec = run.read_spec()
    privacy = Privacy.of_process(known=words_of(nameless_data(spec)))
    contents = Contents(folder_name(privacy.text(run.path.absolute().name)))
    _add_checkpoints(contents, run, spec, choice, privacy)
    record(contents, "spec.yaml", privacy.data(spec), dump(privacy.data(spec)).encode())
    _add_code(contents, run, choice, privacy)
    wanted = [*(MEASURED if choice.evaluations else ()), *(DRAWN if choice.figures else ())]
    found = [run.path / name for name in RECORDS if (run.path / name).is_file()]
    found += [path for name in wanted for path in sorted((run.path / name).rglob("*")) if path.is_file()]
    left_out: list[str] = []
    for path in found:
        name = path.relative_to(run.path).as_posix()
        if not choice.figures and (path.suffix == ".png" or SAMPLES in path.parts[len(run.path.parts) :]):
            continue
        if not may_travel(name) or privacy.text(name) != name or not _add(contents, name, path, privacy):
            left_out.append(name)
    if strange := [name for name in left_out if not name.endswith(".pdf")]:
        contents.notes.append(f"not sent: {', '.join(map(privacy.text, strange))}")
    contents.run_id = str(contents.records.get("provenance.json", {}).get("run_id") or "")
    return contents


def words_of(spec: Any) -> set[str]:
    """Return the words of a spec: names of settings, and values of one word, such as names of components."""
    if isinstance(spec, Mapping):
        return {str(key) for key in spec}.union(*map(words_of, spec.values()))
    if isinstance(spec, list):
        return set().union(*map(words_of, spec))
    return {spec} if isinstance(spec, str) and re.fullmatch(r"[\w.-]+", spec) else set()


def record(contents: Contents, name: str, data: Any, content: bytes) -> None:
    """Add a file whose content is also kept as data."""
    contents.records[name] = data
    contents.items[name] = Item.of(content)


def _add(contents: Contents, name: str, path: Path, privacy: Privacy) -> bool:
    """Add a file without what is private; return False for one of a kind that is not sent."""
    suffix = path.suffix
    if suffix not in (".json", ".jsonl", ".csv", ".png"):
        return False
    content = read_file(path)
    if content is None:  # gone since it was listed
        return False
    if suffix == ".png":
        contents.items[name] = Item.of(clean_png(content, path))
    elif suffix == ".csv":
        contents.items[name] = Item.of(_clean_csv(content, privacy))
    elif suffix == ".jsonl":
        lines = [_parsed(line, f"{path}, line {i}") for i, line in enumerate(content.split(b"\n")[:-1], 1)]
        clean = "".join(json.dumps(privacy.data(line), allow_nan=False) + "\n" for line in lines)
        contents.items[name] = Item.of(clean.encode())
    else:
        data = privacy.data(_parsed(content, str(path)))
        record(contents, name, data, to_json(data))
    return True


def _parsed(content: bytes, where: str) -> Any:
    try:
        return parse_json(content)
    except (ValueError, RecursionError) as error:
        raise SlotlabError(f"{where}: {fault(error)}") from None


def _clean_csv(content: bytes, privacy: Privacy) -> bytes:
    rows = csv.reader(io.StringIO(content.decode(errors="replace"), newline=""))
    out = io.StringIO(newline="")
    ending = "\r\n" if b"\r\n" in content else "\n"
    csv.writer(out, lineterminator=ending).writerows([privacy.text(cell) for cell in row] for row in rows)
    return out.getvalue().encode()


def _add_code(contents: Contents, run: RunFolder, choice: Choice, privacy: Privacy) -> None:
    """Add the copies of plugins, byte for byte: their hashes are recorded, and known to who trusts them."""
    for path in sorted((run.path / PLUGINS).rglob("*")):
        name = path.relative_to(run.path).as_posix()
        if not path.is_file() or not may_travel(name):
            continue
        content = read_file(path) or b""
        found = None if choice.code_as_is else privacy.found(content)
        if found is not None:
            line, what = found
            raise SlotlabError(
                f"{path}:{line}: {what!r} would leave with the code of this plugin, which is sent unchanged "
                "or not at all; nothing was sent. Give --code-as-is if it may be seen"
            )
        contents.items[name] = Item.of(content)


def _add_checkpoints(
    contents: Contents, run: RunFolder, spec: dict[str, Any], choice: Choice, privacy: Privacy
) -> None:
    """Add checkpoints, and let the spec's evaluation name one of them."""
    evaluation: dict[str, Any] = spec.setdefault("evaluation", {})
    own = evaluation.get("checkpoint", LAST)
    wanted = list(choice.checkpoints) or [own]
    best = run.checkpoints.best()
    for which in dict.fromkeys(wanted):
        one = _checkpoint(run, which)
        clean = clean_checkpoint(one, privacy)
        name = f"checkpoints/{clean.name}"
        contents.items[name] = Item.of(clean.path if clean.data is None else clean.data)
        contents.steps[clean.name] = clean.step
        if clean.data is not None:
            text = "something private was in it, so that it has another hash than the run's"
            contents.notes.append(f"{name}: {text}")
        if best is not None and one.path == best.path:
            facts = {**(run.checkpoints.best_facts() or {}), "file": clean.name}
            record(contents, "checkpoints/best.json", privacy.data(facts), to_json(privacy.data(facts)))
    if own not in wanted:
        evaluation["checkpoint"] = wanted[0]
        contents.notes.append(f"the sent spec evaluates the checkpoint that was sent: {wanted[0]}, not {own}")


def _checkpoint(run: RunFolder, which: str | int) -> Checkpoint:
    if which == LAST:
        found, complaints = run.checkpoints.newest_whole()
        if found is None:
            damage = f"; {'; '.join(complaints)}" if complaints else ""
            raise SlotlabError(f"{run.path} has no checkpoint to push{damage}; train it first")
        return found[0]
    if which == BEST:
        best = run.checkpoints.best()
        if best is None:
            text = "push the last one (--checkpoint last), or see training.checkpoint.best"
            raise SlotlabError(f"{run.path} has no best checkpoint; {text}")
        return best
    return run.checkpoints.of_step(int(which))


def summaries_of(contents: Contents) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield name and summary of each evaluation that is sent."""
    for name, data in sorted(contents.records.items()):
        parts = name.split("/")
        if len(parts) == 3 and parts[0] == "evaluation" and parts[2] == SUMMARY:
            with suppress(SlotlabError):  # one of another shape is sent, and not shown
                yield parts[1], checked(Means, data, name)
