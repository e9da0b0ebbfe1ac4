"""Compare composed pictures with real images by set metrics, and real images among themselves (the floor).

Axes: N, M images, D features.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import SetMetric, SetResult
from slotlab.framework.contracts.component_calls import called
from slotlab.framework.contracts.metric_promises import check_distance
from slotlab.framework.metrics.image_sets.feature_cache import Cache, RealImages, extract, real_features
from slotlab.registry import SlotlabError


class Lacking(SlotlabError):  # noqa: N818 - several mistakes
    """Set metrics that cannot be computed, and what they lack."""

    def __init__(self, reasons: Mapping[str, str]):
        self.reasons = reasons
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """One line for each metric."""
        return [f"{name}: {reason}" for name, reason in self.reasons.items()]


def measure_sets(
    metrics: Mapping[str, SetMetric],
    images: Iterable[Tensor],
    real: RealImages,
    *,
    other: RealImages | None = None,
    through: Iterable[Tensor] | None = None,
    cache: Cache,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Compare images with real ones by each metric; metrics with one extractor share its features.

    Args:
        metrics: by name.
        images: uint8 batches (B, 3, H, W), read once.
        real: the real images to compare with.
        other: more real images, compared with `real` for the floor; None compares the halves of `real`.
        through: uint8 batches of the real images as a model's codec gives them back, also compared with
            `real`: no picture that is made through the codec can be expected to be nearer.
        cache: of the features of real images.
        seed: draws the halves.

    Returns:
        For each metric its value, direction, extractor, floor and further facts: JSON data.

    Raises:
        Lacking: if a metric lacks something.
        SlotlabError: if there are too few images, or a metric's code raises.
    """
    names = identities(metrics)
    extractors = {names[name]: (name, metric) for name, metric in metrics.items()}
    found = extract(extractors, images)
    known = real_features(extractors, real, cache)
    against = None if other is None else real_features(extractors, other, cache)
    coded = None if through is None else extract(extractors, through)
    results = {}
    for name, key in names.items():
        pair = halves(known[key], seed) if against is None else (against[key], known[key])
        result, floor = distances(name, metrics[name], found[key], known[key], pair)
        floor = None if floor is None else {"of": floor_label(other), **floor}
        results[name] = {**result, **reading(metrics[name], key), "floor": floor}
        if coded is not None:
            with called(f"set metric '{name}'"):
                back = as_data(check_distance(name, metrics[name].distance(coded[key], known[key])))
            results[name]["codec"] = {"of": "real images through the codec", **back}
    return results


def reading(metric: SetMetric, identity: str) -> dict[str, Any]:
    """Return how to read a metric's values, and where they come from."""
    return {
        "higher_is_better": metric.higher_is_better,
        "extractor": metric.extractor,
        "features_of": identity,
    }


def floor_label(other: RealImages | None) -> str:
    """Return what the floor compares, in words."""
    return "two halves of the real images" if other is None else f"real images of '{other.facts['split']}'"


def distances(
    name: str, metric: SetMetric, features_ND: Tensor, real_MD: Tensor, pair: tuple[Tensor, Tensor]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return a metric's distance to the real images, and its floor; None for fewer than 4 real images.

    `pair` holds the two sets of real images whose distance is the floor.
    """
    with called(f"set metric '{name}'"):
        result = as_data(check_distance(name, metric.distance(features_ND, real_MD)))
        floor = as_data(check_distance(name, metric.distance(*pair))) if len(real_MD) >= 4 else None
    return result, floor


def identities(metrics: Mapping[str, SetMetric]) -> dict[str, str]:
    """Return the identity of each metric's features, by the metric's name.

    Raises:
        Lacking: if a metric lacks something.
    """
    _, lacking = usable(metrics)
    if lacking:
        raise Lacking(lacking)
    found = {}
    for name, metric in metrics.items():
        with called(f"set metric '{name}'"):
            found[name] = metric.identity()
    return found


def halves(features_ND: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return two random halves of a set; one image is left out if their number is odd."""
    stream = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(features_ND), generator=stream)
    half = len(features_ND) // 2
    return features_ND[order[:half]], features_ND[order[half : 2 * half]]


def as_data(result: SetResult) -> dict[str, Any]:
    """Return a result as JSON data, with its facts at the top level."""
    data = asdict(result)
    return {**{key: data[key] for key in data if key not in ("facts", "warnings")}, **data["facts"]} | {
        "warnings": list(result.warnings)
    }


def counted(images: Iterable[Tensor], report: Callable[[int], None]) -> Iterator[Tensor]:
    """Yield batches and report the number of images so far."""
    done = 0
    for images_BCHW in images:
        done += len(images_BCHW)
        report(done)
        yield images_BCHW


def usable(metrics: Mapping[str, SetMetric]) -> tuple[dict[str, SetMetric], dict[str, str]]:
    """Return the metrics that lack nothing, and what the others lack."""
    left_out = {}
    for name, metric in metrics.items():
        with called(f"set metric '{name}'"):
            reason = metric.lacking()
        if reason is not None:
            left_out[name] = reason
    return {name: metric for name, metric in metrics.items() if name not in left_out}, left_out
