"""An evaluation in a run's folder, as data to compare. Large parts are read on demand."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slotlab.framework.runs.folder import IMAGES, MODEL, SUMMARY, SUMMARY_FORMAT
from slotlab.framework.runs.json_shapes import Summary, checked
from slotlab.framework.runs.measurement import LAST, checkpoint_name
from slotlab.framework.system.json_files import read_file, read_json
from slotlab.registry import SlotlabError


@dataclass(frozen=True)
class EvaluationRecord:
    """One evaluation of a run: its protocol, data and results."""

    folder: Path
    facts: Mapping[str, Any]
    """The summary without `methods`, `breakdowns` and `published`, which `summary` reads."""
    values: Mapping[str, float | None]
    """The model's mean of each metric, and the value of each set metric; None where undefined."""
    higher_is_better: Mapping[str, bool]
    beside: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    """The means of what was measured beside the model, such as trivial baselines, by method and metric."""

    @property
    def name(self) -> str:
        """The folder's name, DATASET[-VARIANT]-SPLIT-PROTOCOL-MASKS."""
        return self.folder.name

    @property
    def dataset(self) -> str:
        """The dataset with its variant, such as `clevrtex-outd`."""
        variant = self.facts.get("variant")
        return f"{self.facts['dataset']}-{variant}" if variant else str(self.facts["dataset"])

    @property
    def split(self) -> str:
        """The split that was evaluated."""
        return str(self.facts["split"])

    @property
    def protocol(self) -> str:
        """The protocol's name, with the settings that were changed."""
        return str(self.facts["protocol"])

    @property
    def mask_source(self) -> str:
        """`decoder` or `attention`."""
        return str(self.facts["mask_source"])

    @property
    def checkpoint(self) -> str:
        """The checkpoint that was evaluated: `last`, `best` or `step 300`."""
        return checkpoint_name(self.facts.get("checkpoint", LAST))

    @property
    def changes(self) -> Mapping[str, Any]:
        """The settings of data and slots, by path, in which the evaluation differs from the run's spec."""
        found: Mapping[str, Any] = self.facts.get("changes") or {}
        return found

    @property
    def bounds(self) -> Mapping[str, tuple[float | None, float | None]]:
        """The least and greatest value of each metric that has bounds; None for a missing bound."""
        metrics = self.facts.get("metrics", {})
        return {name: tuple(item["bounds"]) for name, item in metrics.items() if item.get("bounds")}

    @property
    def versions(self) -> Mapping[str, str]:
        """The version and settings of each metric and set metric, such as `version 1, threshold 0.7`."""
        every = {**self.facts.get("metrics", {}), **self.facts.get("set_metrics", {})}
        return {name: version_of(item) for name, item in every.items()}

    def summary(self) -> dict[str, Any]:
        """Read the whole summary, including `methods`, `breakdowns` and `published`."""
        return read_json(self.folder / SUMMARY)

    @property
    def breakdowns(self) -> dict[str, list[dict[str, Any]]]:
        """The metrics by number of objects and by the other groupings of the summary, read on each access."""
        found: dict[str, list[dict[str, Any]]] = self.summary().get("breakdowns", {})
        return found

    def rows(self) -> list[dict[str, str]]:
        """Read the model's rows, one per image, in the order of the split.

        Raises:
            SlotlabError: if the file is missing or damaged.
        """
        path = self.folder / IMAGES
        content = read_file(path)
        if content is None:
            raise SlotlabError(f"{path} is missing; evaluate the run again with 'slotlab evaluate'")
        try:
            table = csv.DictReader(io.StringIO(content.decode(), newline=""))
            rows = [row for row in table if row.get("method") == MODEL]
        except (UnicodeDecodeError, csv.Error) as error:
            raise SlotlabError(f"{path}: this is not a table that slotlab wrote ({error})") from None
        if lacking := {"id", "method"} - set(table.fieldnames or ()):
            raise SlotlabError(f"{path}: the table has no column '{min(lacking)}'")
        if any(None in row or None in row.values() for row in rows):
            raise SlotlabError(f"{path}: a row has more or fewer cells than the table has columns")
        if len(rows) != self.facts["images"]:
            counts = f"{len(rows)} images, and the summary beside it has {self.facts['images']}"
            raise SlotlabError(f"{path}: it has {counts}; evaluate the run again")
        return rows


def version_of(metric: Mapping[str, Any]) -> str:
    """Return a metric's version and the settings that are not defaults, in words."""
    version = f"version {metric['version']}" if "version" in metric else "an unknown version"
    settings = (f"{name} {value}" for name, value in sorted(metric.get("settings", {}).items()))
    return ", ".join([version, *settings, *composition_of(metric)])


def composition_of(metric: Mapping[str, Any]) -> list[str]:
    """Return in words what a set metric compared: how many pictures, from which slots; empty for others."""
    made = metric.get("composition")
    if not isinstance(made, Mapping):
        return []
    library, clusters = made.get("library") or {}, made.get("clusters") or {}
    sizes = clusters.get("sizes")
    words = [f"{metric.get('images')} pictures against {metric.get('real_images')}"]
    words.append(f"slots of {library.get('images')} images of {library.get('split')}")
    return [*words, *([f"{len(sizes)} clusters"] if sizes is not None else [])]


def load_evaluation(folder: Path) -> EvaluationRecord:
    """Read the summary of one evaluation.

    Raises:
        SlotlabError: if it is not a summary of this format.
    """
    path = folder / SUMMARY
    summary = read_json(path)
    if summary.get("format") != SUMMARY_FORMAT:
        text = f"this summary has format {summary.get('format', 1)}, and format {SUMMARY_FORMAT} is needed"
        raise SlotlabError(f"{path}: {text}; evaluate the run again with 'slotlab evaluate'")
    dropped = {"methods", "breakdowns", "published"}
    try:
        checked(Summary, summary, path)
        model, sets = summary["methods"][MODEL], summary.get("set_metrics", {})
        directions = {**summary["metrics"], **sets}
        higher = {name: bool(directions[name]["higher_is_better"]) for name in (*model, *sets)}
    except KeyError as error:
        raise SlotlabError(f"{path}: it has no '{error.args[0]}'; evaluate the run again") from None
    except SlotlabError as error:
        raise SlotlabError(f"{error}; evaluate the run again") from None
    means = {name: item["mean"] for name, item in model.items()}
    return EvaluationRecord(
        folder=folder,
        facts={name: value for name, value in summary.items() if name not in dropped},
        values={**means, **{name: item["value"] for name, item in sets.items()}},
        higher_is_better=higher,
        beside={
            method: {name: item["mean"] for name, item in found.items()}
            for method, found in summary["methods"].items()
            if method != MODEL
        },
    )
