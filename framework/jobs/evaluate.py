"""Evaluate a run's weights under conditions: rows, summaries and figures in the run's folder.

An evaluation lies in RUN/evaluation/NAME: summary.json, images.csv, objects.csv, codes.csv and samples/. The
name is DATASET[-VARIANT]-SPLIT-PROTOCOL-MASKS and what `places.py` adds; docs/reference/evaluation.md
describes the files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from slotlab.framework.composition.composer import Composer
from slotlab.framework.composition.evaluate import (
    NOTHING,
    CompositionResult,
    ReportStage,
    evaluate_composition,
    silent,
)
from slotlab.framework.contracts import MaskSource
from slotlab.framework.evaluation.conditions import Condition
from slotlab.framework.evaluation.evaluate import evaluate_masks
from slotlab.framework.evaluation.result_folders import Place, Places
from slotlab.framework.evaluation.rows import Evaluation, as_csv
from slotlab.framework.evaluation.trained_run import Ready, Subject
from slotlab.framework.figures.evaluation import Evaluated, draw_evaluation
from slotlab.framework.figures.samples import INDEX
from slotlab.framework.jobs.saved_masks import discard_masks, write_masks
from slotlab.framework.jobs.summary import facts, summarize_run
from slotlab.framework.runs.folder import IMAGES, MODEL, SAMPLES, SUMMARY, UNFINISHED, RunFolder
from slotlab.framework.runs.measurement import LAST, changed_words, clip_words
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.system.atomic import is_content, replaced_together, write_atomically
from slotlab.framework.system.json_files import to_json
from slotlab.framework.system.privacy import nameless_data


def run_evaluations(
    run: RunFolder,
    loaded: LoadedSpec,
    wanted: Sequence[Condition],
    *,
    device: torch.device,
    figures: bool = True,
    masks: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
    composing: ReportStage = silent,
    warn: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Evaluate a run's weights under conditions; write rows, summaries, samples and figures.

    Everything is opened before anything is measured. With several processes each measures its share of
    the images, and the first one writes. `masks` also writes the masks (see `saved_masks`). `report` is
    called with (images done, images in all), `composing` with the progress of composed pictures, `warn`
    with a sentence for each oddity of the data.

    Returns:
        The summaries as written, one per condition and source of masks, with `figures_left_out`. None of
        them replaces a different evaluation: that one is kept beside it.

    Raises:
        SlotlabError: if there are no weights, they do not fit, or data is missing.
    """
    subject = open_subject(run, loaded, device)
    ready = [subject.ready(condition) for condition in wanted]
    for text in dict.fromkeys(text for one in ready for text in one.loader.selection.notes):
        warn(text)
    job = EvaluationJob(subject, Places.of(run, loaded), figures, masks, composing)
    total, done = sum(one.images for one in ready), 0
    summaries: list[dict[str, Any]] = []
    for one in job.named(ready):
        images = one.ready.images
        summaries += job.evaluate(
            one, report=OverallProgress(report, done, images, total, subject.engine.processes)
        )
        done += images
    return summaries


def open_subject(run: RunFolder, loaded: LoadedSpec, device: torch.device) -> Subject:
    """Read a run's weights; the first process tidies the folder and notes plugins that were replaced.

    Raises:
        SlotlabError: if there are no weights.
    """
    subject = Subject.open(run, loaded, device)
    if subject.engine.is_first:
        run.clear_leavings()
        if loaded.replaced:
            run.note_replaced(loaded.replaced)
    return subject


@dataclass(frozen=True)
class OverallProgress:
    """Turns one process's progress in one condition into the progress of all of them in all conditions."""

    report: Callable[[int, int], None]
    before: int
    """Images of the conditions before."""
    images: int
    """Images of this condition, over all processes."""
    total: int
    processes: int

    def __call__(self, done: int, total: int) -> None:
        """Report; `done` are the images of this process."""
        self.report(self.before + min(done * self.processes, self.images), self.total)


@dataclass(frozen=True)
class NamedCondition:
    """A condition that is ready to be measured, with the names of its evaluations."""

    ready: Ready
    facts: Mapping[MaskSource, dict[str, Any]]
    """By the source of masks, what each summary says before anything is measured."""
    place: Place


