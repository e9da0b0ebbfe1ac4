"""Features of images, and the cache of those of real images.

They are cached in a folder under a hash of what identifies images and features, so that they are computed
once and never confused with others. Axes: N images, D features.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slotlab.framework.contracts import SetMetric
from slotlab.framework.contracts.component_calls import called
from slotlab.framework.contracts.metric_promises import check_features
from slotlab.framework.runs.measurement import UNTOLD
from slotlab.framework.system.atomic import write_atomically
from slotlab.registry import SlotlabError

Features = Mapping[str, Tensor]
"""Features (N, D), float32, by the identity of their extractor."""
Extractors = Mapping[str, tuple[str, SetMetric]]
"""A set metric that computes the features, with its name, by the identity of its extractor."""


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
