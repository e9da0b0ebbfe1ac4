"""Published numbers, each with its protocol and its source: `references.yaml` in this package.

Only numbers that were read in the source that is named are in it. They are shown beside a run's
own numbers where protocol, data and filter are the same.
"""

from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated

from annotated_types import Len
from pydantic import NonNegativeFloat, PositiveInt, ValidationError

from slotlab.framework.spec.data import DataSpec
from slotlab.framework.spec.messages import say
from slotlab.framework.spec.tree import parse
from slotlab.registry import ClosedModel, SlotlabError

FILE = "references.yaml"
DATASETS = {"clevrtex": "clevrtex", "clevrtex_flat": "clevrtex", "multi_object_hdf5": "clevr"}
"""Which published data each dataset component reads; other data of one's own in the same format is
told apart by its protocol."""
Text = Annotated[str, Len(1)]


class Reference(ClosedModel):
    """One published number."""

    method: Text
    """As the source calls it."""
    data: Text
    """`clevrtex` or `clevr`."""
    train: Text
    """What it was trained on: a variant, and how many objects at most if that was limited."""
    test: Text
    """The variant that it was measured on."""
    max_objects: PositiveInt | None = None
    """Most objects in the images that it was measured on; null for all."""
    protocol: Text
    """A protocol by name."""
    metric: Text
    """A metric by name; values are in its unit: 0.624, not 62.4."""
    value: float
    """The mean over seeds, if there are several."""
    std: NonNegativeFloat | None = None
    """The deviation over seeds; null where it is not given."""
    seeds: PositiveInt | None = None
    """How many trainings; null where it is not said."""
    source: Text
    """Where the number was read."""
    note: str = ""
    """What a reader should know to compare."""


def read_references(text: str, origin: str) -> list[Reference]:
    """Return the references of a YAML list: blocks of `common` keys, each with `rows` that add to them.

    Raises:
        SlotlabError: for what is not such a list, naming the entry.
    """
    entries = parse(text, origin=origin, folder=Path()).plain()
    if not isinstance(entries, list):
        raise SlotlabError(f"{origin}: expected a list of entries with 'rows'")
    found = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("rows"), list):
            raise SlotlabError(f"{origin}: entry {number}: expected a block with 'rows', a list")
        common = {key: value for key, value in entry.items() if key != "rows"}
        for place, row in enumerate(entry["rows"]):
            try:
                found.append(Reference.model_validate(common | row))
            except ValidationError as error:
                where = f"{origin}: entry {number}, row {place}"
                problems = "; ".join(f"{'.'.join(map(str, p['loc']))}: {say(p)}" for p in error.errors())
                raise SlotlabError(f"{where}: {problems}") from None
    return found


def references() -> list[Reference]:
    """Return all references that come with slotlab."""
    return read_references(resources.files(__name__).joinpath(FILE).read_text(encoding="utf-8"), FILE)


def comparable(data: DataSpec) -> list[Reference]:
    """Return the references of the same protocol as published, the same data and the same filter."""
    variant = getattr(data.dataset.config, "variant", "full")
    limit = None if data.filter is None else data.filter.max_objects
    return [
        one
        for one in references()
        if (one.protocol, one.test, one.max_objects) == (data.protocol_name, variant, limit)
        and DATASETS.get(data.dataset.name) == one.data
    ]


def of_protocol(rows: Iterable[Reference], protocol: str | None) -> Sequence[Reference]:
    """Return the references of a protocol, all without one.

    Raises:
        SlotlabError: if there is none.
    """
    every = list(rows)
    found = [one for one in every if protocol in (None, one.protocol)]
    if not found:
        known = ", ".join(sorted({one.protocol for one in every}))
        raise SlotlabError(
            f"no published numbers under protocol '{protocol}' (there are some under: {known})"
        )
    return found
