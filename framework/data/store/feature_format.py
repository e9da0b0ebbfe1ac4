"""Stores of what goes with pictures: a frozen model's features, targets or slots of them; flow and depth.

STORE/features.json  what was packed, by which encoder, from which pictures, and the checksum over everything
STORE/features.npy   float16 (N, H, W, C) on the encoder's grid: channels last
STORE/mirrored.npy   the same of the pictures mirrored left to right; only for data.augmentation.flip
STORE/items.jsonl    one line per item: its problems, if it has any, and its checksum (see `format`)

A store of targets has `targets.json` and `targets.npy` in place of these. Targets that are classes are whole
numbers of 16 bits, or of 32 where there are more classes than that. A store of slots has `slots.json` and
`slots.npy`, float32 (N, T, K, D): an item is a clip, its grid are frames and slots, its channels their width.
A store of flow or depth has `flow.json` and `flow.npy`, float32 (N, H, W, 2 or 1): what a loss reads of a
picture that the protocol has prepared, with every bit.

They are written as stores of pictures are: under another name until they are whole, item by item, each with
its checksum, so that a packing that was killed goes on where it was.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from slotlab.framework.contracts import FIELD_CHANNELS
from slotlab.framework.data.source import Source
from slotlab.framework.data.store.format import StoreError, damaged, seal, short_hash
from slotlab.framework.data.store.row_layout import RowLayout
from slotlab.registry import SlotlabError

FORMAT = 1
"""Version of the shape described above, and of how features are computed."""
MIRRORED = "mirrored.npy"
Kind = Literal["features", "targets", "slots", "flow", "depth"]
"""What a store holds."""
KINDS: tuple[Kind, ...] = get_args(Kind)
MAKERS: Mapping[Kind, str] = {
    "features": "encoder",
    "targets": "objective",
    "slots": "run",
    "flow": "dataset",
    "depth": "dataset",
}
"""What makes it: a part of a model, or the dataset."""
Number = Literal["<f2", "<i2", "<i4", "<f4"]
"""NumPy's name of the type of what is stored."""
LATER = frozenset({"kind", "number"})
"""What stores of features, the first of these stores, do not say of themselves."""


def manifest_name(kind: Kind) -> str:
    """Return the name of a store's manifest."""
    return f"{kind}.json"


def array_name(kind: Kind) -> str:
    """Return the name of the file of what a store holds."""
    return f"{kind}.npy"


def kind_in(folder: Path) -> Kind | None:
    """Return what the store in a folder holds, by its manifest's name; None if it is no such store."""
    return next((kind for kind in KINDS if (folder / manifest_name(kind)).is_file()), None)


@dataclass(frozen=True, repr=False)
class FeatureLayout(RowLayout):
    """The shapes of a store's arrays."""

    items: int
    channels: int
    grid: tuple[int, int]
    mirrored: bool
    kind: Kind = "features"
    number: Number = "<f2"

    def __repr__(self) -> str:
        """Return what the checksum of a store begins with."""
        told = [one.name for one in fields(self) if self.kind != "features" or one.name not in LATER]
        return f"FeatureLayout({', '.join(f'{name}={getattr(self, name)!r}' for name in told)})"

    @property
    def arrays(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and type of each array, by file name."""
        own = array_name(self.kind)
        shape = (self.items, *self.grid, self.channels)
        return {
            name: (shape, np.dtype(self.number)) for name in ((own, MIRRORED) if self.mirrored else (own,))
        }


@dataclass(frozen=True, kw_only=True)
class FeatureKey:
    """All that decides about the numbers in a store."""

    source: Source
    """The pictures, as the protocol prepares them."""
    maker: Mapping[str, Any]
    """Component, settings and weights of what makes them, and the value range of its images, and of slots
    which frames make up each clip: JSON data. Nothing for fields, which the pictures' dataset makes."""
    mirrored: bool
    """Whether the store also has those of mirrored pictures."""
    kind: Kind = "features"
    """What the store holds."""

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The same as JSON data, but for the state of the files."""
        facts = {
            **self.maker,
            "pictures": self.source.identity,
            "seed": self.source.seed,
            "code": str(FORMAT) if self.kind in FIELD_CHANNELS else f"{version('slotlab')}, {FORMAT}",
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
            raise SlotlabError(f"the {self.kind} of {source.name} cannot be packed: {text}")
        return source.content

    def path(self, stores: Path) -> Path:
        """Return the folder of the store: `clevrtex-all-features-1f2e3d4c-5b6a7988`."""
        key = short_hash(json.dumps(self.identity, sort_keys=True))
        return stores / f"{self.stem}-{key}-{short_hash(self.fingerprint)}"

    @property
    def stem(self) -> str:
        """The beginning of the names of all stores of this kind of the same data."""
        return f"{self.source.name}-{self.source.split}-{self.kind}"


@dataclass(frozen=True, kw_only=True)
class FeatureManifest:
    """The content of a store's manifest, which is written with a hash that is checked when it is read."""

    name: str
    split: str
    identity: Mapping[str, Any]
    """`FeatureKey.identity`."""
    fingerprint: str
    items: int
    channels: int
    grid: tuple[int, int]
    """(rows, columns) of what is stored of a picture."""
    mirrored: bool
    checksum: str
    """A hash of all that is stored and of all problems, in their order."""
    bad: Mapping[str, Sequence[tuple[str, str]]]
    """The problems (path, reason) of items that could not be read, by position as text."""
    files: Mapping[str, int]
    """The size in bytes of each other file."""
    format: int = FORMAT
    kind: Kind = "features"
    number: Number = "<f2"

    @cached_property
    def layout(self) -> FeatureLayout:
        """The shapes of the arrays."""
        return FeatureLayout(self.items, self.channels, self.grid, self.mirrored, self.kind, self.number)

    def to_bytes(self) -> bytes:
        """Return the content of the manifest's file, with its seal."""
        data = asdict(self)
        if self.kind == "features":
            data = {name: value for name, value in data.items() if name not in LATER}
        return f"{json.dumps(data | {'seal': seal(data)}, indent=1)}\n".encode()


def read_feature_manifest(folder: Path) -> FeatureManifest:
    """Read a store's manifest.

    Raises:
        StoreError: if the folder is no such store, has another format, or the file was changed.
    """
    kind = kind_in(folder)
    if kind is None:
        names = " or ".join(map(manifest_name, KINDS))
        raise StoreError(f"{folder} is no store of {', '.join(KINDS[:-1])} or {KINDS[-1]}: it has no {names}")
    path = folder / manifest_name(kind)
    try:
        data = json.loads(path.read_bytes())
        found = data.get("format")
    except (OSError, ValueError, AttributeError):
        raise damaged(path, "cannot be read") from None
    if found != FORMAT:
        text = f"has format {found}, this slotlab reads {FORMAT}: delete it and pack it again"
        raise StoreError(f"{folder} {text}")
    if data.pop("seal", None) != seal(data) or data.get("kind", "features") != kind:
        raise damaged(path, "was changed after it was written")
    return FeatureManifest(**{**data, "grid": tuple(data["grid"])})
