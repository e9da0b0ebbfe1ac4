"""Packing features, targets or slots: a frozen part of a model sees each picture, or clip, once.

In one process, on the device that it is on; the pictures come from their own store where there is one.
"""

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from slotlab.framework.contracts import DataError, DataProblem
from slotlab.framework.data.source import Source
from slotlab.framework.data.store.feature_format import (
    FORMAT,
    MAKERS,
    MIRRORED,
    FeatureKey,
    FeatureLayout,
    FeatureManifest,
    array_name,
    manifest_name,
)
from slotlab.framework.data.store.features import FeatureStore, open_features
from slotlab.framework.data.store.format import ITEMS, Facts, item_digest, write_line
from slotlab.framework.data.store.journal import (
    Journaled,
    Notify,
    begin,
    first_line,
    locked,
    recover,
    tell_kept,
)
from slotlab.framework.data.store.pack import PackProgress, check_space, explained, refuse
from slotlab.framework.data.store.reader import PARTIAL, Store
from slotlab.framework.data.store.rows import Rows, read
from slotlab.registry import SlotlabError

Encode = Callable[[Tensor], Tensor]
"""Images, uint8 (B, 3, H, W) on the CPU, to what is stored, (B, C, H, W) of the layout's type on the CPU."""


@dataclass(frozen=True)
class Made:
    """What was made of some items."""

    rows: Mapping[int, Mapping[str, bytes]]
    """The bytes of each array, by item and array; broken items have none."""
    problems: Mapping[int, Sequence[DataProblem]] = field(default_factory=dict)
    """What is wrong with broken items."""


@dataclass(frozen=True, kw_only=True)
class MadePacking(ABC):
    """What a model makes of one source on its way into a store."""

    key: FeatureKey
    layout: FeatureLayout
    chunk: int = 32
    """How many items are made at a time, and are written between two syncs of the disk."""
    on_error: Literal["fail", "skip"] = "fail"
    report: Callable[[PackProgress], None] = lambda progress: None
    say: Notify = lambda text: None
    items: ClassVar[str] = "pictures"
    """How messages name the items."""

    @property
    def source(self) -> Source:
        """The pictures."""
        return self.key.source

    @abstractmethod
    def made(self, chunk: Sequence[int]) -> Made:
        """Make the rows of some items."""

    def into(self, stores: Path) -> FeatureStore:
        """Pack what is missing into the store in the folder `stores`, and return the store.

        Raises:
            DataError: with every broken picture, if `on_error` is `fail` or none can be read.
            StoreError: if there is a store and it is damaged.
            PackStopped: after Ctrl-C.
            SlotlabError: if the dataset has no fingerprint, numbers are not finite in 16 bits, the disk is
                full, the files change meanwhile, or another process packs the same.
        """
        path = self.key.path(stores)
        partial = path.with_name(path.name + PARTIAL)
        if not path.exists() or partial.exists():
            with explained(stores), locked(partial):
                if not path.exists():
                    self._complete(partial, path)
                shutil.rmtree(partial, ignore_errors=True)
        store = open_features(self.key, path)
        if self.on_error == "fail":
            refuse([*self.source.problems, *store.bad.values()], len(store) - len(store.bad), len(store))
        return store

    def _complete(self, folder: Path, path: Path) -> None:
        with self._opened(folder) as partial:
            check_space(partial)
            self._fill(partial)
            good, total = self.layout.items - len(partial.bad), self.layout.items
            problems = [text for index in sorted(partial.bad) for text in partial.bad[index]]
            if self.on_error == "fail" or not good:
                refuse([*self.source.problems, *problems], good, total)
            if self.source.preparation is not None and self.source.fingerprint() != self.key.fingerprint:
                raise SlotlabError(
                    f"{self.source.name}: its files changed while they were packed; pack again"
                )
            self._finish(partial, path)

    @contextmanager
    def _opened(self, folder: Path) -> Iterator[Journaled]:
        facts = {
            self.key.kind: FORMAT,
            "identity": self.key.identity,
            "fingerprint": self.key.fingerprint,
            "layout": repr(self.layout),
        }
        head, journal = json.dumps(facts).encode() + b"\n", folder / "journal.jsonl"
        found = first_line(journal)
        if found != head:
            if found:
                self.say(f"{folder} is of other data or another format: packing starts anew")
            begin(folder, head)
        where = np.full(self.layout.items, -1, np.int64)
        with journal.open("r+b") as file:
            partial = Journaled(path=folder, layout=self.layout, where=where, journal=file)
            recover(partial)
            tell_kept(partial, self.say, self.items)
            yield partial

    def _fill(self, partial: Journaled) -> None:
        chunks = partial.missing(self.chunk)
        total = self.layout.items
        done = total - sum(map(len, chunks))
        self.report(PackProgress(done, total, 0))
        with Rows(partial.store, self.layout, writable=True) as rows:
            for chunk in chunks:
                partial.add(self._pack(rows, chunk))
                done += len(chunk)
                self.report(PackProgress(done, total, len(partial.bad)))

    def _pack(self, rows: Rows[FeatureLayout], chunk: Sequence[int]) -> list[bytes]:
        """Write the rows of some items to the disk, and return their lines."""
        made, lines = self.made(chunk), []
        for index in chunk:
            empty = {name: bytes(self.layout.row_bytes(name)) for name in self.layout.arrays}
            written = made.rows.get(index, empty)
            for name, row in written.items():
                rows.write(name, index, row)
            facts = Facts(index=index, problems=made.problems.get(index, ())).to_bytes()
            lines.append(write_line(facts, item_digest(written.values(), facts)))
        rows.sync()
        return lines

    def _finish(self, partial: Journaled, path: Path) -> None:
        table, layout, source = partial.gather(), self.layout, self.source
        manifest = FeatureManifest(
            name=source.name,
            split=source.split,
            identity=self.key.identity,
            fingerprint=self.key.fingerprint,
            items=layout.items,
            channels=layout.channels,
            grid=layout.grid,
            mirrored=layout.mirrored,
            kind=layout.kind,
            number=layout.number,
            checksum=table.total.hexdigest(),
            bad=table.bad,
            files={**{name: layout.file_bytes(name) for name in layout.arrays}, ITEMS: table.offsets[-1]},
        )
        partial.place(path, {manifest_name(layout.kind): manifest.to_bytes()})


