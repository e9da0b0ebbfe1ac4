"""Diagnose a run: measure its masks on the images of its evaluation, say how slots fail, and draw it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from slotlab.framework.contracts import MaskSource
from slotlab.framework.data.pixels import to_uint8
from slotlab.framework.diagnosis.findings import THRESHOLDS, Finding, Thresholds, findings
from slotlab.framework.diagnosis.measures import MaskMeasures, measure_masks
from slotlab.framework.evaluation.conditions import Condition
from slotlab.framework.evaluation.evaluate import outcomes_of, reconstructions
from slotlab.framework.evaluation.trained_run import Ready
from slotlab.framework.figures.diagnosis import ShownImage, draw_diagnosis
from slotlab.framework.jobs.evaluate import open_subject
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.load import LoadedSpec
from slotlab.registry import SlotlabError

SHOWN = 4
"""Images in the figure."""


@dataclass(frozen=True, kw_only=True)
class Diagnosed:
    """What was found of one run."""

    run: Path
    step: int
    masks: MaskSource
    measures: MaskMeasures
    findings: tuple[Finding, ...]
    figure: Path


@dataclass(frozen=True)
class _Seen:
    """Of all images."""

    masks_BKHW: Tensor
    labels_BHW: Tensor
    true_BHW: Tensor | None
    shown: Sequence[ShownImage]


def diagnose_run(
    run: RunFolder,
    loaded: LoadedSpec,
    condition: Condition,
    *,
    images: int,
    device: torch.device,
    limits: Thresholds = THRESHOLDS,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Diagnosed:
    """Measure the masks of a run's weights, and draw what they show into its folder of figures.

    Args:
        run: the run's folder.
        loaded: its spec.
        condition: under which it is evaluated; masks are those of its first source.
        images: how many images of the split are looked at, at most.
        device: where the model runs.
        limits: from where on a measure counts as a failure.
        report: called with (images done, images in all).

    Raises:
        SlotlabError: if there are no weights, or the model has no masks of that source.
    """
    subject = open_subject(run, loaded, device)
    ready, source = subject.ready(condition), condition.sources[0]
    seen = _look(ready, source, images, report)
    found = measure_masks(seen.masks_BKHW, seen.labels_BHW, seen.true_BHW)
    said = findings(found, limits)
    stem = run.path / "figures" / f"diagnosis-{condition.name(source)}"
    title = f"{run.path.name}, step {subject.weights.step}: {said[0].what}"
    draw_diagnosis(seen.shown, seen.masks_BKHW.mean(dim=0).numpy(), stem, title=title)
    return Diagnosed(
        run=run.path,
        step=subject.weights.step,
        masks=source,
        measures=found,
        findings=said,
        figure=stem.with_suffix(".png"),
    )


def _look(ready: Ready, source: MaskSource, images: int, report: Callable[[int, int], None]) -> _Seen:
    spec = ready.condition.spec
    given = spec.evaluation.max_images
    limit = images if given is None else min(given, images)
    measured = spec.model_copy(
        update={"evaluation": spec.evaluation.model_copy(update={"max_images": limit})}
    )
    masks, labels, true = [], [], []
    shown: list[ShownImage] = []
    loader = replace(ready.loader, rank=0, processes=1)
    for _, batch, made in reconstructions(measured, ready.model, loader, report):
        outcome = outcomes_of(measured, made, batch, (source,))[source]
        if outcome.masks_BKHW is None or outcome.predicted_BHW is None:
            raise SlotlabError(f"the model '{spec.model.name}' has no masks of the {source} to diagnose")
        masks.append(outcome.masks_BKHW.float().cpu())
        labels.append(outcome.predicted_BHW.cpu())
        if outcome.true_BHW is not None:
            true.append(outcome.true_BHW.cpu())
        images_BHWC = to_uint8(outcome.images_BCHW, spec.data.bounds).permute(0, 2, 3, 1).cpu().numpy()
        known_BHW = true[-1].numpy() if true else [None] * len(images_BHWC)
        rows = zip(images_BHWC, known_BHW, labels[-1].numpy(), masks[-1].numpy(), strict=True)
        shown += [ShownImage(*row) for row in islice(rows, SHOWN - len(shown))]
    return _Seen(torch.cat(masks), torch.cat(labels), torch.cat(true) if true else None, shown)
