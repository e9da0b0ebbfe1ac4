"""What a dataset may offer beyond the contract: understood however it is written, with defaults where absent."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from slotlab.framework.contracts import DataProblem, Dataset, Sample
from slotlab.framework.contracts import dataset_capabilities as capabilities
from slotlab.framework.data.read_capabilities import (
    attributes_of,
    cautions_of,
    depends_of,
    fingerprint_of,
    ids_of,
    is_endless,
    listed_of,
    mask_names_of,
    mask_of,
    offers,
    places_of,
    problems_of,
    samples_at_a_time,
)

CPU = torch.device("cpu")


class Plain:
    """Two samples, and nothing that is optional."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        image_CHW = torch.zeros(3, 2, 2, dtype=torch.uint8)
        return Sample(id=str(index), image_CHW=image_CHW, mask_HW=torch.full((2, 2), index))


class Able(Plain):
    """Everything that is optional, as attributes and methods."""

    problems = (DataProblem("b.png", "is missing"),)
    cautions = ("some are missing",)
    ids = ("0", "1")
    places = (0, 4)
    endless = True
    videos = ((0,), (1,))

    def __init__(self, listed: int | None = 5):
        self.listed = listed

    def fingerprint(self) -> str:
        return "state"

    def depends(self) -> Any:
        return {"recipe": 1}

    def mask(self, index: int) -> Tensor:
        return torch.full((2, 2), 7 + index)

    def mask_names(self, index: int) -> Mapping[int, str]:
        return {7: "#ffffff"}

    def attributes(self, index: int) -> Mapping[str, Any]:
        return {"num_objects": index}

    def at_a_time(self, device: torch.device) -> int:
        return 64

    def flow(self, index: int) -> Tensor:
        return torch.zeros(2, 2, 2)

    def depth(self, index: int) -> Tensor:
        return torch.ones(2, 2)


class Wrapper(Plain):
    """Passes on what another dataset offers, as wrappers in plugins do."""

    def __init__(self, inner: object):
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def read(dataset: Dataset) -> dict[str, Any]:
    """Return everything that the framework reads of a dataset."""
    mask_HW = mask_of(dataset, 1)
    return {
        "problems": problems_of(dataset),
        "cautions": cautions_of(dataset),
        "ids": tuple(ids_of(dataset)),
        "places": tuple(places_of(dataset)),
        "listed": listed_of(dataset),
        "endless": is_endless(dataset),
        "fingerprint": fingerprint_of(dataset),
        "depends": depends_of(dataset, "all settings"),
        "mask": None if mask_HW is None else mask_HW.unique().tolist(),
        "names": mask_names_of(dataset, 1),
        "attributes": attributes_of(dataset, 1),
        "at a time": samples_at_a_time(dataset, CPU),
    }


def test_a_dataset_without_them_has_the_defaults() -> None:
    assert read(Plain()) == {
        "problems": (),
        "cautions": (),
        "ids": (),
        "places": (0, 1),
        "listed": 2,
        "endless": False,
        "fingerprint": None,
        "depends": "all settings",
        "mask": [1],
        "names": {},
        "attributes": None,
        "at a time": 1,
    }


@pytest.mark.parametrize("dataset", [Able(), Wrapper(Able())])
def test_a_dataset_with_them_is_understood_without_deriving_from_anything(dataset: Dataset) -> None:
    assert read(dataset) == {
        "problems": (DataProblem("b.png", "is missing"),),
        "cautions": ("some are missing",),
        "ids": ("0", "1"),
        "places": (0, 4),
        "listed": 5,
        "endless": True,
        "fingerprint": "state",
        "depends": {"recipe": 1},
        "mask": [8],
        "names": {7: "#ffffff"},
        "attributes": {"num_objects": 1},
        "at a time": 64,
    }


def test_an_unknown_number_of_items_is_not_the_number_of_samples() -> None:
    assert listed_of(Able(listed=None)) is None


def test_each_capability_is_declared_with_one_member() -> None:
    found = [one for name, one in vars(capabilities).items() if name.startswith("Has")]
    assert len(found) == 15
    assert all(len([name for name in vars(one) if not name.startswith("_")]) == 1 for one in found)
    assert all(offers(Able(), one) and not offers(object(), one) for one in found)


def test_the_items_of_a_dataset_of_videos_are_videos() -> None:
    plain = Plain()
    plain.videos = ((1, 0),)  # type: ignore[attr-defined]
    assert (listed_of(plain), tuple(places_of(plain))) == (1, (0, 0))
