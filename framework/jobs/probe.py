"""Probe a run's slots: heads fitted on the training split and tested on the evaluated one, and their files.

A probe lies in RUN/probe/NAME: summary.json (of the shape of an evaluation's, by which runs are compared),
probe.csv and images.csv; docs/how_to/probing.md describes them. NAME ends in a hash of the checkpoint, the
images and the settings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from slotlab.framework.contracts.dataset_settings import is_rendered, picture_size_of
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.loaders import evaluation_loader
from slotlab.framework.data.preparation import Preparation
from slotlab.framework.evaluation.conditions import Condition
from slotlab.framework.evaluation.result_folders import binding
from slotlab.framework.evaluation.rows import Evaluation, as_csv
from slotlab.framework.evaluation.trained_run import Ready
from slotlab.framework.jobs.evaluate import open_subject
from slotlab.framework.jobs.summary import facts
from slotlab.framework.probing.attributes import Move
from slotlab.framework.probing.images import check_slots, find_images
from slotlab.framework.probing.probe import Parts, ProbeResult, run_probe
from slotlab.framework.probing.set_prediction import THRESHOLDS
from slotlab.framework.probing.settings import ProbeSettings
from slotlab.framework.randomness.seeds import permutation
from slotlab.framework.runs.folder import IMAGES, MODEL, SUMMARY, RunFolder
from slotlab.framework.runs.measurement import digest, pictures_of, settings_of
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.atomic import replaced_together
from slotlab.framework.system.json_files import to_json
from slotlab.framework.system.privacy import nameless_data
from slotlab.registry import SlotlabError

PROBE = "probe.csv"
"""In the folder of a probe: one row per method, attribute, matching and head."""
NO_SIZE = (
    "it lies in pixels of the picture's file, whose size the dataset does not tell (picture_size): it cannot "
    "be brought through the protocol's crop"
)
_SHARE = 5
"""At most one fitted image in so many is one that stops the fitting."""


@dataclass(frozen=True)
class ProbePlan:
    """Which images are read: positions in their splits."""

    fit: list[int]
    validation: list[int]
    test: range


def probe_run(
    run: RunFolder,
    loaded: LoadedSpec,
    condition: Condition,
    settings: ProbeSettings,
    *,
    fit_split: str | None = None,
    device: torch.device,
    found: Callable[[int, int], None] = lambda done, total: None,
    report: Callable[[str], None] = lambda what: None,
    warn: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Probe a run's weights under a condition, and write the results; return the summary with its folder.

    Args:
        run: the run's folder.
        loaded: its spec.
        condition: of the test; heads are fitted under the same one.
        settings: of the probe.
        fit_split: the split that heads are fitted on; the trained one without it.
        device: where slots are found. Heads are fitted on the CPU.
        found: called with (images whose slots are found, images in all).
        report: called with a few words before each fit.
        warn: called with a sentence for each oddity of the data.

    Raises:
        SlotlabError: if there are no weights or no slots, and for data that cannot be probed.
    """
    spec = condition.spec
    split = fit_split or spec.data.train_split
    if split == spec.evaluation.split:
        text = f"heads would be fitted and tested on the split '{split}'"
        raise SlotlabError(f"{text}; choose another with --split or --fit-split")
    subject = open_subject(run, loaded, device)
    ready = subject.ready(condition)
    check_slots(spec, ready.model)
    try:
        # Of videos, each frame is a picture: heads read the slots of one.
        loader = replace(evaluation_loader(spec, ready.engine.placement, split), clips=None)
    except PathProblem as problem:
        raise condition.loaded.error([problem]) from None
    for text in dict.fromkeys((*loader.selection.notes, *ready.loader.selection.notes)):
        warn(text)
    plan = plan_images(len(loader.dataset), len(ready.loader.dataset), settings, split)
    parts = find_parts(ready, loader, plan, settings, found)
    result = run_probe(parts, settings, move_of(spec), report)
    source = condition.sources[0]
    heading = facts(subject, ready, source) | told(ready, plan, loader, settings, split)
    name = f"{condition.name(source)}-{hash_of(heading)}"
    summary = {**heading, "probe": name, "seed": spec.seed, **numbers(result)}
    write(run, name, summary, result)
    return {**summary, "folder": str(run.probe(name))}


