"""A dataset as its plugin gives it, and what a spec's protocol makes of each picture.

Nothing is split, filtered or packed here yet: `framework.data.selection` does that to a source
or to the store that was packed from it.
"""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from slotlab.framework.contracts import Counting, DataProblem, Dataset, DatasetContext, Sample
from slotlab.framework.data.preparation import Preparation, PreparedSample, count_labels
from slotlab.framework.data.sample_checks import check_sample, naming
from slotlab.framework.data.sample_ids import Ids
from slotlab.framework.runs.measurement import GENERATED, UNTOLD
from slotlab.framework.spec.data import DataSpec
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.identity import canonical
from slotlab.registry import ComponentError, SlotlabError

WHOLE = "all"
"""The split that a dataset without splits of its own is built with."""


@dataclass(frozen=True)
class Source:
    """All samples of a dataset (of one split, if it has splits of its own), one by one."""

    name: str
    split: str
    """The dataset's own split, or `all`."""
    dataset: Dataset
    preparation: Preparation | None
    """None for pictures that are made at the size asked for."""
    identity: Mapping[str, Any]
    """All settings that decide about pixels, as JSON data."""
    seed: int = 0
    """Of generated pictures."""
    roots: Mapping[str, str] = field(default_factory=dict)
    """The files and folders that the settings name, which are no part of the identity."""

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def item(self, index: int) -> PreparedSample:
        """Return sample `index` as the model sees it.

        Raises:
            DataError: for a file that is broken or does not fit the protocol.
        """
        return self.prepare(self.dataset[index])

    def prepare(self, sample: Sample) -> PreparedSample:
        """Return a sample of the dataset as the model sees it.

        Raises:
            DataError: if it does not fit the protocol.
            SlotlabError: if it is no such sample as a dataset promises.
        """
        if self.preparation is not None:
            with naming(self.name):
                check_sample(sample)
            return self.preparation(sample)
        seen = None if sample.mask_HW is None else count_labels(sample.mask_HW)
        listed = sample.attributes.get("num_objects")
        return PreparedSample(sample, {"metadata": listed, "mask_colors": seen, "visible": seen})

    def count(self, index: int, count: Counting) -> int | None:
        """Return the number of objects of sample `index`, reading no more than that needs."""
        with naming(self.name):
            return self._count(index, count)

    def _count(self, index: int, count: Counting) -> int | None:
        if count == "metadata" and hasattr(self.dataset, "attributes"):
            listed: int | None = self.dataset.attributes(index).get("num_objects")
            return listed
        if count != "metadata" and self.preparation is not None and hasattr(self.dataset, "mask"):
            mask_HW = self.dataset.mask(index)
            return count_labels(mask_HW if count == "mask_colors" else self.preparation.cut(mask_HW))
        return self.item(index).counts[count]

    @property
    def listed(self) -> int:
        """The number of all items that the files tell of, those that had to be left out included."""
        found: int | None = getattr(self.dataset, "listed", None)
        return len(self.dataset) if found is None else found

    @cached_property
    def places(self) -> Sequence[int]:
        """The position of each sample among all items, in order."""
        found: Sequence[int] = getattr(self.dataset, "places", range(len(self.dataset)))
        return found

    def within(self, part: range) -> Sequence[int]:
        """Return the samples whose positions among all items lie in a part of these."""
        places = self.places
        return range(bisect_left(places, part.start), bisect_left(places, part.stop))

    @property
    def problems(self) -> Sequence[DataProblem]:
        """What the dataset had to leave out while it listed its files."""
        return tuple(getattr(self.dataset, "problems", ()))

    @cached_property
    def key(self) -> str:
        """A hash of the identity: eight hexadecimal digits."""
        text = json.dumps(self.identity, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()

    def fingerprint(self) -> str | None:
        """Return the state of the files behind the dataset; None if the dataset cannot tell."""
        state: str | None = self.dataset.fingerprint() if hasattr(self.dataset, "fingerprint") else None
        return state

    @cached_property
    def content(self) -> str:
        """The fingerprint of the pictures: what is measured on other pictures has another one.

        For data on disk it is the state of the files. Generated pictures have no files: theirs begins with
        `generated` and is a hash of all that they depend on. That of a dataset that cannot tell the state of
        its files begins with `untold`, and is a hash of its settings alone.
        """
        state = self.fingerprint()
        if self.preparation is not None and state is not None:
            return state
        depends: Any = getattr(self.dataset, "depends", None)
        settings = self.identity["settings"] if depends is None else depends()
        text = json.dumps([{**self.identity, "settings": settings}, self.seed, state], sort_keys=True)
        kind = GENERATED if self.preparation is None else UNTOLD
        return f"{kind}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


def open_source(data: DataSpec, split: str) -> Source:
    """Build a spec's dataset: the split itself if the dataset has its own, else all of it.

    Raises:
        PathProblem: if the data is not there, or not as the settings say.
    """
    ref = data.dataset
    rendered = bool(getattr(ref.config, "rendered", False))
    own = split if own_splits(data) is not None else WHOLE
    size = (data.image_size, data.image_size)
    context = DatasetContext(split=own, image_size=size, seed=data.seed)
    try:
        dataset: Dataset = ref.build(context)
    except ComponentError as error:
        path = ("data", "dataset") if error.field is None else ("data", "dataset", error.field)
        raise PathProblem(path, f"{ref.name}: {error}") from None
    try:
        Ids(ref.name).add(enumerate(getattr(dataset, "ids", ())))
    except SlotlabError as error:
        raise PathProblem(("data", "dataset"), str(error)) from None
    preparation = None if rendered else Preparation.of(data.settings)
    identity = {
        "dataset": ref.registered.identity,
        "settings": canonical(ref.config),
        "split": own,
        "pixels": {"size": size, "seed": data.seed} if preparation is None else asdict(preparation),
    }
    roots = dict(paths_of(ref.config))
    return Source(ref.name, own, dataset, preparation, json.loads(json.dumps(identity)), data.seed, roots)


def paths_of(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the paths in settings, by their dotted names."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Path):
        yield name, str(value)
    elif isinstance(value, BaseModel):
        items = ((key, getattr(value, key)) for key in type(value).model_fields)
    elif isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, tuple | list):
        items = enumerate(value)
    for key, item in items:
        yield from paths_of(item, f"{name}.{key}" if name else str(key))


def own_splits(data: DataSpec) -> Sequence[str] | None:
    """Return the names of the splits that a dataset brings with it; None if the protocol splits it."""
    found: Sequence[str] | None = getattr(data.dataset.config, "splits", None)
    return found


def known_splits(data: DataSpec) -> Sequence[str]:
    """Return the names of all splits of a spec's data."""
    own = own_splits(data)
    return tuple(data.settings.splits) if own is None else tuple(own)
