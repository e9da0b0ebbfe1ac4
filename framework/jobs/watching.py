"""What is seen of a model during its training: metrics of some images, and a picture of a few."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from slotlab.framework.contracts import Metric, Model, Reconstructs
from slotlab.framework.data.clips import Clips
from slotlab.framework.data.loader import Loader
from slotlab.framework.evaluation.evaluate import outcomes_of, reconstruct
from slotlab.framework.evaluation.rows import Ledger
from slotlab.framework.figures.image_view import ImageView, views_of
from slotlab.framework.figures.watched import draw_watched
from slotlab.framework.model.build import build_metrics
from slotlab.framework.runs.folder import MODEL
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training.watching import Look, Seen

LONGEST = 32
"""The most frames of a clip that are looked at, after those that the spec does not measure."""


def look_at(spec: ExperimentSpec, model: Model, loader: Loader) -> Look | None:
    """Return what looks at a spec's model on the first images of a split; None if nothing can be seen.

    `loader` is of the evaluation split. Long clips are cut, so that a look stays short.
    """
    watch = spec.training.watch
    if watch.every_steps is None or not isinstance(model, Reconstructs):
        return None
    alone = replace(loader, rank=0, processes=1, workers=0)
    number = max(watch.images, watch.measured)
    if loader.clips is not None:
        alone = replace(alone, clips=cut(loader.clips, spec.evaluation.from_frame + LONGEST, number))
        number = max(watch.images, watch.measured // alone.length(0))
    return Looking(spec, alone, build_metrics(spec), alone.count(number))


def cut(clips: Clips, frames: int, number: int) -> Clips:
    """Return the first `number` clips, none of which is longer than `frames`."""
    starts = [[start[:frames] for start in choices] for choices in clips.starts[:number]]
    return replace(clips, starts=starts)


@dataclass(frozen=True)
class Looking:
    """Looks at a model: one pass over a few images, measured as an evaluation measures them."""

    spec: ExperimentSpec
    loader: Loader
    metrics: Mapping[str, Metric]
    number: int
    """How many images, or clips, are measured."""

    def __call__(self, model: Model) -> Seen:
        """Measure the images, and draw the first of them."""
        spec, source = self.spec, self.spec.evaluation.mask_source
        ledger = Ledger(self.metrics, {MODEL: []}, detailed=False)
        shown: list[Sequence[ImageView]] = []
        for positions, batch in self.loader.share(range(self.number)):
            made = reconstruct(spec, model, batch, positions)
            ledger.add(MODEL, positions, batch.ids, outcomes_of(spec, made, batch, (source,))[source])
            if len(shown) < spec.training.watch.images:
                views = iter(views_of(spec, model, batch, made, self.loader.bounds))
                shown += [list(islice(views, batch.frames)) for _ in positions]
        found = ledger.close().summary(self.metrics)[MODEL]
        values = {name: statistics["mean"] for name, statistics in found.items()}
        return Seen(values, draw_watched(shown[: spec.training.watch.images]))
