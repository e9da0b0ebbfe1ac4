"""Compose pictures with a model in memory and draw them: mixes of two images, samples of clusters."""

from collections.abc import Sequence
from pathlib import Path

from slotlab.framework.composition import Clusters, Composer, at, build_library, generate, mix
from slotlab.framework.figures.image_view import ImageView
from slotlab.framework.figures.mixes import Mix, draw_mixes, halves
from slotlab.framework.figures.picture_grid import draw_grid
from slotlab.registry import SlotlabError

LIBRARY = 512
"""How many images' slots are clustered: enough for a figure, fast enough for every evaluation."""
GENERATED = 24
"""How many pictures the grid has."""


def draw_mixed(composer: Composer, views: Sequence[ImageView], stem: Path, *, title: str) -> None:
    """Mix consecutive images in pairs, and draw one row per pair.

    Raises:
        SlotlabError: if there are fewer than two images, or the model has no masks or decodes no images.
    """
    if len(views) < 2:
        raise SlotlabError("there are fewer than two images with a value to mix")
    mixes = [_mixed(composer, a, b) for a, b in zip(views[::2], views[1::2], strict=False)]
    draw_mixes(mixes, stem, title=title)


def _mixed(composer: Composer, a: ImageView, b: ImageView) -> Mix:
    if a.masks_KHW is None:
        raise SlotlabError(f"the {composer.part('decoder')} has no masks")
    kept_a, kept_b = halves(a, b)
    slots = composer.look(composer.spec.evaluation.split, [a.position, b.position]).slots
    mixed = mix(at(slots, [0]), kept_a, at(slots, [1]), kept_b)
    composed = composer.decode(mixed, positions=[a.position])
    return Mix(a, kept_a, b, kept_b, composed.images_BCHW[0].permute(1, 2, 0).cpu().numpy())


def draw_composition(composer: Composer, stem: Path, *, title: str) -> None:
    """Draw a grid of pictures, each decoded from one random slot per cluster, with as many clusters as slots.

    Raises:
        SlotlabError: if there are fewer distinct slots than clusters, or the model decodes no images.
    """
    spec = composer.spec
    library = build_library(composer, spec.evaluation.split, images=LIBRARY)
    count = library.slots.vectors_BKD.shape[1]
    clusters = Clusters.fit(library, count=count, seed=spec.seed)
    pictures = [
        image_CHW.permute(1, 2, 0).cpu().numpy()
        for composed in generate(composer, clusters, count=GENERATED, seed=spec.seed)
        for image_CHW in composed.images_BCHW
    ]
    source = f"{count} clusters of the slots of {len(library.positions)} images, seed {spec.seed}"
    draw_grid(pictures, stem, title=f"{title}, {source}")
