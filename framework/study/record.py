"""A run's record in the index: JSON data from its folder, and the facts that filters can name."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from slotlab.framework.runs.folder import MODEL, SUMMARY, RunFolder
from slotlab.framework.runs.measurement import is_own
from slotlab.framework.spec.plain_settings import leaves
from slotlab.framework.study.run_status import Glance, glance
from slotlab.registry import SlotlabError


def run_folders(folder: Path) -> list[Path]:
    """Return the run folders in a folder."""
    return sorted(path.parent for path in folder.glob("*/spec.yaml"))


def signature(path: Path) -> str:
    """Return a text that changes when a run's small files do: their names, sizes and times."""
    run = RunFolder(path)
    marks = []
    for file in run.records():
        try:
            found = file.stat()
        except OSError:
            continue
        marks.append([file.relative_to(path).as_posix(), found.st_size, found.st_mtime_ns])
    return json.dumps(marks)


def read_record(path: Path) -> dict[str, Any]:
    """Return a run's record: JSON data, with the reason if the run cannot be read."""
    now = glance(path, None)
    if now.state != "damaged":
        try:
            return _record(path, now)
        except SlotlabError as error:
            now = Glance("damaged", str(error))
        except OSError as error:
            now = Glance("damaged", f"{error.filename or path}: {error.strerror or error}")
    # The index outlives the working folder, to which paths may be relative.
    now = replace(now, reason=now.reason.replace(f"{path}/", ""))
    bare = {"run_id": None, "name": None, "seed": None, "seconds": None}
    nothing: dict[str, Any] = {"metrics": {}, "evaluations": {}, "settings": {}}
    return {"run": path.name, **bare, **_standing(now), **nothing}


def _standing(now: Glance) -> dict[str, Any]:
    passing = ("metrics", "seconds_left", "watched", "picture")
    return {key: value for key, value in now.to_json(()).items() if key not in passing}


def _record(path: Path, now: Glance) -> dict[str, Any]:
    run = RunFolder(path)
    spec = run.read_spec()
    newest: dict[str, Any] = {}
    evaluations = {}
    summaries = run.read_summaries()
    # The last one counts: the evaluation that the spec declares, else the newest.
    order = {name: (is_own(one, spec), written(run.evaluation(name))) for name, one in summaries.items()}
    for name, summary in sorted(summaries.items(), key=lambda item: order[item[0]]):
        means = {key: one.get("mean") for key, one in summary.get("methods", {}).get(MODEL, {}).items()}
        evaluations[name] = means
        newest |= means
    return {
        "run": path.name,
        "run_id": run.read_provenance().get("run_id"),
        "name": spec["name"],
        "seed": spec.get("seed", 0),
        **_standing(now),
        "seconds": run.read_cost().get("seconds"),
        "metrics": newest,
        "evaluations": evaluations,
        "settings": dict(leaves(spec)),
    }


def written(evaluation: Path) -> int:
    """Return when an evaluation was written, in nanoseconds; 0 if it has no summary."""
    try:
        return (evaluation / SUMMARY).stat().st_mtime_ns
    except OSError:
        return 0


def facts(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of all facts of a run."""
    nested = ("metrics", "evaluations", "settings")
    settings = {name: value for name, value in record["settings"].items() if name not in record}
    yield from ((name, value) for name, value in record.items() if name not in nested)
    yield from settings.items()
    yield from record["metrics"].items()
    for evaluation, means in record["evaluations"].items():
        yield from ((f"{evaluation}/{name}", value) for name, value in means.items())
