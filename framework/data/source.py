"""A dataset as its plugin provides it, and each of its pictures prepared as the spec's protocol says.

Splitting, filtering and packing come later: `framework.data.selection` applies them to a source, or to the
store that was packed from it.
"""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from slotlab.framework.contracts import Counting, DataProblem, Dataset, DatasetContext, Sample
from slotlab.framework.contracts.dataset_capabilities import HasMask
from slotlab.framework.contracts.dataset_settings import is_rendered, splits_of
from slotlab.framework.data.preparation import Preparation, PreparedSample, count_labels
from slotlab.framework.data.read_capabilities import (
    attributes_of,
    depends_of,
    fingerprint_of,
    ids_of,
    listed_of,
    offers,
    places_of,
    problems_of,
)
from slotlab.framework.data.resizing import Window
from slotlab.framework.data.sample_checks import check_sample, naming
from slotlab.framework.data.sample_ids import Ids
from slotlab.framework.runs.measurement import GENERATED, UNTOLD
from slotlab.framework.spec.data import DataSpec
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.identity import canonical
from slotlab.registry import ComponentError, SlotlabError

WHOLE = "all"
"""The split that a dataset is built with if its Config names no splits."""


@dataclass(frozen=True)
class Source:
    """All samples of a dataset, or of one split if the dataset itself defines splits, read one by one."""

    name: str
    split: str
    """The split that the dataset defines, or `all`."""
    dataset: Dataset
    preparation: Preparation | None
    """None for generated pictures, which are made at the model's size."""
    identity: Mapping[str, Any]
    """All settings that decide about pixels, as JSON data."""
    seed: int = 0
    """The seed of generated pictures."""
    roots: Mapping[str, str] = field(default_factory=dict)
    """The files and folders that the settings name, by setting; they are not part of the identity."""

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def item(self, index: int, window: Window | None = None) -> PreparedSample:
        """Return sample `index` as the model sees it; `window` as in `Preparation`.

        Raises:
            DataError: for a file that is broken or does not fit the protocol.
        """
        return self.prepare(self.dataset[index], window)

    def prepare(self, sample: Sample, window: Window | None = None) -> PreparedSample:
        """Return a sample of the dataset as the model sees it; `window` as in `Preparation`.

        Raises:
            DataError: if it does not fit the protocol.
            SlotlabError: if it is not a sample as the contract of datasets requires.
        """
        if self.preparation is not None:
            with naming(self.name):
                check_sample(sample)
            return self.preparation(sample, window)
        seen = None if sample.mask_HW is None else count_labels(sample.mask_HW)
        listed = sample.attributes.get("num_objects")
        return PreparedSample(sample, {"metadata": listed, "mask_colors": seen, "visible": seen})

    def count(self, index: int, count: Counting) -> int | None:
        """Return the number of objects of sample `index`, reading no more of it than needed.

        None if the data does not say.

        Raises:
            DataError: for a file that is broken.
        """
        with naming(self.name):
            return self._count(index, count)

    def _count(self, index: int, count: Counting) -> int | None:
        if count == "metadata":
            attributes = attributes_of(self.dataset, index)
            if attributes is not None:
                listed: int | None = attributes.get("num_objects")
                return listed
        elif self.preparation is not None and offers(self.dataset, HasMask):
            mask_HW = self.dataset.mask(index)
            return count_labels(mask_HW if count == "mask_colors" else self.preparation.seen(mask_HW))
        return self.item(index).counts[count]

    @property
    def listed(self) -> int:
        """The number of items that the files tell of, including those that had to be left out."""
        found = listed_of(self.dataset)
        return len(self.dataset) if found is None else found

    @cached_property
    def places(self) -> Sequence[int]:
        """The position of each sample, or of its video, among all items."""
        return places_of(self.dataset)

    def within(self, part: range) -> Sequence[int]:
        """Return the indices of the samples whose positions among all items lie in `part`."""
        places = self.places
        if any(one > other for one, other in pairwise(places)):  # videos whose frames are mixed
            return [index for index, place in enumerate(places) if place in part]
        return range(bisect_left(places, part.start), bisect_left(places, part.stop))

    @property
    def problems(self) -> Sequence[DataProblem]:
        """The problems of items that the dataset left out while it listed its files."""
        return problems_of(self.dataset)

    @cached_property
    def key(self) -> str:
        """A hash of the identity: eight hexadecimal digits."""
        text = json.dumps(self.identity, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()

    def fingerprint(self) -> str | None:
        """Return the state of the files behind the dataset; None if the dataset does not report it."""
        return fingerprint_of(self.dataset)

    @cached_property
    def content(self) -> str:
        """The fingerprint of the pictures: it differs between results that were measured on other pictures.

        For data on disk it is the state of the files. Generated pictures have no files: their fingerprint
        begins with `generated` and is a hash of all that they depend on. For a dataset that does not report
        the state of its files it begins with `untold` and is a hash of the settings alone.
        """
        state = self.fingerprint()
        if self.preparation is not None and state is not None:
            return state
        settings = depends_of(self.dataset, self.identity["settings"])
        text = json.dumps([{**self.identity, "settings": settings}, self.seed, state], sort_keys=True)
        kind = GENERATED if self.preparation is None else UNTOLD
        return f"{kind}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


def open_source(data: DataSpec, split: str) -> Source:
    """Build a spec's dataset: the split itself if the dataset defines splits, else all of it.

    Raises:
        PathProblem: if the data is missing, or not as the settings say.
    """
    ref = data.dataset
    rendered = is_rendered(ref.config)
    own = split if own_splits(data) is not None else WHOLE
    check_mask_size(data)
    context = DatasetContext(split=own, image_size=data.size, seed=data.seed)
    try:
        dataset: Dataset = ref.build(context)
    except ComponentError as error:
        path = ("data", "dataset") if error.field is None else ("data", "dataset", error.field)
        raise PathProblem(path, f"{ref.name}: {error}") from None
    try:
        Ids(ref.name).add(enumerate(ids_of(dataset)))
    except SlotlabError as error:
        raise PathProblem(("data", "dataset"), str(error)) from None
    preparation = None if rendered else Preparation.of(data.settings)
    identity = {
        "dataset": ref.registered.identity,
        "settings": canonical(ref.config),
        "split": own,
        "pixels": {"size": data.size, "seed": data.seed} if preparation is None else preparation.identity(),
    }
    roots = dict(paths_of(ref.config))
    return Source(ref.name, own, dataset, preparation, json.loads(json.dumps(identity)), data.seed, roots)


def check_mask_size(data: DataSpec) -> None:
    """Refuse masks of another size than the images for data that is drawn at the size of the images.

    Raises:
        PathProblem: with what would be right.
    """
    if data.mask_size is not None and is_rendered(data.dataset.config):
        text = f"'{data.dataset.name}' draws its pictures and masks at the size of the images"
        raise PathProblem(("data", "protocol", "mask_size"), f"{text}; leave it out, or write null")


def paths_of(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name of the setting, path) for every path in a Config, at any depth."""
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
    return splits_of(data.dataset.config)


def known_splits(data: DataSpec) -> Sequence[str]:
    """Return the names of all splits of a spec's data."""
    own = own_splits(data)
    return tuple(data.settings.splits) if own is None else own
