"""Draw all figures of one evaluation that the model supports, and write its samples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from slotlab.framework.composition import Composer
from slotlab.framework.contracts import Foretells, Metric, Model
from slotlab.framework.data.loader import Loader
from slotlab.framework.evaluation.code_usage import CodeUsage
from slotlab.framework.figures.by_frame import Means, draw_by_frame
from slotlab.framework.figures.clip_sheet import draw_sheet
from slotlab.framework.figures.clips import ClipPanel, draw_clips
from slotlab.framework.figures.code_usage import draw_code_usage
from slotlab.framework.figures.composition import draw_composition, draw_mixed
from slotlab.framework.figures.films import has_codec, mp4, webp
from slotlab.framework.figures.image_view import ImageView, view_clips
from slotlab.framework.figures.panels import Panel, draw_panels
from slotlab.framework.figures.ranking import Ranking
from slotlab.framework.figures.rollouts import draw_rollouts
from slotlab.framework.figures.samples import sample_roles, write_samples
from slotlab.framework.figures.slots import draw_slots
from slotlab.framework.figures.tracks import draw_tracks
from slotlab.framework.model.engine import Engine
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.atomic import write_output
from slotlab.registry import SlotlabError

BEST = 5
"""Images in the figure of the best images."""
MIXED = 6
"""Images that are mixed in pairs."""
SLOT_WISE = 2
"""Images in the figure of slots."""
Draw = Callable[[Path], None]
"""Draws one figure, given its path without the ending."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What the figures of one evaluation are drawn from."""

    name: str
    """The name of its folder, which the names of its figures end with."""
    composed_name: str | None
    """The same for figures of composed pictures, without the mask source; None draws no such figures."""
    loaded: LoadedSpec
    engine: Engine
    model: Model
    step: int
    """The training step of the weights."""
    loader: Loader
    """Loader of the evaluated split, on the model's device."""
    rows: Sequence[Mapping[str, Any]]
    """The model's rows, one for each of the first images of the split."""
    metrics: Mapping[str, Metric]
    codes: CodeUsage | None = None
    """How the model's codes are used, if it has any."""
    by_frame: Means = field(default_factory=dict)
    """Of clips, the means at each frame."""
    otherwise: str = ""
    """An addition to the titles: settings that differ from the run's, and the checkpoint."""

    @property
    def data_title(self) -> str:
        """The title for figures of the data: spec, dataset, split and protocol."""
        spec = self.loaded.spec
        data = f"{spec.data.dataset.name} {spec.evaluation.split}, protocol {spec.data.protocol_name}"
        return ", ".join(filter(None, (f"{spec.name}: {data}", self.otherwise)))

    @property
    def title(self) -> str:
        """The title for figures of the evaluation: the data, and the masks of a model with slots."""
        spec = self.loaded.spec
        words = "" if spec.evaluated_slots is None else f", masks from the {spec.evaluation.mask_source}"
        return f"{self.data_title}{words}"

    @property
    def foretold(self) -> int:
        """Of clips, the first frame of which the model has seen nothing; 0 if it sees all."""
        return self.model.history if isinstance(self.model, Foretells) else 0

    @property
    def composer(self) -> Composer:
        """A composer with this model, for use in a single process."""
        loader = replace(self.loader, rank=0, processes=1)
        loaders = {self.loaded.spec.evaluation.split: loader}
        return Composer(self.loaded, self.engine, self.model, self.step, _loaders=loaders)


