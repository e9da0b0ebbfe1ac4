"""Stores of features on disk: what a frozen encoder makes of each picture, rounded to 16 bits.

STORE/features.json  what was packed, by which encoder, from which pictures, and the checksum over everything
STORE/features.npy   float16 (N, H, W, C) on the encoder's grid: channels last
STORE/mirrored.npy   the same of the pictures mirrored left to right; only for data.augmentation.flip
STORE/items.jsonl    one line per item: its problems, if it has any, and its checksum (see `format`)

They are written as stores of pictures are: under another name until they are whole, item by item, each with
its checksum, so that a packing that was killed goes on where it was.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from slotlab.framework.data.source import Source
from slotlab.framework.data.store.format import StoreError, damaged, seal, short_hash
from slotlab.framework.data.store.row_layout import RowLayout
from slotlab.registry import SlotlabError

FORMAT = 1
"""Version of the shape described above, and of how features are computed."""
MANIFEST, FEATURES, MIRRORED = "features.json", "features.npy", "mirrored.npy"


@dataclass(frozen=True)
class FeatureLayout(RowLayout):
    """The shapes of a store's arrays."""

    items: int
    channels: int
    grid: tuple[int, int]
    mirrored: bool

    @property
    def arrays(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and type of each array, by file name."""
        names = (FEATURES, MIRRORED) if self.mirrored else (FEATURES,)
        shape = (self.items, *self.grid, self.channels)
        return {name: (shape, np.dtype(np.float16).newbyteorder("<")) for name in names}


@dataclass(frozen=True, kw_only=True)
class FeatureKey:
    """All that decides about the numbers in a store of features."""

    source: Source
    """The pictures, as the protocol prepares them."""
    encoder: Mapping[str, Any]
    """The encoder's component, settings and weights, and the value range of its images: JSON data."""
    mirrored: bool
    """Whether the store also has the features of mirrored pictures."""

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The same as JSON data, but for the state of the files."""
        facts = {
            **self.encoder,
            "pictures": self.source.identity,
            "seed": self.source.seed,
            "code": f"{version('slotlab')}, {FORMAT}",
            "mirrored": self.mirrored,
        }
        found: dict[str, Any] = json.loads(json.dumps(facts))
        return found

    @cached_property
    def fingerprint(self) -> str:
        """The state of the files behind the pictures, or what generated pictures depend on.

        Raises:
            SlotlabError: if the dataset does not tell.
        """
        source = self.source
        if source.preparation is not None and source.fingerprint() is None:
            text = "its dataset has no fingerprint(), by which a store tells that it is out of date"
            raise SlotlabError(f"the features of {source.name} cannot be packed: {text}")
        return source.content

    def path(self, stores: Path) -> Path:
        """Return the folder of the store: `clevrtex-all-features-1f2e3d4c-5b6a7988`."""
        key = short_hash(json.dumps(self.identity, sort_keys=True))
        return stores / f"{self.stem}-{key}-{short_hash(self.fingerprint)}"

    @property
    def stem(self) -> str:
        """The beginning of the names of all stores of features of the same data."""
        return f"{self.source.name}-{self.source.split}-features"


@dataclass(frozen=True, kw_only=True)
class FeatureManifest:
    """The content of features.json, which is written with a hash that is checked when it is read."""

    name: str
    split: str
    identity: Mapping[str, Any]
    """`FeatureKey.identity`."""
    fingerprint: str
    items: int
    channels: int
    grid: tuple[int, int]
    """(rows, columns) of the feature map."""
    mirrored: bool
    checksum: str
    """A hash of all features and problems, in their order."""
    bad: Mapping[str, Sequence[tuple[str, str]]]
    """The problems (path, reason) of items that could not be read, by position as text."""
    files: Mapping[str, int]
    """The size in bytes of each other file."""
    format: int = FORMAT

    @cached_property
    def layout(self) -> FeatureLayout:
        """The shapes of the arrays."""
        return FeatureLayout(self.items, self.channels, self.grid, self.mirrored)

    def to_bytes(self) -> bytes:
        """Return the content of features.json, with its seal."""
        data = asdict(self)
        return f"{json.dumps(data | {'seal': seal(data)}, indent=1)}\n".encode()


def read_feature_manifest(folder: Path) -> FeatureManifest:
    """Read features.json.

    Raises:
        StoreError: if the folder is no store of features, has another format, or the file was changed.
    """
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_bytes())
        found = data.get("format")
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"{folder} is no store of features: it has no {MANIFEST}") from None
    except (ValueError, AttributeError):
        raise damaged(path, "cannot be read") from None
    if found != FORMAT:
        text = f"has format {found}, this slotlab reads {FORMAT}: delete it and pack it again"
        raise StoreError(f"{folder} {text}")
    if data.pop("seal", None) != seal(data):
        raise damaged(path, "was changed after it was written")
    return FeatureManifest(**{**data, "grid": tuple(data["grid"])})
