"""Compare composed pictures with real images by set metrics, and real images among themselves (the floor).

Features of real images are cached in a folder under a hash of what identifies images and features, so that
they are computed once and never confused with others. Axes: N, M images, D features.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slotlab.framework.contracts import SetMetric, SetResult
from slotlab.framework.contracts.calling import called
from slotlab.framework.contracts.promises import check_distance, check_features
from slotlab.framework.runs.measurement import UNTOLD
from slotlab.framework.system.atomic import write_atomically
from slotlab.registry import SlotlabError

Features = Mapping[str, Tensor]
"""Features (N, D), float32, by the identity of their extractor."""
Extractors = Mapping[str, tuple[str, SetMetric]]
"""A set metric that computes the features, with its name, by the identity of its extractor."""


class Lacking(SlotlabError):  # noqa: N818 - several mistakes
    """Set metrics that cannot be computed, and what they lack."""

    def __init__(self, reasons: Mapping[str, str]):
        self.reasons = reasons
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """One line for each metric."""
        return [f"{name}: {reason}" for name, reason in self.reasons.items()]


@dataclass(frozen=True)
class RealImages:
    """Real images that can be read repeatedly, and what identifies them."""

    facts: Mapping[str, Any]
    """Everything that determines the images, with the fingerprint of their files: JSON data."""
    read: Callable[[], Iterable[Tensor]]
    """Yields uint8 batches (B, 3, H, W)."""


@dataclass(frozen=True)
class Cache:
    """Features in the files of one folder; a damaged or foreign file counts as missing."""

    folder: Path | None
    """None caches nothing."""

    def path(self, real: RealImages, identity: str) -> Path | None:
        """Return the file for the features of images; None if the images cannot be identified."""
        fingerprint = real.facts.get("fingerprint")
        if self.folder is None or fingerprint is None or str(fingerprint).startswith(UNTOLD):
            return None
        text = json.dumps([dict(real.facts), identity], sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npy"

    def read(self, real: RealImages, identity: str) -> Tensor | None:
        """Return the cached features; None if there are none."""
        path = self.path(real, identity)
        if path is None or not path.is_file():
            return None
        try:
            return torch.from_numpy(np.load(path, allow_pickle=False))
        except (ValueError, OSError, EOFError):
            return None

    def write(self, real: RealImages, identity: str, features_ND: Tensor) -> None:
        """Cache features."""
        path = self.path(real, identity)
        if path is not None:
            buffer = io.BytesIO()
            np.save(buffer, features_ND.numpy())
            write_atomically(path, buffer.getvalue())


def measure_sets(
    metrics: Mapping[str, SetMetric],
    images: Iterable[Tensor],
    real: RealImages,
    *,
    other: RealImages | None = None,
    cache: Cache,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Compare images with real ones by each metric; metrics with one extractor share its features.

    Args:
        metrics: by name.
        images: uint8 batches (B, 3, H, W), read once.
        real: the real images to compare with.
        other: more real images, compared with `real` for the floor; None compares the halves of `real`.
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
    results = {}
    for name, key in names.items():
        pair = halves(known[key], seed) if against is None else (against[key], known[key])
        result, floor = distances(name, metrics[name], found[key], known[key], pair)
        floor = None if floor is None else {"of": floor_label(other), **floor}
        results[name] = {**result, **reading(metrics[name], key), "floor": floor}
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


def real_features(extractors: Extractors, real: RealImages, cache: Cache) -> Features:
    """Return features of real images, from the cache if they are in it."""
    found = {identity: cache.read(real, identity) for identity in extractors}
    rest = {identity: extractors[identity] for identity, features in found.items() if features is None}
    if rest:
        for identity, features_ND in extract(rest, real.read()).items():
            cache.write(real, identity, features_ND)
            found[identity] = features_ND
    return {identity: features for identity, features in found.items() if features is not None}


def extract(extractors: Extractors, images: Iterable[Tensor]) -> Features:
    """Return the features of images by each extractor; the images are read once."""
    found: dict[str, list[Tensor]] = {identity: [] for identity in extractors}
    for images_BCHW in images:
        for identity, (name, metric) in extractors.items():
            with called(f"set metric '{name}'"):
                features_BD = check_features(name, metric.features(images_BCHW), len(images_BCHW))
            found[identity].append(features_BD)
            widths = {one.shape[1] for one in found[identity]}
            if len(widths) > 1:
                text = "features must have one width for all images, and have"
                raise SlotlabError(f"set metric '{name}': {text} {' and '.join(map(str, sorted(widths)))}")
    return {identity: torch.cat(several) for identity, several in found.items()}


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