def draw_evaluation(evaluated: Evaluated, *, figures: Path, samples: Path) -> dict[str, str]:
    """Draw an evaluation's figures into one folder, and write its samples into another.

    Returns:
        The figures that were left out, by kind, with the reasons.
    """
    rows, metrics = evaluated.rows, evaluated.metrics
    first, ari = Ranking.by(rows, metrics), Ranking.by(rows, metrics, prefer="ari")
    roles = sample_roles(len(rows), first)
    order = first or Ranking.in_order(rows)
    best = (ari or order).best(max(BEST, MIXED))
    clips = view_clips(evaluated.loaded.spec, evaluated.model, evaluated.loader, [*roles, *best])
    views = {position: frames[len(frames) // 2] for position, frames in clips.items()}
    of_clips = evaluated.loader.clips is not None
    foretold = evaluated.foretold
    write_samples(samples, roles, views, rows, list(metrics), clips if of_clips else {}, foretold)
    shown = [views[position] for position in best]
    title = evaluated.title
    drawings: dict[str, Draw] = {
        "panels": partial(_draw_ends, title, order, views),
        "best": partial(_draw_best, title, ari, views),
        "slots": partial(
            draw_slots,
            shown[:SLOT_WISE],
            title=f"{title}: slots",
            dropped=_dropped(evaluated.loaded.spec, clips) if of_clips else "",
        ),
    }
    if of_clips:
        panels, by = partial(_clip_panels, order, clips), order.title
        drawings["clips"] = partial(_draw_clips, f"{title}{by}", panels, foretold)
        drawings["tracks"] = lambda stem: draw_tracks(
            panels(), stem, title=f"{title}: centers of masks over time, crosses are true objects"
        )
        if foretold:
            drawings["rollouts"] = lambda stem: draw_rollouts(
                panels(), stem, foretold=foretold, title=f"{title}: rollouts{by}"
            )
        drawings["frames"] = partial(
            draw_by_frame,
            evaluated.by_frame,
            title=f"{title}: means by frame",
            first=evaluated.loaded.spec.evaluation.from_frame,
        )
    if evaluated.codes is not None:
        drawings["codes"] = partial(draw_code_usage, evaluated.codes, title=evaluated.data_title)
    left_out = _draw_all(drawings, figures, evaluated.name)
    if evaluated.composed_name is None or of_clips:  # mixes are of pictures
        return left_out
    composer, title = evaluated.composer, evaluated.data_title
    drawings = {
        "mixes": partial(draw_mixed, composer, shown[:MIXED], title=f"{title}: mixes of two images"),
        "composition": partial(draw_composition, composer, title=f"{title}: composition"),
    }
    return left_out | _draw_all(drawings, figures, evaluated.composed_name)


def _dropped(spec: ExperimentSpec, clips: Mapping[int, Sequence[ImageView]]) -> str:
    """Return why pictures of single slots of clips were not kept; empty if they were."""
    most = getattr(spec.model.config, "frames_at_once", None)
    longest = max(map(len, clips.values()), default=0)
    if most is None or longest <= most:
        return ""
    text = f"of clips of {longest} frames no pictures of single slots are kept"
    return f"{text}: model.frames_at_once is {most}; take evaluation.clip_frames={most}, or raise it"


def _draw_all(drawings: Mapping[str, Draw], figures: Path, name: str) -> dict[str, str]:
    """Draw figures named KIND-NAME; return the kinds that were left out, with the reasons."""
    left_out: dict[str, str] = {}
    for kind, draw in drawings.items():
        try:
            draw(figures / f"{kind}-{name}")
        except SlotlabError as error:
            left_out[kind] = str(error)
    return left_out


def _draw_ends(title: str, by: Ranking, views: Mapping[int, ImageView], stem: Path) -> None:
    """Draw the best, the median and the worst images, or the first ones."""
    panels: dict[int, Panel] = {}
    for role, positions in by.ends_and_middle().items():
        for position in positions:  # if there are few images, one may be both best and worst
            panels.setdefault(position, Panel(f"{role}\n{by.words(position)}", views[position]))
    draw_panels(list(panels.values()), stem, title=f"{title}{by.title}")


def _clip_panels(by: Ranking, clips: Mapping[int, Sequence[ImageView]]) -> list[ClipPanel]:
    """Return the best, the median and the worst clip, or the first ones."""
    panels: dict[int, ClipPanel] = {}
    for role, positions in by.ends_and_middle(1).items():
        for position in positions:
            panels.setdefault(position, ClipPanel(f"{role}\n{by.words(position)}", clips[position]))
    return list(panels.values())


def _draw_clips(title: str, panels: Callable[[], list[ClipPanel]], foretold: int, stem: Path) -> None:
    """Draw clips over time, and playing: as WebP, and as MP4 where that can be written."""
    shown = panels()
    draw_clips(shown, stem, title=title)
    sheet = draw_sheet(shown, foretold=foretold)
    write_output(stem.with_name(f"{stem.name}.webp"), webp(sheet))
    if has_codec():
        write_output(stem.with_name(f"{stem.name}.mp4"), mp4(sheet))


def _draw_best(title: str, by: Ranking | None, views: Mapping[int, ImageView], stem: Path) -> None:
    """Draw the best images."""
    if by is None:
        raise SlotlabError("no metric has a value for any image")
    panels = [Panel(by.words(position), views[position]) for position in by.best(BEST)]
    draw_panels(panels, stem, title=f"{title}: best images by {by.metric}")
