"""Published numbers, each with its protocol and its source: `references.yaml` in this package.

Every number was read in the named source itself. Numbers are shown beside a run's own where protocol,
data and filter are the same.
"""

from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Len
from pydantic import NonNegativeFloat, PositiveInt, ValidationError

from slotlab.framework.contracts.dataset_settings import published_data_of, variant_of
from slotlab.framework.spec.data import DataSpec
from slotlab.framework.spec.messages import say
from slotlab.framework.spec.tree import parse
from slotlab.registry import ClosedModel, SlotlabError
from slotlab.registry.component import suggest

FILE = "references.yaml"
Text = Annotated[str, Len(1)]


class Reference(ClosedModel):
    """One published number."""

    method: Text
    """The method's name in the source."""
    data: Text
    """The data, such as `clevrtex`, as a dataset's settings name it (`HasPublishedData`)."""
    train: Text
    """The training data: a variant, and the largest number of objects if it was limited."""
    test: Text
    """The variant used for testing."""
    max_objects: PositiveInt | None = None
    """The largest number of objects in the test images; null for all images."""
    protocol: Text
    """A protocol by name."""
    metric: Text
    """A metric by name; values are in its unit: 0.624, not 62.4."""
    value: float
    """The mean over seeds if there are several."""
    std: NonNegativeFloat | None = None
    """The spread over seeds; null if the source does not give it."""
    spread: Literal["std", "standard_error"] | None = None
    """What the source says its spread is, standard deviation or standard error; null if it does not say,
    and then no test against it is made."""
    seeds: PositiveInt | None = None
    """The number of trainings; null if the source does not say."""
    source: Text
    """Where the number was read."""
    note: str = ""
    """What a reader should know before comparing."""


def read_references(text: str, origin: str) -> list[Reference]:
    """Return the references in a YAML list of blocks: shared keys, and `rows` with the other keys.

    Raises:
        SlotlabError: if the text is not such a list, with the entry.
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
    variant = variant_of(data.dataset.config) or "full"
    limit = None if data.filter is None else data.filter.max_objects
    return [
        one
        for one in references()
        if (one.protocol, one.test, one.max_objects) == (data.protocol_name, variant, limit)
        and published_data_of(data.dataset.config) == one.data
    ]


def of_protocol(rows: Iterable[Reference], protocol: str | None) -> Sequence[Reference]:
    """Return the references of a protocol; all of them for None.

    Raises:
        SlotlabError: if there is none.
    """
    every = list(rows)
    found = [one for one in every if protocol in (None, one.protocol)]
    if not found:
        known = sorted({one.protocol for one in every})
        hint = f"{suggest(protocol or '', known)} (there are some under: {', '.join(known)})"
        raise SlotlabError(f"no published numbers under protocol '{protocol}'{hint}")
    return found
