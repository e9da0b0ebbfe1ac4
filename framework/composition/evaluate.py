"""Compose the new pictures of a spec's `evaluation.composition`, and compute their set metrics."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from slotlab.framework.composition.clusters import Clusters, generate
from slotlab.framework.composition.composer import Composed, Composer
from slotlab.framework.composition.library import Library, build_library
from slotlab.framework.composition.shift import Shifted
from slotlab.framework.contracts import HasCodec, SetMetric
from slotlab.framework.data.pixels import to_uint8
from slotlab.framework.metrics.image_sets.compare_sets import counted, measure_sets, usable
from slotlab.framework.metrics.image_sets.feature_cache import Cache, RealImages
from slotlab.framework.model.build import build_set_metrics
from slotlab.framework.spec.identity import canonical, definition
from slotlab.framework.spec.schema import HALVES, CompositionSpec
from slotlab.registry import SlotlabError

ReportStage = Callable[[str, int, int], None]
"""Called with (stage, number done, number in all)."""


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, eq=False)
class Sampling:
    """New pictures before they are decoded: everything that determines them."""

    composer: Composer
    clusters: Clusters
    count: int
    seed: int

    @property
    def facts(self) -> dict[str, Any]:
        """What the pictures are made of, as JSON data."""
        library = self.clusters.library
        return {
            "library": {"split": library.split, "images": len(library.positions), "of": library.of},
            "clusters": {"sizes": self.clusters.sizes, "inertia": self.clusters.inertia},
            "count": self.count,
            "seed": self.seed,
        }

    def batches(self) -> Iterator[tuple[int, Composed]]:
        """Yield the pictures in batches, each with the number of its first; the same at every call."""
        start = 0
        for composed in generate(self.composer, self.clusters, count=self.count, seed=self.seed):
            yield start, composed
            start += len(composed.images_BCHW)


def find_library(composer: Composer, wanted: CompositionSpec, report: ReportStage = silent) -> Library:
    """Find the slots that are put together.

    Raises:
        SlotlabError: if there is no such split.
    """
    return build_library(
        composer,
        wanted.library,
        images=wanted.library_images,
        report=lambda done, total: report("find slots", done, total),
    )


def prepare_shift(composer: Composer, wanted: CompositionSpec, library: Library) -> Shifted:
    """Exchange the slots of neighboring images.

    Raises:
        SlotlabError: if a group has fewer images than slots.
    """
    seed = composer.spec.seed if wanted.seed is None else wanted.seed
    return Shifted(composer, library, wanted.group or composer.spec.evaluation.batch_size, seed)


def prepare_sampling(
    composer: Composer,
    wanted: CompositionSpec,
    report: ReportStage = silent,
    library: Library | None = None,
) -> Sampling:
    """Find the slots of the library, if it is not given, and cluster them.

    Raises:
        SlotlabError: if there is no such split, or there are fewer distinct slots than clusters.
    """
    spec = composer.spec
    seed = spec.seed if wanted.seed is None else wanted.seed
    library = library or find_library(composer, wanted, report)
    count = wanted.clusters or spec.evaluated_slots
    if count is None:
        raise SlotlabError(f"the model '{spec.model.name}' has no number of slots; set 'clusters'")
    clusters = Clusters.fit(library, count=count, seed=seed)
    return Sampling(composer, clusters, wanted.count or count_real(composer), seed)


def count_real(composer: Composer) -> int:
    """Return the number of real images to compare with, which are the evaluated ones."""
    evaluation = composer.spec.evaluation
    return composer.loader(evaluation.split).count(evaluation.max_images)


def real_images(composer: Composer, split: str, number: int) -> RealImages:
    """Return `number` images of a split: the first ones of the evaluated split, else evenly spaced ones."""
    spec, loader = composer.spec, replace(composer.loader(split), masks=False)
    total = len(loader.dataset)
    number = min(number, total)
    first = split == spec.evaluation.split
    positions = [place if first else place * total // number for place in range(number)]

    def read() -> Iterator[Tensor]:
        for _, batch in loader.share(positions):
            yield to_uint8(batch.images_BCHW, spec.data.bounds)

    selection = {key: value for key, value in loader.selection.facts.items() if key != "store"}
    settings = {"dataset": canonical(spec.data.dataset), "protocol": canonical(spec.data.protocol)}
    facts = {**selection, "settings": settings, "positions": positions}
    return RealImages(facts, read)


def measure_sampling(
    sampling: Sampling | Shifted,
    metrics: Mapping[str, SetMetric],
    pictures: Iterable[Tensor],
    *,
    floor: str = HALVES,
    report: ReportStage = silent,
) -> dict[str, dict[str, Any]]:
    """Compare decoded pictures (uint8 batches) with the evaluated images by set metrics.

    Raises:
        SlotlabError: if a metric lacks something, or there are too few images.
    """
    composer = sampling.composer
    evaluation, run = composer.spec.evaluation, composer.run
    number = count_real(composer)
    other = None if floor == HALVES else real_images(composer, floor, number)
    return measure_sets(
        metrics,
        counted(pictures, lambda done: report("paint", done, sampling.count)),
        real_images(composer, evaluation.split, number),
        other=other,
        through=through_codec(composer, number),
        cache=Cache(None if run is None else run.set_features),
        seed=sampling.seed,
    )


def through_codec(composer: Composer, number: int) -> Iterator[Tensor] | None:
    """Return the evaluated images as they come back from the model's codec; None if it has none."""
    model, spec = composer.model, composer.spec
    if not isinstance(model, HasCodec) or not model.has_codec:
        return None
    codec: HasCodec = model

    def made() -> Iterator[Tensor]:
        for _, batch in replace(composer.loader(spec.evaluation.split), masks=False).share(range(number)):
            yield to_uint8(codec.through_codec(batch.images_BCHW), spec.data.bounds)

    return made()


@dataclass(frozen=True)
class CompositionResult:
    """The results of composed pictures in an evaluation."""

    set_metrics: Mapping[str, Mapping[str, Any]]
    """By name: value, floor, version, and under `composition` what the pictures were made of."""
    left_out: Mapping[str, str]
    """Set metrics without a value, and why."""


NOTHING = CompositionResult({}, {})
CLUSTERS = "clusters"
"""The way of putting slots together whose metrics have their own names."""


def evaluate_composition(composer: Composer, report: ReportStage = silent) -> CompositionResult:
    """Compose and measure the pictures that the spec declares; failures are left out with the reason."""
    wanted = composer.spec.evaluation.composition
    if wanted is None:
        return NOTHING
    metrics, left_out = usable(build_set_metrics(composer.spec, composer.engine.device))
    if not metrics:
        return CompositionResult({}, left_out)
    facts = {ref.name: definition(ref) for ref in wanted.set_metrics}
    results: dict[str, Mapping[str, Any]] = {}
    library: Library | None = None
    for way in wanted.ways:
        names = {name: name if way == CLUSTERS else f"{name}_{way}" for name in metrics}
        try:
            library = library or find_library(composer, wanted, report)
            sampling: Sampling | Shifted = (
                prepare_sampling(composer, wanted, report, library)
                if way == CLUSTERS
                else prepare_shift(composer, wanted, library)
            )
            pictures = (composed.images_BCHW for _, composed in sampling.batches())
            found = measure_sampling(sampling, metrics, pictures, floor=wanted.floor, report=report)
        except SlotlabError as error:  # a model whose slots cannot be composed is still evaluated
            left_out |= dict.fromkeys(names.values(), str(error))
            continue
        for name, result in found.items():
            results[names[name]] = {**result, **facts[name], "composition": sampling.facts}
    return CompositionResult(results, left_out)
