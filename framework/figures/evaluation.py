"""All figures of one evaluation, and its samples: what the model has the pictures for is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slotlab.framework.contracts import Metric
from slotlab.framework.data import Loader
from slotlab.framework.figures.chosen import Ranking, Row
from slotlab.framework.figures.panels import Panel, draw_panels
from slotlab.framework.figures.samples import sample_roles, write_samples
from slotlab.framework.figures.slots import draw_slots
from slotlab.framework.figures.view import View, look
from slotlab.framework.model import SlotModel
from slotlab.framework.spec.load import LoadedSpec

BEST = 5
"""Images in the figure of the best."""
SLOT_WISE = 2
"""Images in the figure of slots."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One evaluation, as far as its figures need it."""

    name: str
    """Of its folder; figures have it in their names."""
    loaded: LoadedSpec
    model: SlotModel
    loader: Loader
    """Of the evaluated split, on the model's device."""
    rows: Sequence[Row]
    """The model's, one for each of the first images of the split."""
    metrics: Mapping[str, Metric]

    @property
    def title(self) -> str:
        """Say which numbers the pictures stand beside."""
        spec = self.loaded.spec
        data = f"{spec.data.dataset.name} {spec.evaluation.split}, protocol {spec.data.protocol_name}"
        return f"{spec.name}: {data}, masks from the {spec.evaluation.mask_source}"


def draw_evaluation(evaluated: Evaluated, *, figures: Path, samples: Path) -> None:
    """Draw an evaluation's figures into one folder, and write its samples into another."""
    rows, metrics = evaluated.rows, evaluated.metrics
    first, ari = Ranking.by(rows, metrics), Ranking.by(rows, metrics, prefer="ari")
    roles = sample_roles(len(rows), first)
    wanted = [*roles, *([] if ari is None else ari.best(BEST))]
    views = look(evaluated.loaded.spec, evaluated.model, evaluated.loader, wanted)
    write_samples(samples, roles, views, rows, list(metrics))
    if first is None or ari is None:  # no metric has a value
        return
    _draw_panels(evaluated, first, views, figures)
    _draw_best(evaluated, ari, views, figures)
    _draw_slots(evaluated, ari, views, figures)


def _draw_panels(evaluated: Evaluated, ranking: Ranking, views: Mapping[int, View], figures: Path) -> None:
    panels: dict[int, Panel] = {}
    for role, positions in ranking.ends_and_middle().items():
        for position in positions:  # of few images one may be among the best and the worst: shown once
            panels.setdefault(position, Panel(f"{role}\n{ranking.words(position)}", views[position]))
    title = f"{evaluated.title}, by {ranking.metric}"
    draw_panels(list(panels.values()), figures / f"panels-{evaluated.name}", title=title)


def _draw_best(evaluated: Evaluated, ranking: Ranking, views: Mapping[int, View], figures: Path) -> None:
    best = [Panel(ranking.words(position), views[position]) for position in ranking.best(BEST)]
    title = f"{evaluated.title}: best images by {ranking.metric}"
    draw_panels(best, figures / f"best-{evaluated.name}", title=title)


def _draw_slots(evaluated: Evaluated, ranking: Ranking, views: Mapping[int, View], figures: Path) -> None:
    best = [views[position] for position in ranking.best(SLOT_WISE)]
    draw_slots(best, figures / f"slots-{evaluated.name}", title=f"{evaluated.title}: slots")