@dataclass(frozen=True, kw_only=True)
class FeaturePacking(MadePacking):
    """The features or targets of one source on their way into a store."""

    encode: Encode
    pictures: Store | None = None
    """The packed pictures of the source, if there are any."""

    def made(self, chunk: Sequence[int]) -> Made:
        """Read and encode some pictures."""
        images: dict[int, Tensor] = {}
        problems: dict[int, Sequence[DataProblem]] = {}
        for index in chunk:
            try:
                images[index] = self._image(index)
            except DataError as error:
                problems[index] = error.problems
        return Made(self._features(images), problems)

    def _image(self, index: int) -> Tensor:
        if self.pictures is not None:
            return self.pictures[index].image_CHW
        return read(self.source, index).sample.image_CHW

    def _features(self, images: dict[int, Tensor]) -> dict[int, dict[str, bytes]]:
        """Return the rows of each array, by item."""
        if not images:
            return {}
        images_BCHW = torch.stack(list(images.values()))
        views = {array_name(self.key.kind): images_BCHW, MIRRORED: images_BCHW.flip(3)}
        found: dict[int, dict[str, bytes]] = {index: {} for index in images}
        for name in self.layout.arrays:
            stored_BCHW = self.encode(views[name])
            self._check(stored_BCHW)
            for index, stored_CHW in zip(images, stored_BCHW, strict=True):
                stored_HWC = stored_CHW.permute(1, 2, 0).contiguous().numpy()
                found[index][name] = stored_HWC.astype(self.layout.number).tobytes()
        return found

    def _check(self, stored_BCHW: Tensor) -> None:
        kind = self.key.kind
        if stored_BCHW.is_floating_point():
            fits, text = stored_BCHW.isfinite(), "not finite in 16 bits, which hold numbers to 65504"
        else:  # what is too large for the type has become negative
            fits, text = stored_BCHW >= 0, "classes that do not exist"
        if not bool(fits.all()):
            raise SlotlabError(f"the {MAKERS[kind]} makes {kind} that are {text}; write data.{kind}: full")
