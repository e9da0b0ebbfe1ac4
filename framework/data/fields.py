"""Flow and depth of a dataset's pictures, prepared like the pictures, for losses that need them.

They are read from the dataset itself, unless they were packed (`field_stores`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import FIELD_CHANNELS, DataError, DataProblem, Dataset, Field
from slotlab.framework.contracts.dataset_capabilities import HasDepth, HasFlow
from slotlab.framework.data.read_capabilities import offers
from slotlab.framework.data.resizing import Window
from slotlab.framework.data.sample_checks import BrokenPromise, naming
from slotlab.framework.data.selection import Selection
from slotlab.framework.data.source import Source
from slotlab.framework.spec.errors import PathProblem
from slotlab.registry import SlotlabError

CAPABILITIES: Mapping[Field, Callable[..., Any]] = {"flow": HasFlow, "depth": HasDepth}
"""What a dataset must offer to have a field: a method of the field's name."""


def lacking(name: Field, dataset: str) -> PathProblem:
    """Return the mistake that an objective needs a field that a dataset does not have."""
    text = f"its target is made of {name}, and the dataset '{dataset}' has none (no method '{name}')"
    hint = "take data that has it, such as moving_scenes or movi, or an objective that does not need it"
    return PathProblem(("objective",), f"{text}; {hint}")


def source_of(selection: Selection, names: Sequence[Field]) -> Source:
    """Return where the fields of a selection's pictures are read.

    Raises:
        PathProblem: at the objective, if the dataset does not have them.
    """
    source = selection.source
    if source is None:
        raise SlotlabError("flow and depth are read through a spec's data alone")
    for name in names:
        if not offers(source.dataset, CAPABILITIES[name]):
            raise lacking(name, source.name)
    return source


@dataclass(frozen=True)
class Fields:
    """Some fields of a selection's pictures, read one by one: a dataset for torch's loaders."""

    source: Source
    positions: Sequence[int]
    """The position of each picture in the source."""
    names: Sequence[Field]

    def __getitem__(self, wanted: int | tuple[int, Window]) -> dict[Field, Tensor] | SlotlabError:
        """Return the fields of a picture, float32 (C, H, W) of the prepared size; an error as a value."""
        index, window = (wanted, None) if isinstance(wanted, int) else wanted
        try:
            with naming(self.source.name):
                return {name: self._read(name, self.positions[index], window) for name in self.names}
        except SlotlabError as error:
            return error

    def _read(self, name: Field, position: int, window: Window | None) -> Tensor:
        field_CHW = read_field(self.source.dataset, name, position)
        preparation = self.source.preparation
        return field_CHW if preparation is None else preparation.resize_field(name, field_CHW, window)


def read_field(dataset: Dataset, name: Field, index: int) -> Tensor:
    """Return a field as a dataset gives it, float32 (C, H, W).

    Raises:
        DataError: for a file that is broken, or numbers that are not finite.
        BrokenPromise: for anything else than the contract of datasets requires.
    """
    found: Any = getattr(dataset, name)(index)
    trailing = () if name == "depth" else (FIELD_CHANNELS[name],)
    wanted = ", ".join(("H", "W", *map(str, trailing)))
    if not isinstance(found, Tensor) or not found.is_floating_point():
        kind = str(found.dtype) if isinstance(found, Tensor) else type(found).__name__
        raise BrokenPromise(f"the {name} of sample {index} is {kind}; a dataset gives floats ({wanted})")
    if found.dim() != 2 + len(trailing) or tuple(found.shape[2:]) != trailing:
        shape = tuple(found.shape)
        raise BrokenPromise(f"the {name} of sample {index} has shape {shape}; a dataset gives ({wanted})")
    field_CHW = found.float()[None] if name == "depth" else found.float().movedim(-1, 0)
    if not field_CHW.isfinite().all():
        raise DataError(DataProblem(f"sample {index}", f"its {name} has numbers that are not finite"))
    return field_CHW


def stacked(read: Sequence[dict[Field, Tensor] | SlotlabError], device: torch.device) -> dict[Field, Tensor]:
    """Return the fields of several pictures as one batch on a device.

    Raises:
        SlotlabError: the first error, if one could not be read.
    """
    found: list[dict[Field, Tensor]] = []
    for one in read:
        if isinstance(one, SlotlabError):
            raise one
        found.append(one)
    names = found[0] if found else {}
    return {name: torch.stack([one[name] for one in found]).to(device, non_blocking=True) for name in names}