def plan_images(there: int, tested: int, settings: ProbeSettings, split: str) -> ProbePlan:
    """Choose the images: fitted ones by the probe's seed, tested ones from the beginning.

    Raises:
        SlotlabError: if there are too few.
    """
    validation = min(settings.validation_images, there // _SHARE)
    if validation < 2 or tested < 2:
        least = 2 * _SHARE
        text = f"a probe needs at least {least} images to fit on and 2 to test on"
        raise SlotlabError(f"{text}; the split '{split}' has {there}, the tested one {tested}")
    order = permutation(there, seed=settings.seed, epoch=0)
    fitted = min(settings.fit_images, there - validation)
    return ProbePlan(
        fit=sorted(order[validation : validation + fitted]),
        validation=sorted(order[:validation]),
        test=range(min(settings.images, tested)),
    )


def find_parts(
    ready: Ready,
    loader: Loader,
    plan: ProbePlan,
    settings: ProbeSettings,
    found: Callable[[int, int], None],
) -> Parts:
    """Find the slots of all images."""
    total = len(plan.fit) + len(plan.validation) + len(plan.test)
    done = 0

    def count(images: int) -> None:
        nonlocal done
        done += images
        found(done, total)

    spec = ready.condition.spec
    each = [(loader, plan.fit), (loader, plan.validation), (ready.loader, plan.test)]
    return Parts(*(find_images(spec, ready.model, one, list(at), settings, count) for one, at in each))


def move_of(spec: ExperimentSpec) -> Move | str:
    """Return what brings a place in a picture's file to the model's image, or why it is not known."""
    config = spec.data.dataset.config
    if is_rendered(config):
        return lambda column, row: (column, row)
    size = picture_size_of(config)
    if size is None:
        return NO_SIZE
    preparation, (columns, rows) = Preparation.of(spec.data.settings), size
    return lambda column, row: preparation.moved(column, row, (rows, columns))


def told(
    ready: Ready, plan: ProbePlan, loader: Loader, settings: ProbeSettings, split: str
) -> dict[str, Any]:
    """Return what the summary says of images and settings, in place of an evaluation's own facts."""
    return {
        "images": len(plan.test),
        "max_images": binding(settings.images, len(ready.loader.dataset)),
        "metrics": {},
        "baselines": [],
        "composition": None,
        "fit": {
            "split": split,
            "images": len(plan.fit),
            "validation_images": len(plan.validation),
            "data": dict(loader.selection.facts),
        },
        "settings": settings.model_dump(mode="json"),
    }


def hash_of(heading: Mapping[str, Any]) -> str:
    """Return a hash of all that decides about a probe's numbers, besides the weights."""
    fit = {name: value for name, value in heading["fit"].items() if name != "data"}
    return digest(settings_of(heading), pictures_of(heading), heading["settings"], fit)


def numbers(result: ProbeResult) -> dict[str, Any]:
    """Return the results as the summary holds them."""
    measured = Evaluation(result.rows, {})
    methods = {
        method: {name: measured.summary(result.metrics)[method][name] for name in result.metrics}  # type: ignore[arg-type]
        for method in result.rows
    }
    return {
        "metrics": result.metrics,
        "methods": methods,
        "set_metrics": set_metrics(result),
        "attributes": {one.name: one.facts() for one in result.attributes},
        "attributes_left_out": dict(result.attributes_left_out),
        "left_out": dict(result.left_out),
        "fits": result.fits,
    }


def set_metrics(result: ProbeResult) -> dict[str, dict[str, Any]]:
    """Return the average precision at each distance, with those of the floors."""
    precisions = result.precisions
    if MODEL not in precisions:
        return {}
    settings = next(iter(result.metrics.values()))["settings"]
    return {
        name: {
            "version": 1,
            "settings": settings,
            "higher_is_better": True,
            "bounds": [0.0, 1.0],
            "value": value,
            "distance": None if at == float("inf") else at,
            "floors": {method: one[name] for method, one in precisions.items() if method != MODEL},
        }
        for (name, value), at in zip(precisions[MODEL].items(), THRESHOLDS, strict=True)
    }


def write(run: RunFolder, name: str, summary: Mapping[str, Any], result: ProbeResult) -> None:
    """Write a probe's files, in place of an earlier same one."""
    files = {
        IMAGES: Evaluation(result.rows, {}).to_csv().encode(),
        PROBE: as_csv(table(summary)).encode(),
        SUMMARY: to_json(nameless_data(summary)),
    }
    with replaced_together(run.probe(name), files, last=SUMMARY):
        pass


def table(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per method, attribute, matching and head, and per method and distance."""
    about = {name: summary[name] for name in ("run", "seed", "dataset", "split", "protocol", "step")}
    rows = [
        {
            **about,
            "method": method,
            **{key: metric[key] for key in ("attribute", "measure", "matching", "head")},
            "value": found[name]["mean"],
            "images": found[name]["count"],
        }
        for method, found in summary["methods"].items()
        for name, metric in summary["metrics"].items()
    ]
    for name, one in summary["set_metrics"].items():
        for method, value in {MODEL: one["value"], **one["floors"]}.items():
            rows.append({**about, "method": method, "attribute": "set", "measure": name, "value": value})
    return rows