@dataclass(frozen=True)
class EvaluationJob:
    """What the evaluations of one call have in common."""

    subject: Subject
    places: Places
    figures: bool
    masks: bool
    composing: ReportStage

    def named(self, ready: Sequence[Ready]) -> list[NamedCondition]:
        """Choose the names of all evaluations, before the first one writes masks.

        The first process chooses for all: the others may find the folder as it is later.
        """
        known = [
            {source: facts(self.subject, one, source) for source in one.condition.sources} for one in ready
        ]
        places = self.subject.engine.from_first(
            [
                self.places.take(one.condition, each, one.loader.total)
                for one, each in zip(ready, known, strict=True)
            ]
        )
        return [NamedCondition(*item) for item in zip(ready, known, places, strict=True)]

    def evaluate(self, named: NamedCondition, *, report: Callable[[int, int], None]) -> list[dict[str, Any]]:
        """Measure under one condition and write the results; return a summary for each source of masks."""
        ready, run = named.ready, self.subject.run
        first = ready.condition.spec.evaluation.from_frame
        found = evaluate_masks(
            ready.condition.spec,
            ready.model,
            ready.loader,
            ready.metrics,
            ready.condition.sources,
            gather=ready.engine.gather,
            report=report,
            keep=partial(write_masks, run, named.place, first) if self.masks else discard_masks,
        )
        composed = self.compose(ready) if ready.engine.is_first else NOTHING
        return [self.finish(named, source, found[source], composed) for source in found]

    def compose(self, ready: Ready) -> CompositionResult:
        """Make and measure the pictures that the spec declares; one process does it for all."""
        subject = self.subject
        loaded, step = ready.condition.loaded, subject.weights.step
        composer = Composer(loaded, ready.engine, ready.model, step, run=subject.run)
        return evaluate_composition(composer, self.composing)

    def finish(
        self, named: NamedCondition, source: MaskSource, evaluation: Evaluation, composed: CompositionResult
    ) -> dict[str, Any]:
        """Return the summary; the first process writes the evaluation's files."""
        ready = named.ready
        heading = {
            **named.facts[source],
            "evaluation": named.place.name(source),
            "changes": self.places.changes(ready.condition.spec, ready.loader.total),
            **self.places.revision(named.place, source, named.facts[source]),
        }
        summary = summarize_run(ready, heading, evaluation, composed)
        if not ready.engine.is_first:
            return summary
        self.places.clear(named.place, source, summary, masks=self.masks)
        return {**summary, "figures_left_out": self.write(named, source, evaluation, summary)}

    def write(
        self, named: NamedCondition, source: MaskSource, evaluation: Evaluation, summary: dict[str, Any]
    ) -> dict[str, str]:
        """Write an evaluation's files; return the figures that were left out, and why.

        A summary that is there guarantees that the files beside it are of the same call. It holds
        `unfinished` until its figures are drawn.
        """
        folder = self.subject.run.evaluation(named.place.name(source))
        shared = nameless_data(summary)
        objects = as_csv(evaluation.objects).encode() if evaluation.objects else None
        codes = evaluation.codes.to_csv().encode() if evaluation.codes else None
        tables = {IMAGES: evaluation.to_csv().encode(), "objects.csv": objects, "codes.csv": codes}
        finished = to_json(shared)
        unfinished = to_json({**shared, UNFINISHED: "its figures are being drawn"})
        stale: dict[str, bytes | None] = {}
        if self.figures or not is_content(folder / SUMMARY, finished):  # samples show these very numbers
            stale = {f"{SAMPLES}/{INDEX}": None}
        files = {**stale, **tables, SUMMARY: unfinished if self.figures else finished}
        with replaced_together(folder, files, last=SUMMARY):
            pass
        if not self.figures:
            return {}
        left_out = self.draw(named, source, evaluation, summary)
        write_atomically(folder / SUMMARY, finished)
        return left_out

    def draw(
        self, named: NamedCondition, source: MaskSource, evaluation: Evaluation, summary: Mapping[str, Any]
    ) -> dict[str, str]:
        """Draw figures and samples; return those that were left out, and why."""
        ready, run, place = named.ready, self.subject.run, named.place
        shown = Evaluated(
            name=place.name(source),
            composed_name=place.composed if source == ready.condition.sources[0] else None,
            otherwise=remarks(place, summary),
            loaded=ready.condition.of(source),
            engine=ready.engine,
            model=ready.model,
            step=self.subject.weights.step,
            loader=ready.loader,
            rows=evaluation.rows[MODEL],
            metrics=ready.metrics,
            codes=evaluation.codes,
            by_frame=evaluation.by_frame,
        )
        return draw_evaluation(
            shown, figures=run.figures, samples=run.evaluation(place.name(source)) / SAMPLES
        )


def remarks(place: Place, summary: Mapping[str, Any]) -> str:
    """Return what titles must add because the evaluation's name does not contain it; may be empty."""
    words = [*clip_words(summary), *changed_words(summary)]
    words += [f"checkpoint {summary['checkpoint']} (step {summary['step']})"] * (
        summary["checkpoint"] != LAST
    )
    words += [f"evaluation {place.mark}"] * bool(place.mark)
    return ", ".join(words)
