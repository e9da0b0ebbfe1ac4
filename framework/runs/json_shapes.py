"""The shapes of the JSON files in folders of runs and studies, which are checked where they are read.

An error names the file and the place in it, so that a command that reads many runs can leave one out and
say why. Keys that are not listed here are allowed: an older or newer slotlab may write them. Imports no
torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from slotlab.framework.spec.errors import dotted
from slotlab.framework.spec.messages import say
from slotlab.framework.system.json_files import load_json
from slotlab.registry import SlotlabError
from slotlab.registry.component import custom_error

_ABSENT = object()
Real = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class Stored(BaseModel):
    """A mapping in a file, whose types are checked strictly, without conversion."""

    model_config = ConfigDict(strict=True, extra="allow")


class Phase(Stored):
    """The length of a phase of a training."""

    steps: Count | None = None
    epochs: Count | None = None


class Length(Stored):
    """The length of a training."""

    batch_size: Annotated[int, Field(ge=1)]
    phases: list[Phase]


class SpecFacts(Stored):
    """The part of spec.yaml that is read without the schema."""

    name: str
    seed: Count = 0
    training: Length


class Status(Stored):
    """status.json."""

    state: str
    reason: str = ""


class UsedComponent(Stored):
    """A component that a run was trained with."""

    kind: str
    name: str
    version: int
    source: str
    install: str = ""


class UsedData(Stored):
    """A split of a run's data, as it was when the run used it."""

    dataset: str | None = None
    split: str | None = None
    images: Count | None = None
    fingerprint: Any = None
    skipped: list[Any] = []


class Provenance(Stored):
    """provenance.json."""

    run_id: str | None = None
    started: str | None = None
    command: list[str] | None = None
    slotlab: str | None = None
    commit: str | None = None
    python: str | None = None
    platform: str | None = None
    device: str | None = None
    packages: dict[str, str | None] | None = None
    components: list[UsedComponent] = []
    data: dict[str, UsedData] = {}
    restarts: list[dict[str, Any]] = []


class Cost(Stored):
    """cost.json."""

    seconds: Real = 0.0
    processes: Annotated[int, Field(ge=1)] = 1
    images_per_second: Real | None = None
    memory: Real = 0.0
    flops: Real | None = None
    energy_kwh: Real | None = None
    device: str | None = None


class Mean(Stored):
    """The statistics of one metric in an evaluation."""

    mean: Real | None
    std: Real | None = None
    low: Real | None = None
    high: Real | None = None
    count: Count | None = None


def _has_group(row: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(row.get("group"), str | int | float):
        raise custom_error("group", "a row of a breakdown has a 'group'")
    if not all(isinstance(cell, Mean) for name, cell in row.items() if name != "group"):
        raise custom_error("cell", "a row of a breakdown has a block with a 'mean' for each metric")
    return row


BreakdownRow = Annotated[dict[str, str | int | float | Mean], AfterValidator(_has_group)]


class MeasuredBy(Stored):
    """The metric behind a column."""

    higher_is_better: bool
    bounds: Annotated[list[Real | None], Field(min_length=2, max_length=2)] | None = None
    version: Any = None
    settings: dict[str, Any] = {}


class SetValue(MeasuredBy):
    """The value of a set metric."""

    value: Real | None


class Summary(Stored):
    """summary.json of an evaluation, in the current format."""

    format: int
    dataset: str
    variant: str | None = None
    split: str
    protocol: str
    mask_source: str
    filter: Any = None
    images: Count
    slots: Count | None = None
    step: Count | None = None
    revision: Count = 0
    data: UsedData = UsedData()
    methods: dict[str, dict[str, Mean]]
    metrics: dict[str, MeasuredBy]
    set_metrics: dict[str, SetValue] = {}
    left_out: dict[str, str] = {}
    breakdowns: dict[str, list[BreakdownRow]] = {}
    published: list[dict[str, Any]] = []


class Means(Stored):
    """What all formats of a summary have in common: the means of each method."""

    methods: dict[str, dict[str, Mean]] = {}
    left_out: dict[str, Any] = {}
    data: UsedData = UsedData()
    available: Count | None = None
    clip: dict[str, Any] | None = None


class Best(Stored):
    """checkpoints/best.json."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    metric: str
    value: Real
    step: Count


class Told(Stored):
    """trackers.json."""

    known_as: str | None = None
    told: dict[str, dict[str, int]] = {}


class SampleEntry(Stored):
    """An image in samples/index.json."""

    id: str
    position: Count
    roles: list[str]
    metrics: dict[str, Real | None]
    files: dict[str, str]
    frames: Count = 1
    """Of a clip, how many there are."""
    foretold: Count = 0
    """Of a clip, the first of which the model has seen nothing; 0 if it sees all."""


class LogLine(Stored):
    """A line of metrics.jsonl."""

    kind: str
    step: Count
    loss: Real | None = None
    images_per_second: Real | None = None


def checked(shape: type[Stored], data: Any, where: object) -> Any:
    """Return data unchanged if it has a shape.

    Raises:
        SlotlabError: if not, with the file (or `where`), the first wrong place, and the reason.
    """
    try:
        shape.model_validate(data)
    except ValidationError as error:
        detail = next(iter(error.errors(include_url=False)))
        place = dotted(tuple(part for part in detail["loc"] if "[" not in str(part)))
        text = f"{place}: {say(detail)}" if place else say(detail)
        raise SlotlabError(f"{where}: {text}") from None
    return data


def read_stored(shape: type[Stored], path: Path) -> dict[str, Any]:
    """Read a JSON file of a shape; return an empty mapping if the file does not exist.

    Raises:
        SlotlabError: if it cannot be read, is not JSON, or has another shape.
    """
    found = load_json(path, missing=_ABSENT)
    if found is _ABSENT:
        return {}
    if not isinstance(found, dict):
        raise SlotlabError(f"{path}: expected a JSON object {{...}}, and it holds none")
    checked(shape, found, path)
    return found


def read_list(shape: type[Stored], path: Path) -> list[Mapping[str, Any]]:
    """Read a JSON file that lists mappings of a shape.

    Raises:
        SlotlabError: as `read_stored` does.
    """
    found = load_json(path)
    if not isinstance(found, list):
        raise SlotlabError(f"{path}: expected a JSON list [...], and it holds none")
    return [checked(shape, item, f"{path}, item {number}") for number, item in enumerate(found)]
